"""From a claim to the comparisons that speak of it: which arms its selectors name, and how they are set against."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Mapping, Sequence

from sparsity_audit.measures.arms import Arm, alike, ordered, regimes
from sparsity_audit.measures.comparable import TOLERANCE, budget_shortfall
from sparsity_audit.measures.comparisons import Comparison, at_comparable_error, difference, tried
from sparsity_audit.measures.quantities import Quantity
from sparsity_audit.schema.claim import Claim

STRENGTH = "regularizer.strength"
KIND = "regularizer.kind"


def comparisons(claim: Claim, arms: Sequence[Arm], quantity: Quantity) -> list[Comparison]:
    """Return what a claim sets against each other among the arms; nothing where they hold no such runs."""
    taking_part = [arm for arm in arms if fits(arm, claim.where)]
    if claim.compare == "level":
        return [_level(arm, quantity) for arm in taking_part]
    if claim.compare == "steps":
        return [difference(upper, lower, quantity) for lower, upper in _neighbours(claim, taking_part)]
    found = []
    free = [*claim.but_for, *([STRENGTH] if claim.at_comparable_error else [])]
    for group in alike(taking_part, free):
        first = [arm for arm in group if fits(arm, claim.first)]
        second = [arm for arm in group if fits(arm, claim.second)]
        found += _against(claim, first, second, quantity)
    return found


def fits(arm: Arm, selector: Mapping[str, object]) -> bool:
    """Tell whether an arm has the settings that a selector names."""
    return all(
        _setting(arm, key) in (wanted if isinstance(wanted, list) else [wanted]) for key, wanted in selector.items()
    )


def _setting(arm: Arm, key: str) -> Hashable:
    """Return a setting; L2 with λ = 0 is no regulariser."""
    return arm.kind if key == KIND and KIND in arm.settings else arm.settings.get(key)


def _against(claim: Claim, first: Sequence[Arm], second: Sequence[Arm], quantity: Quantity) -> list[Comparison]:
    if not claim.at_comparable_error:
        return [difference(left, right, quantity) for left, right in itertools.product(first, second)]
    sides = itertools.product(alike(first, [STRENGTH]), alike(second, [STRENGTH]))
    return [at_comparable_error(left, right, quantity, TOLERANCE) for left, right in sides]


def _neighbours(claim: Claim, arms: Sequence[Arm]) -> list[tuple[Arm, Arm]]:
    """Return each arm with the one at the next larger value of the setting that the claim goes along."""
    assert claim.along is not None
    if claim.along == STRENGTH:
        series = regimes(arms)
    else:
        series = [ordered(group, claim.along) for group in alike(arms, [claim.along, *claim.but_for])]
    pairs = [pair for arms_along in series for pair in itertools.pairwise(arms_along)]
    return [(lower, upper) for lower, upper in pairs if lower.number(claim.along) != upper.number(claim.along)]


def _level(arm: Arm, quantity: Quantity) -> Comparison:
    values = arm.values(quantity)
    text = f"{arm.name} {quantity.text(arm.mean(quantity, values))}" if values else ""
    return Comparison([arm.name], values, text, budget_shortfall(arm), tried([arm], quantity))
