"""What one point of a history says of each layer: counts, a mean, and how they are shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tabulate import tabulate

from sparsity_audit.engine.findings import gamma_inactive
from sparsity_audit.training.history import History

Point = dict[str, NDArray[np.generic]]
"""Series by name, each [filters]."""

HEADERS = ("layer", "filters", "inactive by scale", "inactive by activation", "selectivity")
ABSENT = "–"


@dataclass(frozen=True, eq=False)
class LayerState:
    """A layer at one step, or all of them."""

    key: str
    filters: int
    scale: int | None
    """Filters with |γ| < 1e-3 (Sec. 2.1); None without γ."""
    activation: int | None
    """Filters inactive by activation on the probe (Sec. 2.1); None where it was not measured."""
    shares: NDArray[np.float64]
    """Universality of the active filters for which it is defined."""

    @property
    def selectivity(self) -> float | None:
        """1 − mean universality of the active filters (Sec. 2.3); None where there is none."""
        return 1 - float(self.shares.mean()) if len(self.shares) else None


def point(history: History, place: int) -> Point:
    """Return one point of all series; ``place`` counts as in a list."""
    return {name: history.series(name)[place] for name in history.names}


def layer_states(values: Point) -> list[LayerState]:
    """Return the layers, in order of the series."""
    return [_layer_state(key, values) for key in dict.fromkeys(name.partition("/")[2] for name in values)]


def _layer_state(key: str, values: Point) -> LayerState:
    gamma, inactive, universality = (values.get(f"{kind}/{key}") for kind in ("gamma", "inactive", "universality"))
    shares = np.empty(0) if universality is None else universality.astype(np.float64)
    if inactive is not None:
        shares = shares[(inactive == 0) & np.isfinite(shares)]
    return LayerState(
        key,
        next(len(found) for found in (gamma, inactive) if found is not None),
        None if gamma is None else int(gamma_inactive(gamma.astype(np.float64)).sum()),
        None if inactive is None else int(np.count_nonzero(inactive)),
        shares,
    )


def total(layers: Sequence[LayerState]) -> LayerState:
    """Return all layers as one."""
    by_scale = [layer.scale for layer in layers if layer.scale is not None]
    by_activation = [layer.activation for layer in layers if layer.activation is not None]
    return LayerState(
        "total",
        sum(layer.filters for layer in layers),
        sum(by_scale) if by_scale else None,
        sum(by_activation) if by_activation else None,
        np.concatenate([layer.shares for layer in layers]),
    )


def scalars(values: Point) -> dict[str, float]:
    """Return flat numbers for a logger: ``inactive_by_scale`` of all, ``inactive_by_scale/<layer key>``, and so on."""
    layers = layer_states(values)
    found: dict[str, float | None] = {}
    for suffix, state in [("", total(layers)), *((f"/{layer.key}", layer) for layer in layers)]:
        found[f"inactive_by_scale{suffix}"] = state.scale
        found[f"inactive_by_activation{suffix}"] = state.activation
        found[f"selectivity{suffix}"] = state.selectivity
    return {name: float(value) for name, value in found.items() if value is not None}


def table(first: Sequence[LayerState], now: Sequence[LayerState]) -> str:
    """Return a Markdown table: for each layer how it was and how it is."""
    rows = [
        (
            is_now.key,
            f"{is_now.filters:,}",
            _change(_count(was.scale), _count(is_now.scale)),
            _change(_count(was.activation), _count(is_now.activation)),
            _change(_share(was.selectivity), _share(is_now.selectivity)),
        )
        for was, is_now in zip(first, now, strict=True)
    ]
    return tabulate(rows, HEADERS, "github", disable_numparse=True, colalign=("left", *["right"] * 4))


def _change(was: str, is_now: str) -> str:
    return ABSENT if was == is_now == ABSENT else f"{was} → {is_now}"


def _count(value: int | None) -> str:
    return ABSENT if value is None else f"{value:,}"


def _share(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.3f}"
