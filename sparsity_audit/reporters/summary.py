"""What a report amounts to: counts, groups and verdicts, shared by every reporter."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

from sparsity_audit.errors import ExitCode
from sparsity_audit.reporters.standing import excused_words
from sparsity_audit.reporters.text import DASH, percent, plural, ratio, share
from sparsity_audit.schema.base import Criterion
from sparsity_audit.schema.report import (
    AuditReport,
    LayerReport,
    Lost,
    ModelReport,
    Outcome,
    RuleResult,
    SessionError,
    StudyReport,
)
from sparsity_audit.schema.rule import Severity

State = Literal["failed", "warned", "passed"]

_EXIT_WORDS: dict[int, str] = {
    ExitCode.INTERRUPTED: "interrupted: the results above are not complete",
    ExitCode.INTERNAL: "a rule crashed: a fault of the audit or of the rule, so there is no verdict on it",
    ExitCode.USAGE: "a model or its data could not be used; the ERROR lines say which and why",
    ExitCode.NOTHING_AUDITED: "nothing was audited: no criterion could be decided on any feature layer",
}


class Verdict(NamedTuple):
    """The session in one line."""

    state: State
    words: str


class Undecided(NamedTuple):
    """Results of one rule that ended alike for the same reason."""

    rule: str
    name: str
    outcome: Outcome
    reason: str
    times: int


def parts_of(report: AuditReport) -> list[tuple[str, list[RuleResult]]]:
    """Return the results of each model and each study under its name, in order."""
    models = [(model.path, model.results) for model in report.models]
    return models + [(study.name, study.results) for study in report.studies]


def failures_of(results: Iterable[RuleResult], severity: Severity | None = None) -> list[RuleResult]:
    """Return the failed results that count, errors before warnings; ``severity`` keeps one kind."""
    failed = [result for result in results if result.outcome == "failed" and not result.excused]
    errors = [result for result in failed if result.severity != "warning"]
    warnings = [result for result in failed if result.severity == "warning"]
    if severity is None:
        return errors + warnings
    return errors if severity == "error" else warnings


def by_rule(results: Iterable[RuleResult]) -> list[list[RuleResult]]:
    """Return the results in groups of one rule each, in the order in which the rules first appear."""
    groups: dict[str, list[RuleResult]] = {}
    for result in results:
        groups.setdefault(result.rule, []).append(result)
    return list(groups.values())


def ended(results: Iterable[RuleResult], outcome: Outcome) -> list[RuleResult]:
    """Return the results that ended so."""
    return [result for result in results if result.outcome == outcome]


def undecided(results: Iterable[RuleResult]) -> list[Undecided]:
    """Return the skipped and inconclusive results, counted by rule and reason."""
    counts: dict[tuple[str, str, Outcome, str], int] = {}
    for result in results:
        if result.outcome in ("skipped", "inconclusive"):
            key = (result.rule, result.name, result.outcome, result.reason or result.message or "no reason given")
            counts[key] = counts.get(key, 0) + 1
    return [Undecided(*key, n) for key, n in counts.items()]


def unaudited_layers(model: ModelReport) -> list[tuple[str, list[str]]]:
    """Return the layers on which not everything was decided, by reason."""
    layers: dict[str, list[str]] = {}
    for skipped in model.coverage.skipped:
        layers.setdefault(skipped.reason, []).append(skipped.layer)
    return list(layers.items())


def remedies_of(results: Iterable[RuleResult]) -> list[str]:
    """Return every remedy once, in order."""
    return list(dict.fromkeys(remedy for result in results for remedy in result.remedies))


def failures_words(results: Iterable[RuleResult]) -> list[str]:
    """Return the counts of failures, those that are not zero: ``["2 failed", "1 warning", "3 known"]``."""
    failed = list(results)
    errors, warnings = len(failures_of(failed, "error")), len(failures_of(failed, "warning"))
    counted = ([f"{errors:,} failed"] if errors else []) + ([plural(warnings, "warning")] if warnings else [])
    return counted + excused_words(failed)


def tally(report: AuditReport) -> str:
    """Return the counts of the session's last line: ``2 failed, 3 warnings, 40 passed, 5 skipped``."""
    parts = failures_words(report.results())
    crashed = report.count("error")
    # As in pytest, what broke stands right behind what failed.
    place = 1 if parts and parts[0].endswith("failed") else 0
    if report.errors:
        parts.insert(place, f"{plural(len(report.errors), 'model')} not audited")
    if crashed:
        parts.insert(place, plural(crashed, "error"))
    outcomes: tuple[Outcome, ...] = ("passed", "inconclusive", "skipped")
    parts += [f"{n:,} {outcome}" for outcome in outcomes if (n := report.count(outcome))]
    return ", ".join(parts) or "no rule ran"


