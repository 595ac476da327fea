"""What pytest collects of an audit file: its models, and an item for each rule, or for each rule and layer."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from sparsity_audit.engine.evaluate import fails, items
from sparsity_audit.errors import SparsityAuditError
from sparsity_audit.integrations.pytest_audit import Audit, check_model, layer_keys
from sparsity_audit.integrations.pytest_names import DECIDED, PROPERTY, STORE, UNDECIDED
from sparsity_audit.reporters.standing import standing_words
from sparsity_audit.reporters.summary import failures_of
from sparsity_audit.reporters.tables import figures, place
from sparsity_audit.reporters.terminal_failures import crashed_part, failed_part
from sparsity_audit.reporters.text import plural, printable
from sparsity_audit.schema.report import AuditReport, RuleResult
from sparsity_audit.schema.rule import Rule

_WIDTH = 80
_CALL = re.compile(r"@\d+$")
"""Ends the key of a layer whose module is called again."""


class AuditFailure(Exception):  # noqa: N818  # what pytest is told, not an error of ours
    """A rule failed or crashed, or the model could not be audited; the text is all there is to show."""


class AuditFile(pytest.File):
    """A ``*.audit.toml``."""

    audit: Audit

    def collect(self) -> Iterator[AuditModel]:
        """Yield the models that it names."""
        trust = bool(self.config.getoption("--sparsity-audit-trust-code"))
        try:
            self.audit = Audit(self.path, trust_code=trust)
        except SparsityAuditError as failure:
            raise self.CollectError(printable(str(failure))) from None
        for model in dict.fromkeys(self.audit.config.models):
            yield AuditModel.from_parent(self, name=printable(_beside(model, self.path.parent)), model=model)

    def chosen_rules(self) -> list[Rule]:
        """Return the rules that the session has an item of, after ``-k`` and its like."""
        items = [item for item in self.session.items if isinstance(item, AuditItem) and item.file is self]
        return [rule for rule in self.audit.rules if any(item.rule.id == rule.id for item in items)]


def _beside(model: str, folder: Path) -> str:
    """Return a model's path as the audit file has it, wherever pytest was started."""
    path = os.path.relpath(model, folder)
    return model if path.startswith("..") else path


class AuditModel(pytest.Collector):
    """One model of an audit file."""

    def __init__(self, *, model: str, **arguments: object) -> None:
        super().__init__(**arguments)  # type: ignore[arg-type]
        self.model = model

    def collect(self) -> Iterator[AuditItem]:
        """Yield an item for each rule; with ``--sparsity-audit-per-layer`` one for each layer of it."""
        audit = self._file.audit
        per_layer = bool(self.config.getoption("--sparsity-audit-per-layer"))
        try:
            check_model(self.model)
            keys = layer_keys(self.model, audit.config) if per_layer else []
        except SparsityAuditError as failure:
            raise self.CollectError(printable(str(failure))) from None
        wanted = items(audit.rules, keys) if per_layer else [(rule, None) for rule in audit.rules]
        for rule, key in wanted:
            layer = "" if key is None else f"[{printable(key)}]"
            yield AuditItem.from_parent(self, name=f"{rule.id}-{rule.name}{layer}", rule=rule, layer=key)

    @property
    def _file(self) -> AuditFile:
        assert isinstance(self.parent, AuditFile)
        return self.parent


class AuditItem(pytest.Item):
    """One rule on one model, or on one layer of it."""

    def __init__(self, *, rule: Rule, layer: str | None, **arguments: object) -> None:
        super().__init__(**arguments)  # type: ignore[arg-type]
        self.rule = rule
        self.layer = layer
        assert isinstance(self.parent, AuditModel)
        self.model = self.parent.model
        self.file = self.parent._file
        self.add_marker("sparsity_audit")

    def runtest(self) -> None:
        """Audit the model, unless that was done, and tell what became of the rule.

        Raises:
            AuditFailure: it failed or crashed.
        """
        report = self.file.audit.report(self.model, self.file.chosen_rules(), self.config.stash[STORE])
        results = [result for model in report.models for result in model.results if self._speaks_of(result)]
        # As of `run`: what is told of a model without a feature layer does not make an audit.
        audited = any(model.coverage.audited for model in report.models)
        decided = audited and any(result.outcome not in ("skipped", "inconclusive") for result in results)
        self.user_properties.append((PROPERTY, DECIDED if decided else UNDECIDED))
        if report.errors:
            raise AuditFailure("\n".join(printable(error.message) for error in report.errors))
        self._judge(results, report)

    def _speaks_of(self, result: RuleResult) -> bool:
        """Tell whether a result is this item's; a layer that is called twice (``conv@2``) has one item."""
        mine = self.layer is None or _CALL.sub("", result.layer or "") == self.layer or result.layer == self.layer
        return result.rule == self.rule.id and mine

    def _judge(self, results: list[RuleResult], report: AuditReport) -> None:
        crashed = [result for result in results if result.outcome == "error"]
        failed = [result for result in results if fails(result, report.config.fail_on)]
        excused = [result for result in results if result.excused]
        if crashed:
            raise AuditFailure(_told(crashed, crashed_part(crashed, _WIDTH)))
        if failed:
            raise AuditFailure(_told(failed, failed_part(failed, max(0, self.config.get_verbosity()), _WIDTH)))
        if excused:
            reason = "; ".join(f"{printable(place(result))} {printable(standing_words(result))}" for result in excused)
            pytest.xfail(reason)
            raise AuditFailure(reason)  # under --runxfail, which asks for failures as if they were not excused
        if warned := failures_of(results):
            words = f"{plural(len(warned), 'warning')}: {'; '.join(printable(result.message) for result in warned)}"
            self.add_report_section("call", "sparsity-audit", words)
        if not any(result.outcome in ("passed", "failed") for result in results):
            reasons = dict.fromkeys(printable(result.reason or result.message) for result in results)
            nothing = "there is no feature layer" if self.layer is None else "no feature layer goes by this name"
            reason = "; ".join(reasons) or nothing
            raise pytest.skip.Exception(reason, _use_item_location=True)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException]) -> str:  # type: ignore[override]  # no styles
        """Return a failure as the audit tells it: no traceback."""
        if isinstance(excinfo.value, AuditFailure):
            return str(excinfo.value)
        return str(super().repr_failure(excinfo))

    def reportinfo(self) -> tuple[Path, int, str]:
        """Return the audit file, which is where a reader should look."""
        return self.path, 0, self.name


def _told(results: list[RuleResult], part: str) -> str:
    """Return a failure's text; pytest repeats its first line in the short summary, so that is the gist."""
    places = "; ".join(printable(f"{place(result)} {_gist(result)}") for result in results)
    _title, _, rest = part.partition("\n")
    return f"{places}\n\n{rest}"


def _gist(result: RuleResult) -> str:
    if result.outcome == "error":
        return "crashed"
    words = standing_words(result)
    return f"{figures(result)}{f' ({words})' if words else ''}"
