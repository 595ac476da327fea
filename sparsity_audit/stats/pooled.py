"""Pooled maxima of a corpus: kept as they are while they fit a budget of memory, counted in buckets beyond it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sparsity_audit.stats.sketch import Sketch

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Integers = NDArray[np.int64]


class PooledMaxima:
    """The largest positive response of every filter on every image.

    Attributes:
        budget: bytes that the maxima may take, at 4 each.
        images: images added.
        rows: [images, filters] in pieces; None once they outgrew the budget.
        sketch: what took their place; None before.
    """

    def __init__(self, filters: int, budget: int) -> None:
        self.filters = filters
        self.budget = budget
        self.images = 0
        self.rows: list[Floats] | None = []
        self.sketch: Sketch | None = None

    @property
    def exact(self) -> bool:
        """Nothing was rounded to a bucket."""
        return self.sketch is None

    def add(self, values: Floats) -> None:
        """Add plane maxima [images, filters], none of them negative or NaN; the array is kept, not copied."""
        self.images += len(values)
        if self.rows is not None:
            self.rows.append(values)
            self._keep_to_budget()
        elif self.sketch is not None:
            self.sketch.add(values)

    def merge(self, other: PooledMaxima) -> PooledMaxima:
        """Return the maxima of both, under the smaller budget; neither operand is changed."""
        both = PooledMaxima(self.filters, min(self.budget, other.budget))
        both.images = self.images + other.images
        if self.rows is not None and other.rows is not None:
            both.rows = [*self.rows, *other.rows]
            both._keep_to_budget()
        else:
            both.rows, both.sketch = None, self._as_sketch().merge(other._as_sketch())
        return both

    def above(self, fraction: float, top: Doubles) -> tuple[Integers, Integers]:
        """Return on how many images each filter's maximum is above ``fraction`` × ``top``: at least, and at most.

        ``top`` [filters] is positive and finite. Both numbers agree while nothing was rounded.
        """
        if self.sketch is not None:
            return self.sketch.above(fraction * top, self.images)
        counts = np.zeros(self.filters, np.int64)
        for rows in self.rows or []:
            counts += (rows / top > fraction).sum(axis=0)
        return counts, counts

    def _keep_to_budget(self) -> None:
        if self.images * self.filters * 4 > self.budget:
            self.sketch, self.rows = self._as_sketch(), None

    def _as_sketch(self) -> Sketch:
        if self.sketch is not None:
            return self.sketch
        sketch = Sketch(self.filters)
        for rows in self.rows or []:
            sketch.add(rows)
        return sketch
