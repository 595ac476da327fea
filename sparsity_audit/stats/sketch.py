"""Counts of pooled maxima in logarithmic buckets: universality in memory that does not grow with the corpus.

A bucket is a range of positive float32 values that agree in exponent and the first four bits of the mantissa:
16 buckets make an octave, each at most 1/16 wide relative to its lower end. Universality's threshold is
relative to a filter's maximum over the corpus, so the 16 octaves (4.8 decades) below the maximum so far are
kept. What lies below them now will do so for good, because a maximum only grows: counts depend on which images
were seen, never on their order or grouping.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Integers = NDArray[np.int64]

BUCKETS = 256
"""Buckets kept for each filter, 16 to the octave; a power of two, so that finding a column is one bit operation."""
_SHIFT = 23 - 4  # float32 has 23 bits of mantissa, of which a bucket keeps 4


class Sketch:
    """Bucket counts of several filters, 1 KiB each however many images are added (up to 2^32).

    Attributes:
        top: [filters] bucket of the largest value so far; 0 where none was positive.
        counts: [filters, BUCKETS] images by bucket; bucket b stands in column b mod ``BUCKETS``. Images that
            are in none of them had a value below the kept ones, or zero.
    """

    def __init__(self, filters: int) -> None:
        self.top = np.zeros(filters, np.int32)
        self.counts = np.zeros((filters, BUCKETS), np.uint32)
        self._first = np.arange(filters) * BUCKETS

    def add(self, values: Floats) -> None:
        """Count plane maxima [images, filters], none of them negative or NaN."""
        if not values.size:
            return
        bucket = _bucket(values)
        self._raise_top(np.maximum(self.top, bucket.max(axis=0)))
        kept = bucket > np.maximum(self.top - BUCKETS, 0)
        places = ((bucket & (BUCKETS - 1)) + self._first)[kept]
        # Faster than bincount, whose result is as long as counts however few images a batch has.
        np.add.at(self.counts.reshape(-1), places, np.uint32(1))

    def merge(self, other: Sketch) -> Sketch:
        """Return the counts of both; neither operand is changed."""
        both, theirs = self.copy(), other.copy()
        top = np.maximum(self.top, other.top)
        both._raise_top(top)
        theirs._raise_top(top)
        both.counts += theirs.counts
        return both

    def copy(self) -> Sketch:
        """Return an independent copy."""
        twin = Sketch(len(self.top))
        twin.top, twin.counts = self.top.copy(), self.counts.copy()
        return twin

    def above(self, threshold: Doubles, images: int) -> tuple[Integers, Integers]:
        """Return how many of ``images`` lie above ``threshold`` [filters], positive: at least, and at most.

        The two differ by what the bucket holds that the threshold cuts; where the threshold lies below all kept
        buckets, by whatever lies below them.
        """
        # Rounding to float32 may move a threshold up to its bucket's edge, never past a value it is compared to.
        cut = _bucket(threshold.astype(np.float32))[:, None]
        held = _held(self.top)
        least = np.where(held > cut, self.counts, 0).sum(axis=1, dtype=np.int64)
        inside = np.where(held == cut, self.counts, 0).sum(axis=1, dtype=np.int64)
        return least, np.where(cut[:, 0] > self.top - BUCKETS, least + inside, images)

    def _raise_top(self, top: NDArray[np.int32]) -> None:
        """Make room for larger values: buckets that leave the kept range are emptied."""
        rising = np.flatnonzero(top > self.top)
        if not len(rising):
            return
        gone = _held(self.top[rising]) <= top[rising, None] - BUCKETS
        self.counts[rising] = np.where(gone, np.uint32(0), self.counts[rising])
        self.top = top


def _held(top: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return [filters, BUCKETS]: the bucket that each column holds, the last ``BUCKETS`` up to ``top``."""
    age = np.mod(top[:, None] - np.arange(BUCKETS), BUCKETS)
    held: NDArray[np.int32] = (top[:, None] - age).astype(np.int32)
    return held


def _bucket(values: Floats) -> NDArray[np.int32]:
    """Return the bucket of each value, monotone in it; 0 for 0."""
    bucket: NDArray[np.int32] = np.ascontiguousarray(values).view(np.int32) >> _SHIFT
    return bucket
