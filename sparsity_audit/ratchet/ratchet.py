"""The ratchet of one session: every failure gets its standing, and the session the exit code that follows."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from sparsity_audit.engine.evaluate import fails
from sparsity_audit.engine.session import exit_code_of
from sparsity_audit.errors import ExitCode, UsageError
from sparsity_audit.ratchet.baseline import check_rules, earlier_part, held_against, improvements, known_failures
from sparsity_audit.ratchet.matching import Part, Spot, name_of, parts_of, spot_of, worse_by
from sparsity_audit.ratchet.report_file import read_report
from sparsity_audit.ratchet.waivers import check_waivers, unused, waived
from sparsity_audit.schema.config import AuditConfig
from sparsity_audit.schema.gate import BaselineInfo
from sparsity_audit.schema.report import AuditReport, ModelReport, RuleResult, StudyReport
from sparsity_audit.schema.rule import Rule

AnyPart = TypeVar("AnyPart", ModelReport, StudyReport)
_FIRST = "in the first baseline"


@dataclass(frozen=True)
class Ratchet:
    """What a session's failures are held against."""

    config: AuditConfig
    baseline: AuditReport | None
    """None where there is none, or where this session makes the first."""
    first: bool
    """This session makes the first baseline: whatever fails is known from now on."""
    today: datetime.date

    def stand(self, part: AnyPart) -> AnyPart:
        """Return a model's or a study's results with the standing of each failure.

        Raises:
            ConfigError: the baseline is of another model's layers, or of another version of a rule.
        """
        known = known_failures(self._earlier(part))
        results = [self._stand(result, name_of(part), known.get(spot_of(result))) for result in part.results]
        return part.model_copy(update={"results": results})

    def _stand(self, result: RuleResult, name: str, before: RuleResult | None) -> RuleResult:
        if result.outcome != "failed":
            return result
        # A waiver that has ended comes before a baseline that knows the failure: somebody promised to look again.
        by_waiver = waived(result, name, self.config.waivers, self.today)
        if by_waiver is not None:
            return by_waiver
        if self.first:
            return result.model_copy(update={"standing": "known", "standing_reason": _FIRST})
        return result if self.baseline is None else held_against(result, before, self.config.baseline_tolerance)

    def conclude(self, report: AuditReport) -> AuditReport:
        """Return the session's report with what improved, which waivers nobody needs, and its exit code."""
        code = int(exit_code_of(report, self.config))
        update = {"unused_waivers": unused(self.config.waivers, parts_of(report)), "exit_code": code}
        return report.model_copy(update={**update, "baseline": self._info(report)})

    def _info(self, report: AuditReport) -> BaselineInfo | None:
        path, tolerance = self.config.baseline, self.config.baseline_tolerance
        if path is None:
            return None
        better = [
            improvement
            for part in parts_of(report)
            for improvement in improvements(part, self._earlier(part), tolerance)
        ]
        started = self.baseline.started if self.baseline is not None else None
        return BaselineInfo(path=path, started=started, tolerance=tolerance, improvements=better)

    def updated(self, report: AuditReport) -> AuditReport | None:
        """Return the baseline that takes the place of the old one, None where the session did not pass.

        It is this session's report with the better of each old and new value, so that what the tolerance allows once
        does not add up; models and rules that this session left out keep their place.

        Args:
            report: as ``conclude`` returns it.
        """
        failed = any(fails(result, self.config.fail_on) for result in report.results())
        if failed or report.exit_code != ExitCode.PASSED:  # --exit-zero does not make a failure known
            return None
        models = [self._tighter(model) for model in report.models]
        studies = [self._tighter(study) for study in report.studies]
        if self.baseline is not None:
            mine = {name_of(earlier) for model in models if (earlier := self._earlier(model)) is not None}
            models += [model for model in self.baseline.models if model.path not in mine]
            theirs = {study.name for study in studies}
            studies += [study for study in self.baseline.studies if study.name not in theirs]
        return report.model_copy(update={"models": models, "studies": studies, "rules": self._rules(report)})

    def _rules(self, report: AuditReport) -> list[Rule]:
        """Return the rules that applied, and those of the failures that the baseline holds besides."""
        mine = {rule.id for rule in report.rules}
        others = self.baseline.rules if self.baseline is not None else []
        return [*report.rules, *(rule for rule in others if rule.id not in mine)]

    def _earlier(self, part: Part) -> Part | None:
        if self.baseline is None:
            return None
        return earlier_part(part, self.config.models, self.baseline, str(self.config.baseline))

    def _tighter(self, part: AnyPart) -> AnyPart:
        """Return a part with the better of each value; what was not decided this time stays as the baseline has it."""
        left: dict[Spot, RuleResult] = known_failures(self._earlier(part))
        tighter: list[RuleResult] = [_better(result, left.pop(spot_of(result), None)) for result in part.results]
        return part.model_copy(update={"results": [*tighter, *left.values()]})


def _better(result: RuleResult, before: RuleResult | None) -> RuleResult:
    if before is None or result.outcome == "passed":
        return result
    harsher = (before.severity, result.severity) == ("warning", "error")
    if result.outcome != "failed" or harsher or worse_by(result, before.value) > 0:
        return before
    # What was known before a waiver came stays known after it.
    return result.model_copy(update={"standing": "known"}) if result.standing == "waived" else result


def load_ratchet(
    config: AuditConfig, rules: Sequence[Rule], where: str | None, today: datetime.date, *, update: bool = False
) -> Ratchet | None:
    """Return what a session's failures are to be held against, None where nothing excuses any.

    Args:
        rules: all that are known, selected or not.
        where: the configuration's file, for messages.
        update: the baseline may be absent: this session makes it.

    Raises:
        ConfigError: a baseline that cannot be read or measured otherwise, a waiver for an unknown rule.
        UsageError: a baseline that is not there, or to be written and not named.
    """
    check_waivers(config.waivers, rules, where or "waivers")
    if config.baseline is None:
        if update:
            raise UsageError("--update-baseline: there is no baseline; name its file with --baseline")
        return Ratchet(config, None, False, today) if config.waivers else None
    path = Path(config.baseline)
    if not path.exists():
        if not update:
            raise UsageError(f"--baseline {path}: there is no such file; --update-baseline makes the first")
        return Ratchet(config, None, True, today)
    baseline = read_report(path)
    check_rules(rules, baseline, str(path))
    return Ratchet(config, baseline, False, today)
