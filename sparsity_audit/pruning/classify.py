"""Which filters can go, how sure that is, and at what constant each has to be held when it goes.

One place for it, so that the recommendation of ``run`` and what ``prune`` carries out are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from numpy.typing import NDArray

from sparsity_audit.schema.plan import PruningClass
from sparsity_audit.schema.report import LayerReport
from sparsity_audit.thresholds import ACTIVATION_THRESHOLD, CONSTANT_TOLERANCE, GAMMA_THRESHOLD

if TYPE_CHECKING:
    from sparsity_audit.graph.feature_graph import FeatureLayer
    from sparsity_audit.pruning.bounds import NormBounds

FloatArray = NDArray[np.float64]
Bools = NDArray[np.bool_]
Activation = Callable[[FloatArray], FloatArray]
"""From where a layer is held to where its activation is measured, both float64 [filters]; NaN where it is unknown."""

RECTIFIERS = ("relu", "relu6")
"""Nonlinearities that are 0 below 0."""
COUPLED = "group_norm"
"""The norm that takes statistics over several filters together: none of them goes without a change to the others."""


@dataclass(frozen=True)
class DeadFilter:
    """A filter that can go."""

    index: int
    kind: PruningClass
    held: float
    """The value that stands for it where its norm puts out (where its convolution does, without a norm)."""
    leaves: float | None
    """Its activation then, which those that read it have to take over; None where that is not known."""


def classify_layer(
    layer: LayerReport,
    bounds: NormBounds | None = None,
    *,
    activation: Activation | None = None,
    norm_kind: str | None = None,
    gamma_threshold: float = GAMMA_THRESHOLD,
) -> list[DeadFilter]:
    """Return the filters of a layer that can go, each in the safest class that holds for it.

    - lossless, of batch norms alone: γ is exactly 0; or γ x̂ + β never exceeds 0 before a rectifier, or never leaves β
      by more than float32 rounds off, whatever the image. Held at β.
    - silent: inactive or constant on the corpus. Held at β, at 0, at the constant itself or amid the norm's bounds,
      whichever gives what was seen. See ``unheld`` for those that none of them gives.
    - small: |γ| below the threshold. Held at β: γ zeroed, β kept.

    Under a norm that couples its filters everything is small.

    Args:
        bounds: what the norm can put out at all; None where that is not known.
        activation: ``activation_of`` the same layer; None where the network is not known, and all is small.
        norm_kind: of the feature graph; None where the network is not known.
    """
    gamma, beta = _parameters(layer)
    silent = _silent(layer, beta, bounds, activation)
    lossless = _lossless(layer, gamma, beta, bounds) & (norm_kind == "batch_norm") & (activation is not None)
    small = (np.abs(gamma) < gamma_threshold) & np.isfinite(beta)
    after = beta * np.nan if activation is None else activation(beta)
    found = []
    for i in range(layer.filters):
        kind: PruningClass | None = "lossless" if lossless[i] else "silent" if i in silent else None
        kind = "small" if kind is None and small[i] else kind
        if kind is None:
            continue
        held, leaves = silent[i] if kind == "silent" else (beta[i], after[i])
        kind = "small" if norm_kind == COUPLED else kind
        found.append(DeadFilter(i, kind, float(held), float(leaves) if np.isfinite(leaves) else None))
    return found


def unheld(layer: LayerReport, found: Sequence[DeadFilter]) -> list[int]:
    """Return the filters that are inactive or constant on the corpus, yet can't go.

    No constant before their nonlinearity is known to give what they put out.
    """
    return sorted({*(layer.activation or []), *(layer.constant or [])} - {dead.index for dead in found})


def holds_of(
    found: Mapping[str, Sequence[DeadFilter]], up_to: PruningClass = "lossless"
) -> dict[str, dict[int, float]]:
    """Return the values that filters are held at, by layer key and filter: those of a class and of safer ones."""
    classes = get_args(PruningClass)
    kinds = classes[: classes.index(up_to) + 1]
    held = {key: {dead.index: dead.held for dead in layer if dead.kind in kinds} for key, layer in found.items()}
    return {key: values for key, values in held.items() if values}


def activation_of(layer: FeatureLayer) -> Activation:
    """Return the function from where a layer is held to where its activation is measured: its nonlinearity."""
    if layer.nonlinearity is None:
        return lambda before: before
    import torch
    from torch.fx.node import map_arg

    from sparsity_audit.graph.parameters import is_parameter

    node: Any = layer.measured
    if not all(is_parameter(slope) for slope in node.all_input_nodes[1:]):
        return lambda before: np.full_like(before, np.nan)
    rest = map_arg(node.args[1:], _constant)
    rank = node.meta["val"].dim()

    @torch.no_grad()
    def activation(before: FloatArray) -> FloatArray:
        values = torch.from_numpy(before).view(1, -1, *[1] * (rank - 2))
        after: FloatArray = node.target(values, *rest, **node.kwargs).flatten().numpy()
        return after

    return activation


def _constant(parameter: Any) -> Any:
    """Return what the node of a parameter holds, perhaps in another shape, in float64."""
    if parameter.op == "get_attr":
        return attrgetter(parameter.target)(parameter.graph.owning_module).detach().double().cpu()
    from torch.fx.node import map_arg

    return parameter.target(*map_arg(parameter.args, _constant), **parameter.kwargs)


def _parameters(layer: LayerReport) -> tuple[FloatArray, FloatArray]:
    """Return γ and β, [filters]; γ is NaN and β 0 where there is none, both NaN where they are not finite."""
    gamma = np.full(layer.filters, np.nan) if layer.gamma is None else np.array(layer.gamma, np.float64)
    beta = np.zeros(layer.filters) if layer.beta is None else np.array(layer.beta, np.float64)
    return gamma, beta


def _lossless(layer: LayerReport, gamma: FloatArray, beta: FloatArray, bounds: NormBounds | None) -> Bools:
    exact: Bools = (gamma == 0) & np.isfinite(beta)
    if bounds is None:
        return exact
    with np.errstate(invalid="ignore"):  # 0 · ∞: unknown, and compares as false
        off = gamma * bounds.least, gamma * bounds.most
        zero: Bools = (np.maximum(*off) <= -beta) & (layer.nonlinearity in RECTIFIERS)
        unseen: Bools = np.maximum(*np.abs(off)) <= np.spacing(np.abs(beta).astype(np.float32)).astype(np.float64) / 4
    return exact | zero | unseen


def _silent(
    layer: LayerReport, beta: FloatArray, bounds: NormBounds | None, activation: Activation | None
) -> dict[int, tuple[float, float]]:
    """Return, of filters that are silent or constant on the corpus, the values to hold them at and what they leave."""
    if activation is None or layer.maximum is None or layer.minimum is None:
        return {}
    seen, tolerance = np.full(layer.filters, np.nan), np.zeros(layer.filters)
    middle = (np.array(layer.maximum, np.float64) + np.array(layer.minimum, np.float64)) / 2
    for dead, value, allowed in (
        (layer.constant or [], middle, 2 * CONSTANT_TOLERANCE),
        (layer.activation or [], np.zeros(layer.filters), ACTIVATION_THRESHOLD),
    ):
        seen[dead], tolerance[dead] = value[dead], allowed
    with np.errstate(invalid="ignore"):  # what is unknown lies amid -∞ and ∞
        # A kernel that is 0 leaves its norm with one output, which its bounds surround.
        amid = np.full(layer.filters, np.nan) if bounds is None else bounds.low / 2 + bounds.high / 2
        candidates = np.stack([beta, np.zeros(layer.filters), seen, amid])
        left = np.stack([activation(values) for values in candidates])
        off = np.abs(left - seen)
    off[np.isnan(off)] = np.inf
    best = off.argmin(axis=0)
    kept = np.flatnonzero(off.min(axis=0) <= tolerance).tolist()
    return {i: (float(candidates[best[i], i]), float(left[best[i], i])) for i in kept}
