"""Claims held against runs: reproduced, not reproduced, inconclusive, or not run."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources.abc import Traversable
from pathlib import Path

from sparsity_audit.errors import ConfigError, did_you_mean
from sparsity_audit.measures.arms import Arm, arms_of
from sparsity_audit.measures.comparisons import ONE_SEED, Comparison
from sparsity_audit.measures.effects import Effect, mean_effect
from sparsity_audit.measures.quantities import QUANTITIES, Quantity
from sparsity_audit.resources import packaged
from sparsity_audit.schema.claim import Claim, ClaimList
from sparsity_audit.schema.reading import read_toml
from sparsity_audit.schema.study_report import ClaimOutcome, ClaimResult, RunFacts
from sparsity_audit.schema.validating import validate
from sparsity_audit.studies.claim_comparisons import comparisons

SHOWN_REASONS = 3


def load_claims(path: Path | None = None) -> list[Claim]:
    """Return the claims of a file; the paper's, which are shipped, where no file is named.

    Raises:
        ConfigError: a file that cannot be read or does not fit its schema, or a quantity that is not known.
    """
    source: Traversable = path or packaged("zoo").joinpath("claims.toml")
    where = str(path) if path is not None else "zoo:claims"
    claims = validate(ClaimList, read_toml(source, "claims", where=where), where).claim
    for claim in claims:
        if claim.quantity not in QUANTITIES:
            hint = did_you_mean(claim.quantity, QUANTITIES)
            raise ConfigError(f"{where}: claim {claim.id}: no quantity {claim.quantity!r}{hint}")
    return claims


def hold_claims(claims: Sequence[Claim], facts: Sequence[RunFacts]) -> list[ClaimResult]:
    """Return what came of each claim.

    A claim's effect is the mean over the comparisons that may count (decay budgets, comparable errors where the claim
    says so), seed by seed, with a 95 % t-interval over seeds. It is reproduced where the interval lies on the claim's
    side of the margin altogether, not reproduced where it lies on the other, else inconclusive. A single seed is always
    inconclusive, and so are comparisons of which one says the opposite of the mean.
    """
    arms = arms_of(facts)
    return [_hold(claim, arms) for claim in claims]


def _hold(claim: Claim, arms: Sequence[Arm]) -> ClaimResult:
    quantity = QUANTITIES[claim.quantity]
    found = comparisons(claim, [arm for arm in arms if arm.values(quantity)], quantity)
    if not found:
        unmeasured = [name for comparison in comparisons(claim, arms, quantity) for name in comparison.runs]
        return _not_run(claim, quantity, list(dict.fromkeys(unmeasured)))
    usable = _usable(found)
    pooled = _pooled(usable)
    outcome, reason = _outcome(claim, found, usable, pooled)
    return ClaimResult(
        id=claim.id,
        claim=claim.claim,
        source=claim.source,
        outcome=outcome,
        value=pooled.value if pooled is not None else None,
        interval=pooled.interval if pooled is not None else None,
        n=pooled.n if pooled is not None else 0,
        reason=reason,
        message="; ".join(_message(comparison, quantity, claim) for comparison in found),
        runs=list(dict.fromkeys(name for comparison in found for name in comparison.runs)),
    )


def _usable(found: Sequence[Comparison]) -> list[Comparison]:
    """Return the comparisons that may count: those with two seeds or more, where there are any."""
    sound = [comparison for comparison in found if comparison.reason is None and comparison.by_seed]
    return [comparison for comparison in sound if len(comparison.by_seed) > 1] or sound


def _pooled(usable: Sequence[Comparison]) -> Effect | None:
    """Return the mean effect of several comparisons, over the seeds that all of them have."""
    if not usable:
        return None
    seeds = sorted(set.intersection(*(set(comparison.by_seed) for comparison in usable)))
    if not seeds:
        return None
    return mean_effect([sum(each.by_seed[seed] for each in usable) / len(usable) for seed in seeds])


def _outcome(
    claim: Claim, found: Sequence[Comparison], usable: Sequence[Comparison], pooled: Effect | None
) -> tuple[ClaimOutcome, str | None]:
    if pooled is None:
        reasons = list(dict.fromkeys(comparison.reason for comparison in found if comparison.reason is not None))
        more = f" (and {len(reasons) - SHOWN_REASONS} more)" if len(reasons) > SHOWN_REASONS else ""
        return "inconclusive", ("; ".join(reasons[:SHOWN_REASONS]) or "no seed in common") + more
    if pooled.interval is None:
        return "inconclusive", ONE_SEED
    outcome = _side(claim, pooled.interval)
    if outcome == "inconclusive":
        return outcome, "the margin lies inside the interval: more seeds would narrow it"
    opposite = [comparison for comparison in usable if _contradicts(claim, comparison, outcome)]
    if opposite:
        against = "; ".join(comparison.message for comparison in opposite)
        return "inconclusive", f"the comparisons disagree: the mean is {outcome}, but not {against}"
    return outcome, None


def _side(claim: Claim, interval: tuple[float, float]) -> ClaimOutcome:
    """Return on which side of the claim's margin an interval lies."""
    low, high = interval
    if claim.expect == "within":
        if -claim.margin <= low and high <= claim.margin:
            return "reproduced"
        return "not reproduced" if low > claim.margin or high < -claim.margin else "inconclusive"
    if claim.expect == "below":
        low, high = -high, -low
    if low > claim.margin:
        return "reproduced"
    return "not reproduced" if high <= claim.margin else "inconclusive"


def _contradicts(claim: Claim, comparison: Comparison, outcome: ClaimOutcome) -> bool:
    effect = comparison.effect
    if effect is None or effect.interval is None:
        return False
    return _side(claim, effect.interval) not in (outcome, "inconclusive")


def _message(comparison: Comparison, quantity: Quantity, claim: Claim) -> str:
    effect = comparison.effect
    if effect is None:
        return f"{', '.join(comparison.runs)}: {comparison.reason}"
    parts = [comparison.message]
    if claim.compare != "level":
        parts.append(quantity.difference(effect.value))
    if effect.interval is not None:
        parts.append(quantity.difference(*effect.interval))
    parts.append(f"{effect.n} seed{'' if effect.n == 1 else 's'}")
    left_out = f" (left out: {comparison.reason})" if comparison.reason is not None else ""
    return ", ".join(parts) + left_out


def _not_run(claim: Claim, quantity: Quantity, unmeasured: Sequence[str]) -> ClaimResult:
    """Return the result of a claim that no run speaks of, or that needs what was not measured in those that do."""
    reason = "no runs that it speaks of"
    if unmeasured:
        reason = f"{quantity.words}: not measured in {', '.join(unmeasured)}; audit their models on the training corpus"
    return ClaimResult(
        id=claim.id,
        claim=claim.claim,
        source=claim.source,
        outcome="not run",
        value=None,
        interval=None,
        n=0,
        reason=reason,
        message="",
        runs=list(unmeasured),
    )
