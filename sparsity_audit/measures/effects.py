"""Effects over seeds: differences paired by seed, their mean, and how far it is known."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Effect:
    """A mean over seeds."""

    value: float
    interval: tuple[float, float] | None
    """95 % t-interval; None for a single seed, which says nothing about others."""
    n: int
    """Seeds."""

    def __neg__(self) -> Effect:
        turned = None if self.interval is None else (-self.interval[1], -self.interval[0])
        return Effect(-self.value, turned, self.n)


def mean_effect(values: Sequence[float]) -> Effect:
    """Return the mean of one value a seed, with its 95 % t-interval: mean ± t(n − 1) · s / √n.

    Raises:
        ValueError: no value at all.
    """
    if not values:
        raise ValueError("no seed, no effect")
    mean, n = math.fsum(values) / len(values), len(values)
    if n < 2:
        return Effect(mean, None, n)
    half = _t_quantile(n - 1) * statistics.stdev(values) / math.sqrt(n)
    return Effect(mean, (mean - half, mean + half), n)


def paired(left: Mapping[int, float], right: Mapping[int, float]) -> dict[int, float]:
    """Return left − right for each seed that both have: what the two share by their seed cancels."""
    return {seed: left[seed] - right[seed] for seed in sorted(left.keys() & right.keys())}


def slope(points: Iterable[tuple[float, float]]) -> float:
    """Return the least-squares slope of y on x.

    Raises:
        ValueError: fewer than two different x.
    """
    known = list(points)
    if len({x for x, _ in known}) < 2:
        raise ValueError("a slope needs two different x")
    return statistics.linear_regression([x for x, _ in known], [y for _, y in known]).slope


def _t_quantile(freedom: int) -> float:
    """Return what a t-distributed value stays below with probability 0.975."""
    from scipy.special import stdtrit  # a third of a second to import: only where there are seeds to compare

    return float(stdtrit(freedom, 0.5 + CONFIDENCE / 2))
