"""The session as text in pytest's manner; each function returns what is printed at its moment."""

from __future__ import annotations

from sparsity_audit.reporters.facts import environment, model_facts
from sparsity_audit.reporters.standing import baseline_words, improvements, standing_words, waiver_words
from sparsity_audit.reporters.study_tables import claims_tally
from sparsity_audit.reporters.summary import (
    by_rule,
    ended,
    error_words,
    exit_words,
    failures_of,
    gate_failures,
    model_verdict,
    parts_of,
    study_verdict,
    tally,
)
from sparsity_audit.reporters.tables import figures
from sparsity_audit.reporters.terminal_failures import failures
from sparsity_audit.reporters.terminal_layout import centred, wrapped
from sparsity_audit.reporters.terminal_tables import ledger, recommendation
from sparsity_audit.reporters.text import measured, plural, printable
from sparsity_audit.schema.report import AuditReport, ModelReport, RuleResult, StudyReport, ToolInfo

__all__ = [
    "collected",
    "failures",
    "ledger",
    "model_head",
    "recommendation",
    "rule_lines",
    "session_end",
    "session_head",
]

_BOLD, _RED, _GREEN, _YELLOW = "1", "31", "32", "33"
_LONGEST_SUMMARY = 20
_MARKS = {"passed": ".", "skipped": "s", "inconclusive": "?", "error": "E"}
_WORDS = {"passed": "PASSED", "skipped": "SKIPPED", "inconclusive": "INCONCLUSIVE", "error": "ERROR"}


def session_head(tool: ToolInfo, config_file: str | None, *, colour: bool, width: int = 80) -> str:
    """Return the session's first lines: what runs, on what, configured by which file."""
    lines = [
        _paint(centred("sparsity-audit session starts", width), _BOLD, colour),
        printable(", ".join(environment(tool))),
        f"configuration: {printable(config_file) if config_file else 'none'}",
    ]
    return "\n".join(lines)


def model_head(model: ModelReport) -> str:
    """Return what is known about a model before any rule, one labelled line a fact."""
    facts = model_facts(model)
    margin = max(len(label) for label, _ in facts) + 4
    lines = [f"model: {printable(model.path)}"]
    for label, text in facts:
        lines += wrapped(text, f"  {label}".ljust(margin), " " * margin)
    return "\n".join(lines)


def collected(n_items: int, n_deselected: int) -> str:
    """Return how many results the rules will give, and how many were deselected."""
    text = f"collected {plural(n_items, 'item')}"
    return f"{text} / {n_deselected:,} deselected / {n_items - n_deselected:,} selected" if n_deselected else text


def rule_lines(model: ModelReport | StudyReport, *, verbosity: int, width: int = 80) -> str:
    """Return a line of marks for each rule, or with verbosity 1 a line for each result; nothing below 0."""
    if verbosity < 0:
        return ""
    total, done, lines = len(model.results), 0, []
    groups = by_rule(model.results)
    longest = max((len(_title(group[0])) for group in groups), default=0)
    for group in groups:
        if verbosity > 0:
            for result in group:
                done += 1
                lines.append(f"{_result_line(result).ljust(width - 7)} {_progress(done, total)}")
        else:
            lines += _mark_lines(group, longest, done, total, width)
            done += len(group)
    return "\n".join(lines)


def _title(result: RuleResult) -> str:
    return f"{result.rule} {printable(result.name)}"


def _progress(done: int, total: int) -> str:
    return f"[{100 * done // total:3d}%]"


def _mark_lines(group: list[RuleResult], longest: int, done: int, total: int, width: int) -> list[str]:
    prefix = _title(group[0]).ljust(longest) + " "
    text = prefix + "".join(_mark(result) for result in group)
    room = max(width - 7, len(prefix) + 1)
    lines = []
    for start in range(0, len(text), room):
        piece = text[start : start + room]
        marks = min(start + room, len(text)) - len(prefix)
        lines.append(f"{piece.ljust(room)} {_progress(done + marks, total)}")
    return lines


def _mark(result: RuleResult) -> str:
    if result.outcome == "failed":
        if result.excused:
            return "x"  # pytest's letter for what was expected to fail
        return "W" if result.severity == "warning" else "F"
    return _MARKS[result.outcome]


