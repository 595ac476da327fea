"""What a pytest session says of its audits at its end, and the files that they leave."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence

from sparsity_audit.engine.rulepacks import apply_limits, load_rules
from sparsity_audit.engine.session import exit_code_of
from sparsity_audit.errors import SparsityAuditError
from sparsity_audit.outputs import worth_writing, write_report
from sparsity_audit.ratchet.ratchet import load_ratchet
from sparsity_audit.reporters.standing import baseline_words, improvements, waiver_words
from sparsity_audit.reporters.summary import failures_of, model_verdict
from sparsity_audit.reporters.tables import place
from sparsity_audit.reporters.text import printable
from sparsity_audit.schema.report import AuditReport


def conclude(reports: Sequence[AuditReport]) -> tuple[list[str], bool]:
    """Write each audit's files; return the lines of the summary, and whether all could be written.

    Args:
        reports: of one model each, in any order.
    """
    lines: list[str] = []
    written = True
    for file in sorted({report.config_file or "" for report in reports}):
        mine = [report for report in reports if (report.config_file or "") == file]
        try:
            whole = _whole(mine)
            lines += _lines(whole)
            outputs = worth_writing(whole)
            write_report(whole, outputs)
            lines += [f"wrote {printable(path)}" for _, path in outputs]
        except SparsityAuditError as failure:
            lines.append(printable(str(failure)))
            written = False
    return lines, written


def _whole(reports: Sequence[AuditReport]) -> AuditReport:
    """Return one audit file's reports as one, its models in the file's order."""
    first = min(reports, key=lambda report: report.started)
    order = first.config.models
    models = sorted((model for report in reports for model in report.models), key=lambda model: order.index(model.path))
    merged = first.model_copy(
        update={
            "models": models,
            "errors": [error for report in reports for error in report.errors],
            "duration_seconds": round(sum(report.duration_seconds for report in reports), 3),
        }
    )
    rules = apply_limits(load_rules(first.config.rules), first.config.limits, first.config_file or "limits")
    today = datetime.datetime.fromisoformat(first.started).date()
    ratchet = load_ratchet(first.config, rules, first.config_file, today)
    if ratchet is not None:
        return ratchet.conclude(merged)
    return merged.model_copy(update={"exit_code": int(exit_code_of(merged, merged.config))})


def _lines(report: AuditReport) -> Iterator[str]:
    yield from dict.fromkeys(printable(f"not audited: {error.path}: {error.message}") for error in report.errors)
    for model in report.models:
        yield printable(f"{model.path}: {model_verdict(model, report)}")
        for result in failures_of(model.results, "warning"):
            yield printable(f"  warning {result.rule} {place(result)}: {result.message}")
    yield from (printable(f"better: {model}: {words}") for model, words in improvements(report))
    if (words := baseline_words(report)) is not None:
        yield printable(words)
    yield from (printable(line) for line in waiver_words(report))
