"""Statistics of every filter over a corpus: counts, extrema and pooled maxima, never ratios.

Merging is associative and has the empty statistics as its identity, so that shards, resumed passes and
machines agree exactly.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sparsity_audit.thresholds import ACTIVATION_THRESHOLD, UNIVERSALITY_THRESHOLD

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]


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
        pooled: rows [images, firing filters] of plane maxima, negative ones as 0; None if they aren't kept.
    """

    fires: Bools
    keep_pooled: bool = True
    images: int = 0
    maximum: Floats = field(init=False)
    minimum: Floats = field(init=False)
    fired: NDArray[np.int64] = field(init=False)
    nonfinite: NDArray[np.int64] = field(init=False)
    pooled: list[Floats] | None = field(init=False)

    def __post_init__(self) -> None:
        filters = len(self.fires)
        self.maximum = np.full(filters, -np.inf, np.float32)
        self.minimum = np.full(filters, np.inf, np.float32)
        self.fired = np.zeros(filters, np.int64)
        self.nonfinite = np.zeros(filters, np.int64)
        self.pooled = [] if self.keep_pooled else None

    def update(self, high: Floats, low: Floats) -> None:
        """Add a batch: the largest and smallest activation of each plane, both [batch, filters]."""
        if not len(high):
            return
        self.images += len(high)
        np.fmax(self.maximum, np.fmax.reduce(high, axis=0), out=self.maximum)
        np.fmin(self.minimum, np.fmin.reduce(low, axis=0), out=self.minimum)
        self.fired += (high > ACTIVATION_THRESHOLD).sum(axis=0)
        self.nonfinite += (~(np.isfinite(high) & np.isfinite(low))).sum(axis=0)
        if self.pooled is not None:
            self.pooled.append(np.maximum(high[:, self.fires], np.float32(0)))

    def merge(self, other: FeatureStats) -> FeatureStats:
        """Return the statistics of both corpora together; neither operand is changed.

        Raises:
            ValueError: they are of different filters.
        """
        if not np.array_equal(self.fires, other.fires):
            raise ValueError("statistics of different filters cannot be merged")
        # A side that saw nothing has no pooled maxima to miss.
        seen = [part for part in (self, other) if part.images] or [self, other]
        kept = all(part.pooled is not None for part in seen)
        both = FeatureStats(self.fires, keep_pooled=kept)
        both.images = self.images + other.images
        both.maximum = np.fmax(self.maximum, other.maximum)
        both.minimum = np.fmin(self.minimum, other.minimum)
        both.fired = self.fired + other.fired
        both.nonfinite = self.nonfinite + other.nonfinite
        if kept:
            both.pooled = [*(self.pooled or []), *(other.pooled or [])]
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

    def universality(self, threshold: float = UNIVERSALITY_THRESHOLD) -> NDArray[np.float64] | None:
        """Return [filters]: share of images whose pooled activation exceeds ``threshold`` × its maximum.

        As in Sec. 2.3; 0 without a positive response, NaN where it is not defined. None where the pooled
        maxima were not kept, or no image was seen.
        """
        if self.pooled is None or not self.images:
            return None
        top = self.maximum[self.fires].astype(np.float64)
        responds = top > ACTIVATION_THRESHOLD
        counts = np.zeros(len(top), np.int64)
        for rows in self.pooled:
            with np.errstate(divide="ignore", invalid="ignore"):
                counts += ((rows / top > threshold) & responds).sum(axis=0)
        result = np.full(len(self.fires), np.nan)
        result[self.fires] = counts / self.images
        return result

    def firing_rate(self) -> NDArray[np.float64]:
        """Return [filters]: share of images with a positive response anywhere in the plane; else NaN."""
        return np.where(self.fires, self.fired / max(self.images, 1), np.nan)