def _item(result: RuleResult) -> str:
    layer = "" if result.layer is None else f"[{printable(result.layer)}]"
    return f"{_title(result)}{layer}"


def _result_line(result: RuleResult) -> str:
    if result.outcome == "failed":
        word = "FAILED (warning)" if result.severity == "warning" else "FAILED"
        if result.excused:
            word = str(result.standing).upper()
        return f"{_item(result)} {word} {figures(result)}{_standing(result)}"
    if result.outcome == "passed":
        value = "" if result.value is None else f" {measured(result.value, result.unit)}"
        return f"{_item(result)} PASSED{value}"
    reason = f" ({printable(result.reason)})" if result.reason else ""
    return f"{_item(result)} {_WORDS[result.outcome]}{reason}"


def _standing(result: RuleResult) -> str:
    words = printable(standing_words(result))
    return f" ({words})" if words else ""


def session_end(report: AuditReport, *, colour: bool, verbosity: int = 0, width: int = 80) -> str:
    """Return the short summary, a verdict for each model, and the counts in the last line.

    Below verbosity 0 only the models that could not be audited and the last line are left.
    """
    lines = [] if verbosity < 0 else _short_summary(report, colour=colour, verbosity=verbosity)
    for error in report.errors:
        lines.append(f"{_paint('ERROR', _RED, colour)} {printable(error_words(error))}")
    if lines:
        lines.insert(0, centred("short summary", width))
    if verbosity >= 0:
        for model in report.models:
            lines += wrapped(f"{model.path}: {model_verdict(model, report)}")
        for study in report.studies:
            told = "; ".join(part for part in (study_verdict(study, report), claims_tally(study)) if part)
            lines += wrapped(f"{study.name}: {told}")
    lines += _ratchet_lines(report, colour=colour, verbosity=verbosity)
    words = exit_words(report)
    if words is not None:
        lines.append(words)
    lines.append(_paint(centred(f"{tally(report)} in {report.duration_seconds:.1f}s", width), _mood(report), colour))
    return "\n".join(lines)


def _ratchet_lines(report: AuditReport, *, colour: bool, verbosity: int) -> list[str]:
    """Return what improved, what the session was held against, and waivers that nothing needs."""
    several = len(parts_of(report)) > 1
    better = [f"{printable(f'{name}::' if several else '')}{printable(text)}" for name, text in improvements(report)]
    shown = better if verbosity > 0 else better[:_LONGEST_SUMMARY]
    lines = [f"{_paint('BETTER', _GREEN, colour)} {text}" for text in shown]
    if len(better) > len(shown):
        lines.append(f"… and {len(better) - len(shown):,} more (-v shows all)")
    words = baseline_words(report)
    lines += wrapped(words) if words is not None else []
    return lines + [line for waiver in waiver_words(report) for line in wrapped(waiver)]


def _short_summary(report: AuditReport, *, colour: bool, verbosity: int) -> list[str]:
    parts = parts_of(report)
    items = [("FAILED", name, result) for name, results in parts for result in failures_of(results, "error")]
    items += [("ERROR", name, result) for name, results in parts for result in ended(results, "error")]
    items += [("WARNING", name, result) for name, results in parts for result in failures_of(results, "warning")]
    shown = items if verbosity > 0 else items[:_LONGEST_SUMMARY]
    lines = []
    for word, name, result in shown:
        path = f"{printable(name)}::" if len(parts) > 1 else ""
        layer = "" if result.layer is None else f"[{printable(result.layer)}]"
        said = result.reason or result.message if word == "ERROR" else result.message
        painted = _paint(word, _YELLOW if word == "WARNING" else _RED, colour)
        lines.append(f"{painted} {path}{result.rule}{layer} {printable(said)}{_standing(result)}")
    if len(items) > len(shown):
        lines.append(f"… and {len(items) - len(shown):,} more (-v shows all)")
    return lines


def _mood(report: AuditReport) -> str:
    if report.exit_code or report.errors or report.count("error") or gate_failures(report):
        return _RED
    clean = report.count("passed") and not failures_of(report.results()) and not report.count("inconclusive")
    return _GREEN if clean else _YELLOW


def _paint(text: str, code: str, colour: bool) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if colour else text
