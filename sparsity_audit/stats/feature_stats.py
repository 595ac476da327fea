"""Statistics of every filter over a corpus: counts, extrema and pooled maxima, never ratios.

Merging is associative and has the empty statistics as its identity, so that shards, resumed passes and
machines agree exactly.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sparsity_audit.stats.pooled import PooledMaxima
from sparsity_audit.thresholds import ACTIVATION_THRESHOLD, UNIVERSALITY_THRESHOLD

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Bools = NDArray[np.bool_]

POOLED_BUDGET = 2**31
"""Bytes of pooled maxima kept as they are, where nothing else is said."""


@dataclass
class FeatureStats:
    """What a corpus did to a model's filters.

    Attributes:
        fires: [filters] whose measured tensor is a nonlinearity's output, so that universality is defined.
        images: images seen.
        maximum, minimum: [filters] extreme activations over corpus and plane, NaN left out; −inf and +inf
            where nothing was seen.
        fired: [filters] images with a positive response above ``ACTIVATION_THRESHOLD``.
        nonfinite: [filters] images with a NaN or infinity in the plane.
        pooled: plane maxima of the firing filters, negative ones and NaN as 0: all of them while they fit
            ``pooled_budget`` bytes, bucket counts beyond.
    """

    fires: Bools
    pooled_budget: int = POOLED_BUDGET
    images: int = 0
    maximum: Floats = field(init=False)
    minimum: Floats = field(init=False)
    fired: NDArray[np.int64] = field(init=False)
    nonfinite: NDArray[np.int64] = field(init=False)
    pooled: PooledMaxima = field(init=False)

    def __post_init__(self) -> None:
        filters = len(self.fires)
        self.maximum = np.full(filters, -np.inf, np.float32)
        self.minimum = np.full(filters, np.inf, np.float32)
        self.fired = np.zeros(filters, np.int64)
        self.nonfinite = np.zeros(filters, np.int64)
        self.pooled = PooledMaxima(int(self.fires.sum()), self.pooled_budget)

    def update(self, high: Floats, low: Floats) -> None:
        """Add a batch: the largest and smallest activation of each plane, both [batch, filters]."""
        if not len(high):
            return
        self.images += len(high)
        np.fmax(self.maximum, np.fmax.reduce(high, axis=0), out=self.maximum)
        np.fmin(self.minimum, np.fmin.reduce(low, axis=0), out=self.minimum)
        self.fired += (high > ACTIVATION_THRESHOLD).sum(axis=0)
        self.nonfinite += (~(np.isfinite(high) & np.isfinite(low))).sum(axis=0)
        self.pooled.add(np.fmax(high[:, self.fires], np.float32(0)))

    def merge(self, other: FeatureStats) -> FeatureStats:
        """Return the statistics of both corpora together; neither operand is changed.

        Raises:
            ValueError: they are of different filters.
        """
        if not np.array_equal(self.fires, other.fires):
            raise ValueError("statistics of different filters cannot be merged")
        both = FeatureStats(self.fires, min(self.pooled_budget, other.pooled_budget))
        both.images = self.images + other.images
        both.maximum = np.fmax(self.maximum, other.maximum)
        both.minimum = np.fmin(self.minimum, other.minimum)
        both.fired = self.fired + other.fired
        both.nonfinite = self.nonfinite + other.nonfinite
        both.pooled = self.pooled.merge(other.pooled)
        return both

    @property
    def peak(self) -> Floats:
        """[filters] largest |activation| over corpus and plane."""
        return np.maximum(np.abs(self.maximum), np.abs(self.minimum))

    @property
    def decided(self) -> Bools:
        """[filters] whose activations were all finite, over at least one image."""
        finite: Bools = (self.nonfinite == 0) & np.bool_(self.images > 0)
        return finite

    def inactive(self, threshold: float = ACTIVATION_THRESHOLD) -> Bools:
        """Return [filters]: |activation| never exceeds ``threshold`` (Sec. 2.1)."""
        silent: Bools = self.decided & (self.peak <= threshold)
        return silent

    def constant(self, tolerance: float, threshold: float = ACTIVATION_THRESHOLD) -> Bools:
        """Return [filters]: max − min over corpus and plane is at most ``tolerance``, yet not inactive."""
        with np.errstate(invalid="ignore"):
            spread = self.maximum.astype(np.float64) - self.minimum.astype(np.float64)
        steady: Bools = self.decided & (spread <= tolerance) & ~self.inactive(threshold)
        return steady

    def universality(self, threshold: float = UNIVERSALITY_THRESHOLD) -> Doubles | None:
        """Return [filters]: share of images whose pooled activation exceeds ``threshold`` × its maximum.

        As in Sec. 2.3; 0 without a positive response, NaN where it is not defined. Within ``universality_bound``
        of the truth. None where no image was seen.
        """
        found = self.universality_range(threshold)
        return None if found is None else (found[0] + found[1]) / 2

    def universality_bound(self, threshold: float = UNIVERSALITY_THRESHOLD) -> Doubles | None:
        """Return [filters]: how far off ``universality`` may be at most; 0 while all maxima are kept.

        Half the share of images that lie in the bucket that the threshold cuts; NaN where universality is not
        defined. None where no image was seen.
        """
        found = self.universality_range(threshold)
        return None if found is None else (found[1] - found[0]) / 2

    def universality_range(self, threshold: float = UNIVERSALITY_THRESHOLD) -> tuple[Doubles, Doubles] | None:
        """Return what universality is at least and at most, each [filters]; None where no image was seen."""
        if not self.images:
            return None
        top = self.maximum[self.fires].astype(np.float64)
        responds = (top > ACTIVATION_THRESHOLD) & np.isfinite(top)
        low, high = np.full(len(self.fires), np.nan), np.full(len(self.fires), np.nan)
        for side, counts in zip((low, high), self.pooled.above(threshold, np.where(responds, top, 1)), strict=True):
            side[self.fires] = np.where(responds, counts, 0) / self.images
        return low, high

    def firing_rate(self) -> NDArray[np.float64]:
        """Return [filters]: share of images with a positive response anywhere in the plane; else NaN."""
        return np.where(self.fires, self.fired / max(self.images, 1), np.nan)
