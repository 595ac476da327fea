"""Universality histograms of the HTML report: geometry only, the template draws."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable
from typing import NamedTuple

from sparsity_audit.reporters.text import percent
from sparsity_audit.schema.report import LayerReport, ModelReport

BINS = 20
_EDGES = [i / BINS for i in range(1, BINS)]
# i / BINS is the same double as the share k / n of equal value, so a share on an edge falls into the bin on its right.


class Histogram(NamedTuple):
    """The filters of a layer, or of all layers, by universality; heights are shares of the highest bar."""

    title: str
    counts: list[int]
    """Active filters in 20 bins over 0–1, each open on its right but the last."""
    inactive: int
    filters: int
    selectivity: str
    highest: int
    """Filters that a bar of full height stands for."""

    def height(self, filters: int, full: int) -> float:
        """Return how high a bar is where the highest takes ``full``; what is not empty can be seen."""
        return max(round(full * filters / self.highest, 1), 2.0) if filters else 0.0

    def outline(self, left: int, bottom: int, width: int, full: int) -> str:
        """Return the bars of all bins as one path, in units of the viewBox."""
        return "".join(
            f"M{left + i * width} {bottom}v-{self.height(n, full):g}h{width - 1}V{bottom}z"
            for i, n in enumerate(self.counts)
            if n
        )

    def words(self) -> str:
        """Return the bars as text."""
        bins = ", ".join(str(n) for n in self.counts)
        return f"{self.inactive} inactive; active filters in {BINS} bins from 0 to 1: {bins}"


def binned(values: Iterable[float]) -> list[int]:
    """Return how many values fall into each of 20 bins over 0–1; what is not a share is left out."""
    counts = [0] * BINS
    for value in values:
        if math.isfinite(value) and 0 <= value <= 1:
            counts[bisect_right(_EDGES, value)] += 1
    return counts


def of_layer(layer: LayerReport) -> Histogram | None:
    """Return the layer's histogram, or None where its universality was not measured."""
    if layer.universality is None:
        return None
    active = _active(layer)
    return _histogram(layer.key, binned(active), len(layer.universality) - len(active), layer.selectivity)


def _active(layer: LayerReport) -> list[float]:
    silent = set(layer.activation or [])
    return [value for i, value in enumerate(layer.universality or []) if i not in silent]


def _histogram(title: str, counts: list[int], inactive: int, selectivity: float | None) -> Histogram:
    filters = inactive + sum(counts)
    return Histogram(title, counts, inactive, filters, percent(selectivity), max(*counts, inactive, 1))


def of_all(model: ModelReport) -> Histogram | None:
    """Return the histogram over the filters of all layers, or None where there is none."""
    filters = sum(len(layer.universality or []) for layer in model.layers)
    active = [value for layer in model.layers for value in _active(layer)]
    if not filters:
        return None
    selectivity = 1 - sum(active) / len(active) if active else None
    return _histogram("all layers", binned(active), filters - len(active), selectivity)


def bound(model: ModelReport) -> float:
    """Return how far off a universality may be at most; 0 where all are exact."""
    return max((max(layer.universality_bound or [0.0], default=0.0) for layer in model.layers), default=0.0)
