"""The pruning recommendation: which dead filters can go, how sure that is, and what it saves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sparsity_audit.measures.layer_measures import dead_filters
from sparsity_audit.measures.ledger import Ledger
from sparsity_audit.schema.plan import PlannedLayer, PruningClass, PruningPlan, Tolerances
from sparsity_audit.schema.report import LayerReport, Lost
from sparsity_audit.thresholds import ACTIVATION_THRESHOLD, CONSTANT_TOLERANCE, GAMMA_THRESHOLD

TOLERANCES = Tolerances(gamma=GAMMA_THRESHOLD, activation=ACTIVATION_THRESHOLD, constant=CONSTANT_TOLERANCE)
NOTHING_LOST = Lost(filters=0, params=None, macs=None, held_back=None)


def recommend(
    layers: Sequence[LayerReport], ledger: Ledger | None, sha256: str, images: int | None
) -> PruningPlan | None:
    """Return the plan to remove every filter that is dead by scale or by activation; None where none is.

    Args:
        layers: in order of their calls.
        ledger: of the same calls; without one, what is saved is unknown.
        images: images that the activation verdicts rest on.
    """
    removed = _agreed([_removable(layer) for layer in layers], ledger)
    if not any(removed):
        return None
    saved = _saved(layers, removed, ledger)
    kinds = [call.norm_kind for call in ledger.calls] if ledger is not None else [None] * len(layers)
    planned = [
        _planned(layer, gone, lost, images, coupled=kind == "group_norm")
        for layer, gone, lost, kind in zip(layers, removed, saved, kinds, strict=True)
        if gone or dead_filters(layer) or lost.params
    ]
    params = None if ledger is None else sum(ledger.params)
    macs = None if ledger is None else sum(ledger.macs)
    return PruningPlan(
        model_sha256=sha256,
        criterion="scale" if images is None else "union",
        tolerances=TOLERANCES,
        images=images,
        layers=planned,
        params_before=params,
        params_after=None if params is None else params - sum(lost.params or 0 for lost in saved),
        macs_before=macs,
        macs_after=None if macs is None else macs - sum(lost.macs or 0 for lost in saved),
        verification=None,
    )


def _removable(layer: LayerReport) -> list[int]:
    """Return a layer's dead filters, all but one where all are dead: a layer can't be empty."""
    dead = dead_filters(layer) or []
    return [i for i in dead if i != _kept_for_shape(layer, dead)]


def _agreed(removed: list[list[int]], ledger: Ledger | None) -> list[list[int]]:
    """Keep of each call what every call of the same weight can do without: the weight has its filters once."""
    if ledger is None:
        return removed
    common: dict[tuple[str, bool], set[int]] = {}
    names = [(call.weight or f"call {place}", call.transposed) for place, call in enumerate(ledger.calls)]
    for name, gone in zip(names, removed, strict=True):
        common[name] = common.get(name, set(gone)) & set(gone)
    return [sorted(common[name]) for name in names]


def _kept_for_shape(layer: LayerReport, dead: list[int]) -> int | None:
    if not dead or len(dead) < layer.filters:
        return None
    gamma = layer.gamma or [0.0] * layer.filters
    return max(dead, key=lambda i: abs(gamma[i] or 0.0))


def _saved(layers: Sequence[LayerReport], removed: list[list[int]], ledger: Ledger | None) -> list[Lost]:
    if ledger is None:
        return [NOTHING_LOST] * len(layers)
    mask = np.zeros(sum(layer.filters for layer in layers), bool)
    first = 0
    for layer, gone in zip(layers, removed, strict=True):
        mask[[first + i for i in gone]] = True
        first += layer.filters
    return ledger.lost(mask)


def _planned(layer: LayerReport, removed: list[int], lost: Lost, images: int | None, *, coupled: bool) -> PlannedLayer:
    """Describe what goes from a layer; ``coupled``: its norm takes statistics over several filters together."""
    classes: dict[PruningClass, list[int]] = {"lossless": [], "silent": [], "small": []}
    constants: dict[int, float] = {}
    for i in removed:
        kind, value = _classify(layer, i)
        classes["small" if coupled else kind].append(i)
        if value:
            constants[i] = value
    return PlannedLayer(
        key=layer.key,
        filters=layer.filters,
        removed=removed,
        classes=classes,
        constants=constants,
        kept_for_shape=_kept_for_shape(layer, dead_filters(layer) or []),
        params_saved=lost.params,
        macs_saved=lost.macs,
        held_back=lost.held_back,
        evidence=_evidence(classes, images) + ("; shifts the statistics of its group" if coupled and removed else ""),
    )


def _classify(layer: LayerReport, i: int) -> tuple[PruningClass, float | None]:
    """Return a dead filter's class, and the constant that it leaves behind where that is known."""
    settled = _settled_value(layer, i)
    if layer.gamma is not None and layer.gamma[i] == 0.0 and settled is not None:
        return "lossless", settled
    if layer.activation is not None and i in layer.activation:
        return "silent", None
    if layer.constant is not None and i in layer.constant and layer.maximum is not None:
        return "silent", layer.maximum[i]
    return "small", settled


def _settled_value(layer: LayerReport, i: int) -> float | None:
    """Return what a filter puts out when γ is 0: its nonlinearity of β; None where that can't be told."""
    if layer.beta is None or (beta := layer.beta[i]) is None or layer.macs is None:
        return None
    if layer.nonlinearity == "relu":
        return max(beta, 0.0)
    if layer.nonlinearity == "relu6":
        return min(max(beta, 0.0), 6.0)
    return beta if layer.nonlinearity is None else None


def _evidence(classes: dict[PruningClass, list[int]], images: int | None) -> str:
    """Say in words what each class rests on."""
    words = []
    if classes["lossless"]:
        words.append("lossless: γ is exactly 0")
    if classes["silent"]:
        bound = 3 / max(images or 1, 1)
        words.append(f"silent or constant on {images or 0:,} images (fires on at most {bound:.2g} of images, 95 %)")
    if classes["small"]:
        words.append(f"small: |γ| < {GAMMA_THRESHOLD:g}")
    return "; ".join(words) or "reads channels that go"