def exit_words(report: AuditReport) -> str | None:
    """Return what the exit code means where counts alone don't tell, or None."""
    if report.config.exit_zero and report.exit_code == ExitCode.PASSED and gate_failures(report):
        return "exit code 0 because of --exit-zero"
    words = _EXIT_WORDS.get(report.exit_code)
    if report.exit_code == ExitCode.NOTHING_AUDITED and report.models and not report.results():
        words = "nothing was audited: no item was selected"
    return None if words is None else f"exit code {report.exit_code}: {words}"


def gate_of(report: AuditReport) -> Severity | None:
    """Return the severity that fails the session, None where each does."""
    return None if report.config.fail_on == "warning" else "error"


def gate_failures(report: AuditReport) -> list[RuleResult]:
    """Return the failures that decide the exit code: errors, and warnings too under ``fail_on = "warning"``."""
    return failures_of(report.results(), gate_of(report))


def verdict(report: AuditReport) -> Verdict:
    """Return the session's verdict; skipped and inconclusive results never make it *passed*."""
    parts = _broken_words(report)
    gate = gate_failures(report)
    if gate:
        parts.append(f"{plural(len(by_rule(gate)), 'rule')} failed ({plural(len(gate), 'failure')})")
    if not parts and report.exit_code:
        parts.append(exit_words(report) or "failed")
    if parts:
        return Verdict("failed", ", ".join(parts))
    open_ends = failures_words(report.results())
    if not report.count("passed") and not open_ends:
        return Verdict("warned", "nothing was decided")
    if inconclusive := report.count("inconclusive"):
        open_ends.append(f"{inconclusive:,} inconclusive")
    return Verdict("warned", "passed with " + ", ".join(open_ends)) if open_ends else Verdict("passed", "passed")


def _broken_words(report: AuditReport) -> list[str]:
    parts = []
    if report.exit_code == ExitCode.INTERRUPTED:
        parts.append("interrupted")
    if report.exit_code == ExitCode.NOTHING_AUDITED:
        parts.append("nothing was audited")
    if report.errors:
        parts.append(f"{plural(len(report.errors), 'model')} could not be audited")
    if crashed := by_rule(ended(report.results(), "error")):
        parts.append(f"{plural(len(crashed), 'rule')} crashed")
    return parts


def error_words(error: SessionError) -> str:
    """Return which model could not be audited and why, its path once."""
    return error.message if error.path in error.message else f"{error.path}: {error.message}"


def dead_criterion(model: ModelReport) -> Criterion:
    """Return what *dead* means in this model: by scale or activation, by scale alone where no images were seen."""
    return "union" if any(layer.activation is not None for layer in model.layers) else "scale"


def lost_of(layer: LayerReport, criterion: Criterion) -> Lost | None:
    """Return what the layer's dead filters take with them, or None where neither criterion was decided."""
    if layer.scale is None and layer.activation is None:
        return None
    return layer.lost.get(criterion) or layer.lost.get("scale")


def lost_in_total(model: ModelReport, criterion: Criterion) -> Lost | None:
    """Return what the model's dead filters take with them, or None where the criterion was decided nowhere."""
    parts = {"scale", "activation"} if criterion == "union" else {criterion}
    decided = any(getattr(layer, part) is not None for layer in model.layers for part in parts)
    if "scale" in parts:
        decided = decided or any(norm.scale is not None for norm in model.norms)
    return model.totals.lost.get(criterion) if decided else None


def dead_filters(model: ModelReport, criterion: Criterion) -> int | None:
    """Return how many filters of the model are dead, or None where the criterion was decided nowhere."""
    lost = lost_in_total(model, criterion)
    return None if lost is None else lost.filters


def model_verdict(model: ModelReport, report: AuditReport) -> str:
    """Return one model's verdict with the figures that people ask for first."""
    lost = lost_in_total(model, dead_criterion(model))
    figures = [
        ("inactive by scale", share(dead_filters(model, "scale"), model.totals.filters)),
        ("by activation", share(dead_filters(model, "activation"), model.totals.filters)),
        (
            "convolution parameters lost",
            percent(None if lost is None else ratio(lost.params, model.totals.params)),
        ),
        ("coverage", percent(model.coverage.fraction)),
    ]
    known = [f"{label} {figure}" for label, figure in figures if figure != DASH]
    return "; ".join([_words_of(model.results, report), *([", ".join(known)] if known else [])])


def study_verdict(study: StudyReport, report: AuditReport) -> str:
    """Return one comparison's verdict."""
    return _words_of(study.results, report)


def _words_of(results: list[RuleResult], report: AuditReport) -> str:
    failed = failures_words(results)
    gate = failures_of(results, gate_of(report))
    if ended(results, "error"):
        return ", ".join(["no verdict, a rule crashed", *failed])
    if gate:
        return ", ".join(failed) if gate[0].severity != "warning" else "failed by " + ", ".join(failed)
    if not failed and not ended(results, "passed"):
        return "nothing decided"
    if inconclusive := ended(results, "inconclusive"):
        failed.append(f"{len(inconclusive):,} inconclusive")
    return "passed with " + ", ".join(failed) if failed else "passed"
