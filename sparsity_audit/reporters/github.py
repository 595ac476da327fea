"""Annotations of a GitHub workflow: commands that the runner reads out of what is printed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sparsity_audit.errors import ExitCode
from sparsity_audit.reporters.places import audit_file, relative
from sparsity_audit.reporters.standing import improvements, standing_words
from sparsity_audit.reporters.summary import by_rule, ended, error_words, exit_words, failures_of, gate_of, parts_of
from sparsity_audit.reporters.tables import figures, place
from sparsity_audit.reporters.text import clip, plural, printable
from sparsity_audit.schema.report import AuditReport, RuleResult

MOST = 10
"""Annotations of each level that GitHub shows of one step."""
LONGEST = 4_096
"""Characters of one message that the runner keeps; it cuts longer ones without a word."""
_NAME, _LINE, _DETAILS, _REST = 200, 500, 2_400, 1_300  # shares of it


def to_annotations(report: AuditReport, root: Path) -> str:
    """Return a workflow command for each model and rule that failed, errors before warnings; empty without any.

    Args:
        root: the repository's folder, from which GitHub counts paths; absolute.
    """
    found = list(_all(report))
    lines: list[str] = []
    for level in ("error", "warning", "notice"):
        told = [one for one in found if one.level == level]
        shown = told if len(told) <= MOST else told[: MOST - 1]
        if len(told) > MOST:
            rest = "; ".join(one.title for one in told[MOST - 1 :])
            shown = [*shown, _Told(level, None, f"{len(told) - MOST + 1} more", f"not shown one by one: {rest}")]
        lines += [_command(one, relative(audit_file(report, one.model), root)) for one in shown]
    return "\n".join(lines)


class _Told(NamedTuple):
    level: str
    model: str | None
    title: str
    message: str


def _all(report: AuditReport) -> Iterator[_Told]:
    for error in report.errors:
        yield _Told("error", error.path, "not audited", error_words(error))
    if report.exit_code in (ExitCode.INTERRUPTED, ExitCode.NOTHING_AUDITED):
        yield _Told("error", None, "no verdict", exit_words(report) or f"exit code {report.exit_code}")
    parts = parts_of(report)
    for name, results in parts:
        before = f"{name}: " if len(parts) > 1 else ""
        for group in by_rule(ended(results, "error")):
            crashes = _fitting([f"{place(result)}: {result.reason or result.message}" for result in group], group)
            yield _Told("error", name, f"{before}{group[0].rule} crashed", crashes)
        gating = failures_of(results, gate_of(report))
        for group in by_rule(gating):
            yield _Told(
                "error", name, f"{before}{group[0].rule} {group[0].name}", f"{clip(name, _NAME)}: {_message(group)}"
            )
        warned = failures_of(results, "warning") if report.config.fail_on == "error" else []
        for group in by_rule(warned):
            yield _Told(
                "warning", name, f"{before}{group[0].rule} {group[0].name}", f"{clip(name, _NAME)}: {_message(group)}"
            )
    if better := improvements(report):
        words = "; ".join(text for _, text in better)
        yield _Told("notice", None, f"{plural(len(better), 'improvement')} against the baseline", words)


def _message(group: list[RuleResult]) -> str:
    lines = []
    for result in group:
        standing = standing_words(result)
        lines.append(f"{place(result)} {figures(result)}{f' ({standing})' if standing else ''}: {result.message}")
    return _fitting(lines, group)


def _fitting(lines: list[str], group: list[RuleResult]) -> str:
    """Return as many lines as there is room for; of the other results their layers at least."""
    shown: list[str] = []
    for line in (clip(printable(line), _LINE) for line in lines):
        if sum(map(len, shown)) + len(shown) + len(line) > _DETAILS:
            rest = group[len(shown) :]
            names = printable(", ".join(place(result) for result in rest))
            return "\n".join([*shown, clip(f"and {len(rest):,} more: {names}", _REST)])
        shown.append(line)
    return "\n".join(shown)


def _command(told: _Told, file: str) -> str:
    properties = f"file={_property(printable(file))},line=1,title={_property(printable(clip(told.title, 200)))}"
    # Lines are ours; whatever else was a control character has been made printable.
    text = "\n".join(printable(line) for line in clip(told.message, LONGEST).split("\n"))
    return f"::{told.level} {properties}::{_data(text)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def stop_commands(token: str) -> str:
    """Return the line after which the runner reads no commands: names out of a file could be some.

    Args:
        token: nobody's guess; the same for ``resume_commands``.
    """
    return f"::stop-commands::{token}"


def resume_commands(token: str) -> str:
    """Return the line after which the runner reads commands again."""
    return f"::{token}::"
