"""Comparisons of arms, seed by seed: what study rules judge and what the paper's claims are held against."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sparsity_audit.measures.arms import Arm, common_seeds
from sparsity_audit.measures.comparable import Pair, budget_shortfall, choose_pair
from sparsity_audit.measures.effects import Effect, mean_effect, paired, slope
from sparsity_audit.measures.quantities import ERROR, Quantity
from sparsity_audit.measures.registry import Measurement
from sparsity_audit.schema.report import EvidenceValue

ONE_SEED = "one seed: an interval needs two or more"


@dataclass(frozen=True)
class Comparison:
    """What came of comparing arms: an effect for each seed that all of them have, or why there is none."""

    runs: list[str]
    """Names of the arms."""
    by_seed: Mapping[int, float] = field(default_factory=dict)
    message: str = ""
    reason: str | None = None
    """Why it decides nothing, whatever the effect."""
    evidence: dict[str, EvidenceValue] = field(default_factory=dict)

    @property
    def effect(self) -> Effect | None:
        """The mean over the seeds; None where nothing was compared."""
        return mean_effect(list(self.by_seed.values())) if self.by_seed else None

    def measurement(self) -> Measurement:
        """Return it as what a study's measure returns."""
        effect = self.effect
        evidence: dict[str, EvidenceValue] = {"runs": self.runs, **self.evidence}
        if effect is None:
            return Measurement(None, self.message, reason=self.reason, evidence=evidence)
        evidence |= {"seeds": list(self.by_seed), "effects": list(self.by_seed.values())}
        reason = self.reason or (ONE_SEED if effect.interval is None else None)
        return Measurement(effect.value, self.message, effect.n, reason, evidence, effect.interval)


def at_comparable_error(left: Sequence[Arm], right: Sequence[Arm], quantity: Quantity, tolerance: float) -> Comparison:
    """Return left − right at comparable test error, of arms that differ in λ on either side."""
    choice = choose_pair(left, right, quantity, tolerance)
    evidence = tried([*left, *right], quantity)
    if choice.pair is None:
        return Comparison([arm.name for arm in (*left, *right)], reason=choice.reason, evidence=evidence)
    return _difference(choice.pair, quantity, choice.reason, evidence)


def difference(left: Arm, right: Arm, quantity: Quantity) -> Comparison:
    """Return left − right, whatever the test errors; it decides nothing where a decay budget is too small."""
    short = [shortfall for arm in (left, right) if (shortfall := budget_shortfall(arm)) is not None]
    seeds = common_seeds([left, right], quantity)
    evidence = tried([left, right], quantity)
    reason = "; ".join(short) or (None if seeds else no_common_seed([left, right], quantity))
    if not seeds:
        return Comparison([left.name, right.name], reason=reason, evidence=evidence)
    return _difference(Pair(left, right, tuple(seeds)), quantity, reason, evidence)


def ends(ordered: Sequence[Arm], quantity: Quantity) -> Comparison:
    """Return the last arm's quantity less the first's, of those with enough decay budget."""
    enough = [arm for arm in ordered if budget_shortfall(arm) is None]
    evidence = tried(ordered, quantity)
    if len(enough) < 2:
        short = [shortfall for arm in ordered if (shortfall := budget_shortfall(arm)) is not None]
        return Comparison([arm.name for arm in ordered], reason="; ".join(short), evidence=evidence)
    found = difference(enough[-1], enough[0], quantity)
    return Comparison(found.runs, found.by_seed, found.message, found.reason, {**found.evidence, **evidence})


def per_halving(arms: Sequence[Arm], key: str, quantity: Quantity) -> Comparison:
    """Return how much a quantity grows with each halving of a setting: the slope on its log2, its sign turned."""
    runs = [arm.name for arm in arms]
    evidence = tried(arms, quantity)
    short = [shortfall for arm in arms if (shortfall := budget_shortfall(arm)) is not None]
    seeds = common_seeds(arms, quantity)
    reason = "; ".join(short) or (None if seeds else no_common_seed(arms, quantity))
    if not seeds:
        return Comparison(runs, reason=reason, evidence=evidence)
    values = [arm.values(quantity) for arm in arms]
    sizes = [arm.number(key) or 1.0 for arm in arms]
    by_seed = {
        seed: -slope((math.log2(size), of_arm[seed]) for size, of_arm in zip(sizes, values, strict=True))
        for seed in seeds
    }
    means = [arm.mean(quantity, seeds) for arm in arms]
    shown = ", ".join(f"{quantity.text(mean)} at {size:g}" for size, mean in zip(sizes, means, strict=True))
    evidence |= {"sizes": sizes, "values": means, **_errors(arms, seeds)}
    return Comparison(runs, by_seed, shown, reason, evidence)


def no_common_seed(arms: Sequence[Arm], quantity: Quantity) -> str:
    """Say why arms have no seed in common for which a quantity is known."""
    for arm in arms:
        if not arm.values(quantity):
            return f"{arm.name}: what is compared was not measured; audit its model on its training corpus"
    return f"no seed in common: {', '.join(arm.name for arm in arms)}"


def tried(arms: Sequence[Arm], quantity: Quantity) -> dict[str, EvidenceValue]:
    """Return one line on each arm that was looked at, chosen or not."""
    return {"tried": [_line(arm, quantity) for arm in arms]}


def _difference(pair: Pair, quantity: Quantity, reason: str | None, evidence: dict[str, EvidenceValue]) -> Comparison:
    arms, seeds = (pair.left, pair.right), list(pair.seeds)
    by_seed = paired(pair.left.values(quantity), pair.right.values(quantity))
    means = [arm.mean(quantity, seeds) for arm in arms]
    shown = ", ".join(f"{arm.name} {quantity.text(mean)}" for arm, mean in zip(arms, means, strict=True))
    errors = _errors(arms, seeds)
    if errors:
        shown += " at test errors {:.1f} % and {:.1f} %".format(*(100 * value for value in errors["errors"]))
    return Comparison(
        [arm.name for arm in arms],
        {seed: by_seed[seed] for seed in seeds},
        shown,
        reason,
        {"values": means, **errors, **evidence},
    )


def _errors(arms: Sequence[Arm], seeds: Sequence[int]) -> dict[str, list[float]]:
    """Return the arms' mean test errors, as evidence; nothing where one is not known."""
    if not set(seeds) <= set(common_seeds(arms, ERROR)):
        return {}
    return {"errors": [arm.mean(ERROR, seeds) for arm in arms]}


def _line(arm: Arm, quantity: Quantity) -> str:
    """Return what is known of an arm: λ, error, quantity and budget, means over its own seeds."""
    parts = [f"λ {arm.strength:g}"]
    for of in (ERROR, quantity):
        known = arm.values(of)
        parts.append(of.text(arm.mean(of, known)) if known else f"{of.words} not known")
    first = arm.first
    if first.decay_budget is not None:
        parts.append(f"decay budget {first.decay_budget:.1f}")
    elif first.rate_sum is not None:
        parts.append(f"sum of rates {first.rate_sum:.1f}")
    parts.append(f"seeds {' '.join(map(str, sorted(arm.runs)))}")
    return f"{arm.name}: {', '.join(parts)}"
