"""Rules over measures: each rule on each layer (or model) it applies to, one outcome each."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Iterator, Sequence

from sparsity_audit.measures.lookup import measure_for
from sparsity_audit.measures.registry import Measure, Measurement, unmeasured
from sparsity_audit.schema.report import LayerReport, ModelReport, Outcome, RuleResult
from sparsity_audit.schema.rule import Rule, Severity

Keep = Callable[[Rule, str | None], bool]
"""Tells whether an item (rule, layer key or None) was selected by ``-k``."""


def items(rules: Sequence[Rule], layer_keys: Sequence[str]) -> list[tuple[Rule, str | None]]:
    """Return what a session collects: every rule with every layer it applies to, in the rules' order.

    A rule whose ``layers`` fit none is one item without a layer, so that a misspelt glob shows up as skipped.
    """
    collected: list[tuple[Rule, str | None]] = []
    for rule in rules:
        fitting = [(rule, key) for key in layer_keys if fnmatch.fnmatchcase(key, rule.layers)]
        if rule.scope != "layer" or (not fitting and rule.layers != "*"):
            collected.append((rule, None))
        else:
            collected += fitting
    return collected


def evaluate(
    rules: Sequence[Rule], model: ModelReport, *, keep: Keep | None = None, stop_at: Severity | None = None
) -> list[RuleResult]:
    """Return the results of all selected items.

    Args:
        stop_at: end after the first failure of at least this severity, or the first crash (``-x``).
    """
    return up_to_stop(_results(rules, model, keep), stop_at)


def up_to_stop(results: Iterable[RuleResult], stop_at: Severity | None) -> list[RuleResult]:
    """Return the results up to the one at which a session under ``-x`` ends; all of them where it doesn't."""
    taken = []
    for result in results:
        taken.append(result)
        if stop_at is not None and stops(result, stop_at):
            break
    return taken


def stops(result: RuleResult, at: Severity) -> bool:
    """Tell whether a session under ``-x`` ends after a result: it failed, or its rule crashed."""
    return result.outcome == "error" or fails(result, at)


def fails(result: RuleResult, at: Severity) -> bool:
    """Tell whether a result fails the session where failures of severity ``at`` and above do, excused ones never."""
    failed = result.outcome == "failed" and not result.excused
    return failed and (at == "warning" or result.severity == "error")


def _results(rules: Sequence[Rule], model: ModelReport, keep: Keep | None) -> Iterator[RuleResult]:
    layers = {layer.key: layer for layer in model.layers}
    for rule, key in items(rules, list(layers)):
        if keep is None or keep(rule, key):
            measure = measure_for(rule)
            layer = layers[key] if key is not None else None
            yield _judge(measure, rule, key, _measure(measure, rule, layer, model))


def _measure(measure: Measure, rule: Rule, layer: LayerReport | None, model: ModelReport) -> Measurement | Exception:
    """Take one measurement; a measure that crashes is an outcome of its rule, not the end of the session."""
    if layer is None and rule.scope == "layer":
        return unmeasured(f"no layer's key fits layers = {rule.layers!r}")
    if rule.scope == "study":
        instead = f"; for a single model: {measure.instead}" if measure.instead else ""
        return unmeasured(f"needs {measure.needs}: give a study, or several models with records{instead}")
    try:
        found: Measurement = measure.function(*([layer] if layer is not None else []), model, **rule.args)
    except Exception as crash:
        return crash
    return found


def _judge(measure: Measure, rule: Rule, key: str | None, measured: Measurement | Exception) -> RuleResult:
    """Turn a measurement into a result: crashed, skipped, or held against the rule's limits."""
    if isinstance(measured, Exception):
        return rule_result(measure, rule, key, Measurement(None), "error", None, None, crash_words(measured))
    severity, bound = (None, None) if measured.value is None else _broken(rule, measured.value)
    outcome: Outcome = "skipped" if measured.value is None else "failed" if severity else "passed"
    return rule_result(measure, rule, key, measured, outcome, severity, bound, measured.reason)


def crash_words(crash: Exception) -> str:
    """Return why a measure that crashed gave nothing."""
    return f"{type(crash).__name__}: {crash}"


def rule_result(
    measure: Measure,
    rule: Rule,
    key: str | None,
    found: Measurement,
    outcome: Outcome,
    severity: Severity | None,
    limit: float | None,
    reason: str | None,
) -> RuleResult:
    """Return a rule's result: what was measured, what became of it, and what to do where a limit was broken."""
    return RuleResult(
        rule=rule.id,
        name=rule.name,
        version=rule.version,
        scope=rule.scope,
        layer=key,
        outcome=outcome,
        severity=severity,
        value=found.value,
        unit=measure.unit,
        limit=limit,
        interval=found.interval,
        n=found.n,
        reason=reason,
        message=found.message,
        evidence=found.evidence,
        remedies=rule.remedies if severity else [],
    )


def _broken(rule: Rule, value: float) -> tuple[Severity | None, float | None]:
    """Return the worst limit that a value breaks; where none is, the limit that it came nearest to breaking."""
    if rule.error is not None and (bound := rule.error.broken_by(value)) is not None:
        return "error", bound
    if rule.warning is not None and (bound := rule.warning.broken_by(value)) is not None:
        return "warning", bound
    nearest = rule.warning or rule.error
    return None, None if nearest is None else nearest.max if nearest.max is not None else nearest.min
