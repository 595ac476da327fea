"""Study rules over the facts of runs: one result for each comparison that a study holds."""

from __future__ import annotations

from collections.abc import Sequence

from sparsity_audit.engine.evaluate import crash_words, rule_result
from sparsity_audit.measures.lookup import measure_for
from sparsity_audit.measures.registry import Measure, Measurement
from sparsity_audit.schema.report import Outcome, RuleResult
from sparsity_audit.schema.rule import Limit, Rule, Severity
from sparsity_audit.schema.study_report import RunFacts

Interval = tuple[float, float]


def evaluate_study(rules: Sequence[Rule], facts: Sequence[RunFacts]) -> list[RuleResult]:
    """Return the results of the rules of scope study, in order; rules of other scopes are left out.

    A rule fails where the interval over seeds lies outside its limit altogether, and passes where it lies inside; it is
    inconclusive in between, with a single seed, and where decay budget or comparable errors are missing. Where the
    runs hold nothing to compare, it is skipped.
    """
    results = []
    for rule in rules:
        if rule.scope == "study":
            measure = measure_for(rule)
            results += [_judge(measure, rule, found) for found in _measured(measure, rule, facts)]
    return results


def _measured(measure: Measure, rule: Rule, facts: Sequence[RunFacts]) -> Sequence[Measurement | Exception]:
    """Take a rule's measurements; a measure that crashes is an outcome of its rule, not the end of the session."""
    try:
        found: list[Measurement] = measure.function(facts, **rule.args)
    except Exception as crash:
        return [crash]
    return found or [Measurement(None)]


def _judge(measure: Measure, rule: Rule, measured: Measurement | Exception) -> RuleResult:
    found = Measurement(None) if isinstance(measured, Exception) else measured
    outcome, severity, reason = _outcome(measure, rule, measured)
    return rule_result(measure, rule, None, found, outcome, severity, _limit(rule, severity), reason)


def _outcome(
    measure: Measure, rule: Rule, measured: Measurement | Exception
) -> tuple[Outcome, Severity | None, str | None]:
    """Return outcome, the limit that was broken, and why it is neither passed nor failed."""
    if isinstance(measured, Exception):
        return "error", None, crash_words(measured)
    if measured.value is None and measured.reason is None:
        return "skipped", None, f"nothing to compare: needs {measure.needs}"
    if measured.reason is not None or measured.interval is None:
        return "inconclusive", None, measured.reason or "no interval over seeds"
    if rule.error is not None and _outside(rule.error, measured.interval):
        return "failed", "error", None
    if rule.warning is not None and _outside(rule.warning, measured.interval):
        return "failed", "warning", None
    if all(_inside(limit, measured.interval) for limit in (rule.warning, rule.error) if limit is not None):
        return "passed", None, None
    return "inconclusive", None, "the limit lies inside the interval: more seeds would narrow it"


def _outside(limit: Limit, interval: Interval) -> bool:
    low, high = interval
    return (limit.max is not None and low > limit.max) or (limit.min is not None and high < limit.min)


def _inside(limit: Limit, interval: Interval) -> bool:
    low, high = interval
    return (limit.max is None or high <= limit.max) and (limit.min is None or low >= limit.min)


def _limit(rule: Rule, severity: Severity | None) -> float | None:
    """Return the limit that was broken; where none was, the one that is broken first."""
    limit = rule.error if severity == "error" else rule.warning or rule.error
    if limit is None:
        return None
    return limit.max if limit.max is not None else limit.min
