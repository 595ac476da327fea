"""The pruning recommendation: which dead filters can go, how sure that is, and what it saves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from sparsity_audit.measures.ledger import Ledger
from sparsity_audit.pruning.classify import COUPLED, DeadFilter, activation_of, classify_layer, unheld
from sparsity_audit.schema.plan import PlannedLayer, PruningClass, PruningPlan, Tolerances
from sparsity_audit.schema.report import LayerReport, Lost
from sparsity_audit.thresholds import ACTIVATION_THRESHOLD, CONSTANT_TOLERANCE, GAMMA_THRESHOLD

if TYPE_CHECKING:
    from sparsity_audit.pruning.bounds import NormBounds

TOLERANCES = Tolerances(gamma=GAMMA_THRESHOLD, activation=ACTIVATION_THRESHOLD, constant=CONSTANT_TOLERANCE)
NOTHING_LOST = Lost(filters=0, params=None, macs=None, held_back=None)


def recommend(
    layers: Sequence[LayerReport],
    ledger: Ledger | None,
    sha256: str,
    images: int | None,
    bounds: Mapping[str, NormBounds] | None = None,
) -> PruningPlan | None:
    """Return the plan to remove every filter that can go; None where none can.

    Args:
        layers: in order of their calls.
        ledger: of the same calls; without one, what is saved is unknown.
        images: images that the activation verdicts rest on.
        bounds: by layer key, what norms can put out at all, where that is known.
    """
    kinds = [call.norm_kind for call in ledger.calls] if ledger is not None else [None] * len(layers)
    found = _classified(layers, ledger, bounds or {})
    removed = _agreed([_removable(layer, dead) for layer, dead in zip(layers, found, strict=True)], ledger)
    if not any(removed):
        return None
    saved = _saved(layers, removed, ledger)
    planned = [
        _planned(layer, dead, gone, lost, images, coupled=kind == COUPLED)
        for layer, dead, gone, lost, kind in zip(layers, found, removed, saved, kinds, strict=True)
        if gone or dead or lost.params
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


def _classified(
    layers: Sequence[LayerReport], ledger: Ledger | None, bounds: Mapping[str, NormBounds]
) -> list[list[DeadFilter]]:
    if ledger is None:
        return [classify_layer(layer) for layer in layers]
    return [
        classify_layer(layer, bounds.get(layer.key), activation=activation_of(call), norm_kind=call.norm_kind)
        for layer, call in zip(layers, ledger.calls, strict=True)
    ]


def _removable(layer: LayerReport, dead: Sequence[DeadFilter]) -> list[int]:
    """Return the filters that can go, all but one where all can: a layer can't be empty."""
    kept = _kept_for_shape(layer, dead)
    return [gone.index for gone in dead if gone.index != kept]


def _agreed(removed: list[list[int]], ledger: Ledger | None) -> list[list[int]]:
    """Keep of each call what every call of the same weight can do without: the weight has its filters once."""
    if ledger is None:
        return removed
    common: dict[tuple[str, bool], set[int]] = {}
    names = [(call.weight or f"call {place}", call.transposed) for place, call in enumerate(ledger.calls)]
    for name, gone in zip(names, removed, strict=True):
        common[name] = common.get(name, set(gone)) & set(gone)
    return [sorted(common[name]) for name in names]


def _kept_for_shape(layer: LayerReport, dead: Sequence[DeadFilter]) -> int | None:
    if not dead or len(dead) < layer.filters:
        return None
    gamma = layer.gamma or [0.0] * layer.filters
    return max((gone.index for gone in dead), key=lambda i: abs(gamma[i] or 0.0))


def _saved(layers: Sequence[LayerReport], removed: list[list[int]], ledger: Ledger | None) -> list[Lost]:
    if ledger is None:
        return [NOTHING_LOST] * len(layers)
    mask = np.zeros(sum(layer.filters for layer in layers), bool)
    first = 0
    for layer, gone in zip(layers, removed, strict=True):
        mask[[first + i for i in gone]] = True
        first += layer.filters
    return ledger.lost(mask)


def _planned(
    layer: LayerReport,
    dead: Sequence[DeadFilter],
    removed: list[int],
    lost: Lost,
    images: int | None,
    *,
    coupled: bool,
) -> PlannedLayer:
    """Describe what goes from a layer; ``coupled``: its norm takes statistics over several filters together."""
    going = [gone for gone in dead if gone.index in removed]
    classes: dict[PruningClass, list[int]] = {"lossless": [], "silent": [], "small": []}
    for gone in going:
        classes[gone.kind].append(gone.index)
    evidence = _evidence(layer, classes, images)
    if coupled and removed:
        evidence.append("shifts the statistics of its group")
    if stay := unheld(layer, dead):
        evidence.append(
            f"{len(stay)} more silent or constant, yet kept: no input of the nonlinearity is known to give that"
        )
    return PlannedLayer(
        key=layer.key,
        filters=layer.filters,
        removed=removed,
        classes=classes,
        constants={gone.index: gone.leaves for gone in going if gone.leaves},
        held={gone.index: gone.held for gone in going},
        kept_for_shape=_kept_for_shape(layer, dead),
        params_saved=lost.params,
        macs_saved=lost.macs,
        held_back=lost.held_back,
        evidence="; ".join(evidence) or "reads channels that go",
    )


def _evidence(layer: LayerReport, classes: dict[PruningClass, list[int]], images: int | None) -> list[str]:
    """Say in words what each class rests on."""
    words = []
    if classes["lossless"]:
        zeroed = all(layer.gamma is not None and layer.gamma[i] == 0.0 for i in classes["lossless"])
        words.append(f"lossless: {'γ is exactly 0' if zeroed else '0 or constant whatever the image'}")
    if classes["silent"]:
        bound = 3 / max(images or 1, 1)
        words.append(f"silent or constant on {images or 0:,} images (fires on at most {bound:.2g} of images, 95 %)")
    if classes["small"]:
        words.append(f"small: |γ| < {GAMMA_THRESHOLD:g}")
    return words
