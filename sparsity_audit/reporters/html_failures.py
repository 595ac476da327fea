"""Failures of a model or a study as the HTML report shows them: by rule, with what to do."""

from __future__ import annotations

from typing import NamedTuple

from sparsity_audit.reporters.html_layers import outcome_word
from sparsity_audit.reporters.standing import excused_of, standing_words
from sparsity_audit.reporters.summary import by_rule, ended, failures_of, failures_words, remedies_of
from sparsity_audit.reporters.tables import place
from sparsity_audit.reporters.text import measured
from sparsity_audit.schema.report import AuditReport, RuleResult
from sparsity_audit.schema.rule import Limit, Rule


class FailureRow(NamedTuple):
    """One result that failed or crashed."""

    word: str
    place: str
    value: str
    limit: str
    message: str
    standing: str


class Group(NamedTuple):
    """The failures of one rule; all of them count, or all are excused, or all crashed."""

    rule: str
    name: str
    kind: str
    """``failed``, ``warning``, ``known`` (or waived) or ``crashed``: the worst in it."""
    words: str
    rows: list[FailureRow]
    remedies: list[str]
    help: Rule | None
    """None where the report has no rules (older ones)."""
    limits: list[tuple[str, str]]
    repeated: bool
    """A group above is of the same rule: what to do and why is told there."""


def failure_groups(results: list[RuleResult], report: AuditReport) -> list[Group]:
    """Return what failed, then what crashed, then what is known or waived, each by rule."""
    rules = {rule.id: rule for rule in report.rules}
    groups: list[Group] = []
    for found in (failures_of(results), ended(results, "error"), excused_of(results)):
        told = {group.rule for group in groups}
        groups += [
            _group(results, rules.get(results[0].rule), repeated=results[0].rule in told) for results in by_rule(found)
        ]
    return groups


def _group(results: list[RuleResult], rule: Rule | None, *, repeated: bool) -> Group:
    first = results[0]
    kind = outcome_word(first)  # failures come with errors first
    words = [f"{len(results):,} crashed"] if kind == "crashed" else failures_words(results)
    return Group(
        first.rule,
        first.name,
        "known" if first.excused else kind,
        ", ".join(words),
        [_row(result) for result in results],
        remedies_of(results),
        rule,
        [] if rule is None else _limits(rule, first),
        repeated,
    )


def _row(result: RuleResult) -> FailureRow:
    crashed = result.outcome == "error"
    return FailureRow(
        outcome_word(result),
        place(result),
        measured(result.value, result.unit),
        measured(result.limit, result.unit),
        result.reason or result.message if crashed else result.message,
        standing_words(result),
    )


def _limits(rule: Rule, result: RuleResult) -> list[tuple[str, str]]:
    limits = [("warning", rule.warning), ("error", rule.error)]
    return [(name, _bounds(limit, result)) for name, limit in limits if limit is not None]


def _bounds(limit: Limit, result: RuleResult) -> str:
    bounds = [
        f"{word} {measured(value, result.unit)}"
        for word, value in (("at least", limit.min), ("at most", limit.max))
        if value is not None
    ]
    return ", ".join(bounds)
