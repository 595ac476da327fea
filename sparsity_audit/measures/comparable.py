"""Which arms may be compared: long enough a training to reach the threshold, and test errors that are alike."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from sparsity_audit.measures.arms import Arm, common_seeds
from sparsity_audit.measures.quantities import ERROR, Quantity
from sparsity_audit.thresholds import GAMMA_THRESHOLD

TOLERANCE = 0.02
"""Test errors within two points are comparable."""
ENOUGH_RATE = 1.5
"""Σ lr_t with which an adaptive method under L2 takes a parameter from 1 below the threshold."""
_ROUNDING = 1e-9
"""Errors are quotients of whole numbers: two points are two points, whatever their last bit says."""


@dataclass(frozen=True)
class Pair:
    """Two arms over the seeds that both have."""

    left: Arm
    right: Arm
    seeds: tuple[int, ...]

    def errors(self) -> tuple[float, float]:
        """Return the mean test errors over the common seeds."""
        return self.left.mean(ERROR, self.seeds), self.right.mean(ERROR, self.seeds)

    def gap(self) -> float:
        """Return how far the mean test errors lie apart."""
        left, right = self.errors()
        return abs(left - right)

    def comparable(self, tolerance: float) -> bool:
        """Tell whether the test errors are alike.

        Judged on the means over the common seeds, not seed by seed: the claim is about two ways of training, and a
        single seed's error scatters by a good part of the tolerance; those seeds are what the effect rests on too.
        """
        return self.gap() <= tolerance + _ROUNDING


@dataclass(frozen=True)
class Choice:
    """The pair that was chosen among several strengths of the regulariser, or why none could be."""

    pair: Pair | None
    reason: str | None
    """Why the pair must not be compared; None where it may."""


def choose_pair(left: Sequence[Arm], right: Sequence[Arm], quantity: Quantity, tolerance: float) -> Choice:
    """Return the pair with the nearest test errors, of all strengths with enough decay budget on either side.

    A pair with comparable errors and two seeds or more comes before one that lacks either. What is compared has no
    part in the choice. Where no pair is comparable, the remedy is a larger λ for the arm with the lower error, never a
    smaller one for the other: below its budget an arm says nothing.
    """
    short = [shortfall for arm in (*left, *right) if (shortfall := budget_shortfall(arm)) is not None]
    enough = [[arm for arm in side if budget_shortfall(arm) is None] for side in (left, right)]
    if not all(enough):
        return Choice(None, "; ".join(short))
    pairs = [pair for one, other in itertools.product(*enough) if (pair := _pair(one, other, quantity)).seeds]
    if not pairs:
        return Choice(None, _nothing_in_common(enough[0], enough[1], quantity))
    best = min(pairs, key=lambda pair: (not pair.comparable(tolerance), len(pair.seeds) < 2, pair.gap()))
    return Choice(best, None if best.comparable(tolerance) else _too_far(best, tolerance))


def budget_shortfall(arm: Arm) -> str | None:
    """Say why an arm's regulariser alone cannot take γ below the threshold; None where it can, or there is none.

    Weight decay, and L2 under SGD, need a decay budget of ln(γ₀ / 1e-3), which is 6.9 from γ₀ = 1; L2 under an
    adaptive method needs Σ lr_t of γ of 1.5 · γ₀. An arm with less stays alive by arithmetic.
    """
    kind, optimizer = arm.kind, arm.settings.get("optimizer.name")
    initial = abs(arm.number("init.gamma") or 1.0)
    factor = arm.number("lr_multipliers.gamma") or 1.0
    if kind == "l2" and optimizer != "sgd":
        words, has, needed = "sum of rates", arm.first.rate_sum, ENOUGH_RATE * initial
    elif kind in ("l2", "wd"):
        words, has, needed = "decay budget", arm.first.decay_budget, math.log(initial / GAMMA_THRESHOLD)
        factor = factor if kind == "l2" else 1.0  # weight decay follows the schedule, not the rate of γ
    else:
        return None
    if has is None:
        return f"{arm.name}: its {words} is not known"
    if has * factor >= needed:
        return None
    return (
        f"{arm.name}: {words} {has * factor:.1f}, where γ needs {needed:.1f} to come below {GAMMA_THRESHOLD:g}: "
        "train longer, or with a larger λ"
    )


def _pair(left: Arm, right: Arm, quantity: Quantity) -> Pair:
    both = set(common_seeds([left, right], quantity)) & set(common_seeds([left, right], ERROR))
    return Pair(left, right, tuple(sorted(both)))


def _nothing_in_common(left: Sequence[Arm], right: Sequence[Arm], quantity: Quantity) -> str:
    for arm in (*left, *right):
        if not arm.values(quantity):
            return f"{arm.name}: what is compared was not measured; audit its model on the training corpus"
        if not arm.values(ERROR):
            return f"{arm.name}: its test error is not known"
    return f"no seed in common: {left[0].name} and {right[0].name}"


def _too_far(pair: Pair, tolerance: float) -> str:
    errors = pair.errors()
    lower = pair.left if errors[0] < errors[1] else pair.right
    return (
        f"no comparable errors: the nearest, {100 * errors[0]:.1f} % and {100 * errors[1]:.1f} %, are more than "
        f"{100 * tolerance:g} points apart; raise λ of {lower.name}"
    )
