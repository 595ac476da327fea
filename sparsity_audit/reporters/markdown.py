"""A report as Markdown for a pull request: the verdict first, what failed next, the rest folded away."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from sparsity_audit.reporters.facts import environment, model_facts
from sparsity_audit.reporters.markdown_layout import bullets, folded, pipes, safe, short
from sparsity_audit.reporters.markdown_study import study_blocks
from sparsity_audit.reporters.standing import (
    baseline_words,
    excused_of,
    improvements,
    standing_words,
    waiver_words,
)
from sparsity_audit.reporters.summary import (
    by_rule,
    ended,
    error_words,
    exit_words,
    failures_of,
    gate_of,
    model_verdict,
    parts_of,
    remedies_of,
    tally,
    unaudited_layers,
    undecided,
    verdict,
)
from sparsity_audit.reporters.tables import (
    Table,
    ledger_notes,
    ledger_table,
    models_table,
    norms_table,
    place,
    plan_layers,
    plan_table,
    plan_words,
    removals,
)
from sparsity_audit.reporters.text import (
    LONGEST_RANGES,
    evidence_text,
    html_code,
    markdown_code,
    markdown_text,
    measured,
    plural,
)
from sparsity_audit.schema.report import AuditReport, ModelReport, RuleResult
from sparsity_audit.schema.rule import Severity

LONGEST = 65_536
"""Characters that GitHub takes in one comment."""

_HEADERS = ["layer", "rule", "value", "limit", "severity", "what"]
_SIGNS = {"failed": "❌", "warned": "⚠️", "passed": "✅"}
_STEPS = (4000, 1000, 400, 200, 100, 50, 25, 12, 6, 3, 1)


class _Cut(NamedTuple):
    """How many rows are shown; the failures are what the reader came for, so they are cut last."""

    failures: int
    details: int


_NEXT = "Nothing was changed; the JSON report holds all indices, `sparsity-audit prune` takes the filters out."


def to_markdown(report: AuditReport) -> str:
    """Return the report as GitHub Markdown of at most ``LONGEST`` characters.

    Where it would be longer, rows are left out, details before failures, and what is missing is counted.
    """
    for rows in _STEPS:
        text = "\n".join(_blocks(report, _Cut(5 * rows, rows)))
        if len(text) <= LONGEST:
            return text
    rest = "Everything else is too long for a comment; it is in the JSON report.\n"
    return "\n".join([_heading(report), rest, _footer(report)])


def _heading(report: AuditReport) -> str:
    result = verdict(report)
    return f"## {_SIGNS[result.state]} sparsity-audit: {result.words}\n"


def _blocks(report: AuditReport, cut: _Cut) -> Iterator[str]:
    yield _heading(report)
    words = exit_words(report)
    if words is not None:
        yield f"{markdown_text(words)}\n"
    if report.errors:
        lines = [safe(error_words(error)) for error in report.errors]
        yield f"### Not audited\n\n{bullets(lines, cut.failures)}"
    if report.models:
        yield pipes(models_table(report.models), cut.details)
    yield from _failure_blocks(report, cut)
    yield from _ratchet_blocks(report, cut)
    for model in report.models[: cut.details]:
        yield from _model_blocks(model, report, cut)
    for study in report.studies[: cut.details]:
        yield from study_blocks(study, cut.details)
    yield _footer(report)


def _failure_blocks(report: AuditReport, cut: _Cut) -> Iterator[str]:
    gate: Severity | None = gate_of(report)
    failed = failures_of(report.results(), gate)
    if table := _failures(report, gate):
        yield f"### Failures\n\n{pipes(table, cut.failures)}{_remedies(failed, cut)}"
    table = _failures(report, "warning")
    if gate == "error" and table is not None:
        told = {result.rule for result in failed}
        warnings = [result for result in failures_of(report.results(), "warning") if result.rule not in told]
        body = f"{pipes(table, cut.details)}{_remedies(warnings, cut)}"
        yield folded(plural(len(table.rows), "warning"), body)


def _ratchet_blocks(report: AuditReport, cut: _Cut) -> Iterator[str]:
    """Yield what improved, what is known or waived, and waivers that nothing needs."""
    if words := baseline_words(report):
        yield f"{safe(words)}\n"
    better = [f"{markdown_code(short(name))}: {safe(text)}" for name, text in improvements(report)]
    if better:
        yield f"### Better than the baseline\n\n{bullets(better, cut.failures)}"
    excused = [(name, result) for name, results in parts_of(report) for result in excused_of(results)]
    rows = [[name, *_failure_row(result)] for name, result in excused]
    if rows:
        yield folded(f"{len(rows):,} known or waived", pipes(Table(["model", *_HEADERS], "cclrrll", rows), cut.details))
    if waivers := waiver_words(report):
        yield bullets([safe(text) for text in waivers], cut.failures)


def _failures(report: AuditReport, severity: Severity | None) -> Table | None:
    """Return the failed results of all models and studies, and the crashed ones with the errors; None without any."""
    parts = parts_of(report)
    several = len(parts) > 1
    rows = []
    for name, results in parts:
        failed = failures_of(results, severity)
        if severity != "warning":
            failed += ended(results, "error")
        rows += [[*([name] if several else []), *_failure_row(result)] for result in failed]
    headers = [*(["model"] if several else []), *_HEADERS]
    return Table(headers, "c" * several + "clrrll", rows) if rows else None


def _failure_row(result: RuleResult) -> list[str]:
    crashed = result.outcome == "error"
    severity = "crashed" if crashed else result.severity or "error"
    what = result.reason or result.message if crashed else result.message
    if standing := standing_words(result):
        what = f"{what} ({standing})"
    rule = f"{result.rule} {result.name}"
    value, limit = (measured(number, result.unit) for number in (result.value, result.limit))
    return [place(result), rule, value, limit, severity, what]


def _remedies(failed: list[RuleResult], cut: _Cut) -> str:
    lines = [
        f"{markdown_code(group[0].rule)}: {safe(remedy)}" for group in by_rule(failed) for remedy in remedies_of(group)
    ]
    return f"\nWhat to do:\n\n{bullets(lines, cut.failures)}" if lines else ""


def _model_blocks(model: ModelReport, report: AuditReport, cut: _Cut) -> Iterator[str]:
    name = html_code(short(model.path))
    facts = [("verdict", model_verdict(model, report)), *model_facts(model)]
    yield folded(
        f"What was audited: {name}",
        bullets([f"{label}: {safe(text)}" for label, text in facts], 10 + cut.details),
    )
    if model.layers or model.norms:
        yield folded(f"Capacity ledger of {name}", _ledger(model, cut))
    if model.plan is not None and plan_layers(model.plan):
        yield folded(f"Pruning recommendation for {name}", _recommendation(model, cut))
    lines = [
        f"{markdown_code(found.rule)} {found.outcome} ×{found.times:,}: {safe(found.reason)}"
        for found in undecided(model.results)
    ]
    lines += [
        f"{plural(len(layers), 'layer')}: {safe(reason)} ({safe(evidence_text(layers))})"
        for reason, layers in unaudited_layers(model)
    ]
    if lines:
        yield folded(f"Not decided in {name}", bullets(lines, cut.details))


def _ledger(model: ModelReport, cut: _Cut) -> str:
    notes = bullets([safe(note) for note in ledger_notes(model)], cut.failures)
    norms = f"\nNorms that no convolution feeds alone:\n\n{pipes(norms_table(model), cut.details)}"
    return f"{pipes(ledger_table(model), cut.details)}\n{notes}{norms if model.norms else ''}"


def _recommendation(model: ModelReport, cut: _Cut) -> str:
    if model.plan is None:
        return ""
    removed = [f"{markdown_code(short(key))}: {safe(text)}" for key, text in removals(model.plan, LONGEST_RANGES)]
    words = [*plan_words(model.plan), _NEXT]
    return (
        f"{bullets([safe(text) for text in words], cut.failures)}\n"
        f"{pipes(plan_table(model.plan), cut.details)}\n{bullets(removed, cut.details)}"
    )


def _footer(report: AuditReport) -> str:
    configuration = f"configuration: {report.config_file or 'none'}"
    facts = [*environment(report.tool), f"{report.duration_seconds:.1f} s", report.started, configuration]
    return f"{tally(report)}. {safe(', '.join(facts))}\n"
