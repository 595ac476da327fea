"""How failures stand to the baseline and to waivers, in words that every reporter shares."""

from __future__ import annotations

from collections.abc import Iterable

from sparsity_audit.reporters.text import measured, plural
from sparsity_audit.schema.gate import Improvement
from sparsity_audit.schema.report import AuditReport, RuleResult, Unit

_WORDS = {"new": "new", "worse": "worse", "known": "known", "waived": "waived", "expired": "waiver ended"}


def excused_of(results: Iterable[RuleResult]) -> list[RuleResult]:
    """Return the failures that don't fail the session: known to the baseline, or waived."""
    return [result for result in results if result.outcome == "failed" and result.excused]


def excused_words(results: Iterable[RuleResult]) -> list[str]:
    """Return the counts of failures that are excused, those that are not zero: ``["3 known", "1 waived"]``."""
    standings = [result.standing for result in excused_of(results)]
    return [f"{n:,} {word}" for word in ("known", "waived") if (n := standings.count(word))]


def standing_words(result: RuleResult) -> str:
    """Return ``worse: 0.3 in the baseline``; empty where there is neither a baseline nor a waiver."""
    if result.standing is None:
        return ""
    word = _WORDS[result.standing]
    reason = result.standing_reason or ""
    if reason.startswith(word) or result.standing == "expired":
        return reason or word  # "waived until …" says it
    return f"{word}: {reason}" if reason else word


def improvement_words(improvement: Improvement, unit: Unit) -> str:
    """Return what became better: ``SA101[c4.conv] 37.5 % → 31.2 %, an error before, passes now``."""
    place = "" if improvement.layer is None else f"[{improvement.layer}]"
    before, after = (measured(value, unit) for value in (improvement.before, improvement.after))
    if improvement.severity_after is None:
        now = "passes now"
    elif improvement.severity_after != improvement.severity_before:
        now = "a warning now"
    else:
        now = "still fails"
    return f"{improvement.rule}{place} {before} → {after}: {now}"


def improvements(report: AuditReport) -> list[tuple[str, str]]:
    """Return the model and the words of each improvement against the baseline."""
    found = report.baseline.improvements if report.baseline is not None else []
    units = {result.rule: result.unit for result in report.results()}
    return [(better.model, improvement_words(better, units.get(better.rule, "ratio"))) for better in found]


def baseline_words(report: AuditReport) -> str | None:
    """Return what the session was held against, and whether the baseline can or did get tighter."""
    info = report.baseline
    if info is None:
        return None
    made = "" if info.started is None else f"of {info.started}, "
    words = [f"baseline {info.path} ({made}tolerance {info.tolerance:g})"]
    words += excused_words(report.results())
    if info.improvements:
        words.append(plural(len(info.improvements), "improvement"))
    if info.updated:
        words.append("written anew" if info.started is not None else "written")
    elif info.improvements:
        words.append("--update-baseline tightens it")
    return ", ".join(words)


def waiver_words(report: AuditReport) -> list[str]:
    """Return a line for each waiver that nothing needs any more."""
    return [
        f"waiver for {waiver.rule} in layers {waiver.layer}, models {waiver.model} (until {waiver.expires}: "
        f"{waiver.reason}): no failure needs it; remove it"
        for waiver in report.unused_waivers
    ]
