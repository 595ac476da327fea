"""A session: several models under one set of rules, one report, one exit code."""

from __future__ import annotations

import datetime
import platform
import sys
import textwrap
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from sparsity_audit.engine.corpora import Corpora, Progress, check_normalisation
from sparsity_audit.engine.evaluate import Keep, fails, items, stops, up_to_stop
from sparsity_audit.engine.examine import examine
from sparsity_audit.engine.subject import Subject, prepare
from sparsity_audit.errors import ExitCode, SparsityAuditError, UsageError
from sparsity_audit.schema.config import AuditConfig
from sparsity_audit.schema.report import AuditReport, ModelReport, RuleResult, SessionError, ToolInfo
from sparsity_audit.schema.rule import Rule, Severity
from sparsity_audit.version import __version__

if TYPE_CHECKING:
    from sparsity_audit.data.corpus import Corpus


class Listener:
    """Is told what a session does while it does it; this one does nothing."""

    def collected(self, subject: Subject, selected: int, deselected: int) -> None:
        """A model was read, and its items are known."""

    def progress(self, label: str, done: int, total: int) -> None:
        """A long piece of work went on."""

    def finished(self, model: ModelReport) -> None:
        """A model was audited."""

    def refused(self, error: SessionError) -> None:
        """A model could not be audited."""


Judge = Callable[[ModelReport], ModelReport]
"""Says how a model's failures stand to what was known before, ahead of their being told and counted."""


class Session:
    """Audits models one by one and adds up what came of it."""

    def __init__(
        self,
        config: AuditConfig,
        rules: Sequence[Rule],
        *,
        config_file: str | None = None,
        corpus: Corpus | None = None,
        trust_code: bool = False,
        keep: Keep | None = None,
        stop_at: Severity | None = None,
        judge: Judge | None = None,
        listener: Listener | None = None,
    ) -> None:
        self.config = config
        self.rules = rules
        self.config_file = config_file
        self.trust_code = trust_code
        self.keep = keep
        self.stop_at = stop_at
        self.judge = judge
        self.listener = listener or Listener()
        self.corpora = Corpora(config, corpus, self.listener.progress)
        self.models: list[ModelReport] = []
        self.errors: list[SessionError] = []
        self.started = datetime.datetime.now(datetime.UTC)
        self._clock = time.perf_counter()

    def run(self, paths: Sequence[str]) -> AuditReport:
        """Audit the models at ``paths``, in order; one that cannot be read does not keep the others from it.

        Raises:
            UsageError, DataError: see ``start``.
        """
        self.start()
        for path in paths:
            try:
                subject = self.prepare(path)
                self.add(subject)
            except SparsityAuditError as failure:
                self.errors.append(SessionError(path=path, message=_naming(path, failure)))
                self.listener.refused(self.errors[-1])
            if self._stopped():
                break
        return self.report()

    def start(self) -> None:
        """Find out what would keep every model from being audited, before any of them is read.

        Raises:
            UsageError: a device that is not there, or a normalisation that cannot be one.
            DataError: a corpus that cannot be read.
        """
        check_normalisation(self.config)
        check_device(self.config.device)
        # Both splits now: a test split that is missing should not turn up after minutes over the training split.
        self.corpora.load()

    def prepare(self, path: str) -> Subject:
        """Read one model and announce what will be checked."""
        subject = prepare(path, self.config, self.corpora.statistics, trust_code=self.trust_code)
        self.announce(subject)
        return subject

    def announce(self, subject: Subject) -> None:
        """Tell the listener how many items a model has, and how many of them were selected."""
        collected = items(self.rules, subject.layer_keys)
        selected = sum(self.keep is None or self.keep(rule, key) for rule, key in collected)
        self.listener.collected(subject, selected, len(collected) - selected)

    def add(self, subject: Subject) -> ModelReport:
        """Audit one prepared model."""
        progress: Progress = self.listener.progress
        model = examine(
            subject,
            self.config,
            self.rules,
            self.corpora,
            keep=self.keep,
            stop_at=self.stop_at if self.judge is None else None,
            progress=progress,
        )
        if self.judge is not None:  # only now is it known which failures count, so that ``-x`` ends here
            model = self.judge(model)
            model = model.model_copy(update={"results": up_to_stop(model.results, self.stop_at)})
        self.models.append(model)
        self.listener.finished(model)
        return model

    def report(self) -> AuditReport:
        """Return the report of all that was audited so far."""
        return AuditReport(
            tool=tool_info(self.config.device),
            config=self.config,
            config_file=self.config_file,
            started=self.started.isoformat(timespec="seconds"),
            duration_seconds=round(time.perf_counter() - self._clock, 3),
            exit_code=int(self._exit_code()),
            models=self.models,
            errors=self.errors,
            rules=list(self.rules),
        )

    def _exit_code(self) -> ExitCode:
        results = [result for model in self.models for result in model.results]
        audited = any(model.coverage.audited for model in self.models)
        return exit_code(results, self.config, unreadable=bool(self.errors), audited=audited)

    def _stopped(self) -> bool:
        if self.stop_at is None:
            return False
        results = [result for model in self.models for result in model.results]
        return bool(self.errors) or any(stops(result, self.stop_at) for result in results)


def exit_code(results: Sequence[RuleResult], config: AuditConfig, *, unreadable: bool, audited: bool) -> ExitCode:
    """Return a session's exit code: internal error comes before unreadable input, nothing audited, failed."""
    if any(result.outcome == "error" for result in results):
        return ExitCode.INTERNAL
    if unreadable:
        return ExitCode.USAGE
    if not audited or all(result.outcome == "skipped" for result in results):
        return ExitCode.NOTHING_AUDITED
    if any(fails(result, config.fail_on) for result in results) and not config.exit_zero:
        return ExitCode.FAILED
    return ExitCode.PASSED


def exit_code_of(report: AuditReport, config: AuditConfig) -> ExitCode:
    """Return the exit code that a session's report calls for, its studies counted."""
    audited = any(model.coverage.audited for model in report.models) or any(study.runs for study in report.studies)
    return exit_code(report.results(), config, unreadable=bool(report.errors), audited=audited)


def tool_info(device: str) -> ToolInfo:
    """Return what made a report; torch's version only where torch was needed."""
    torch = sys.modules.get("torch")
    return ToolInfo(
        version=__version__,
        python=platform.python_version(),
        platform=platform.platform(),
        torch=str(torch.__version__) if torch is not None else None,
        device=device,
        threads=torch.get_num_threads() if torch is not None else None,
    )


def _naming(path: str, failure: SparsityAuditError) -> str:
    """Return a failure's line with the model that it befell, unless it says so or is about an option."""
    named = path in str(failure) or isinstance(failure, UsageError)
    return str(failure) if named else f"{path}: {failure}"


def check_device(device: str) -> None:
    """Refuse a device that is not there before any work is done."""
    if device == "cpu":
        return
    import torch

    try:
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError) as failure:
        reason = str(failure).splitlines()[0].partition(". ")[0]
        raise UsageError(f"--device {device}: not available here: {textwrap.shorten(reason, 120)}") from None
