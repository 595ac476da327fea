"""What ``run`` does once its options are read."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparsity_audit.cli.outputs import check_outputs, say, write_report
from sparsity_audit.cli.run_specs import with_trained_models
from sparsity_audit.engine.configuration import load_configuration
from sparsity_audit.engine.evaluate import items
from sparsity_audit.engine.keywords import keyword_filter
from sparsity_audit.engine.rulepacks import apply_limits, choose, load_rules
from sparsity_audit.engine.session import Listener, Session, tool_info
from sparsity_audit.engine.subject import Subject
from sparsity_audit.errors import ExitCode, UsageError
from sparsity_audit.reporters import study_terminal, terminal
from sparsity_audit.schema.config import AuditConfig
from sparsity_audit.schema.report import AuditReport, ModelReport, SessionError
from sparsity_audit.schema.rule import Rule
from sparsity_audit.studies.together import compares, names_study, with_studies

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


@dataclass(frozen=True)
class Request:
    """One call of ``run``: what the configuration knows, and what only the command line can say."""

    overrides: dict[str, Any]
    trust_code: bool
    keyword: str | None
    exit_first: bool
    verbosity: int
    collect_only: bool
    update_baseline: bool


def execute(request: Request) -> int:
    """Run the session and return its exit code."""
    config, config_file = load_configuration(request.overrides)
    rules = choose(
        apply_limits(load_rules(config.rules), config.limits, config_file or "limits"),
        config.select,
        config.ignore,
    )
    if not config.models:
        raise UsageError("no MODEL: name a weight file, or models = [...] in the configuration")
    check_outputs(config.outputs, [*config.models, *config.rules, *([config_file] if config_file else [])])
    config = with_trained_models(config, quiet=request.verbosity < 0, only_existing=request.collect_only)
    printer = Printer(request.verbosity)
    comparing = compares(config.models)
    session = Session(
        config,
        [rule for rule in rules if rule.scope != "study"] if comparing else rules,
        config_file=config_file,
        trust_code=request.trust_code,
        keep=keyword_filter(request.keyword) if request.keyword else None,
        stop_at=config.fail_on if request.exit_first else None,
        listener=printer,
    )
    if request.collect_only:
        return _list_items(session, config.models)
    printer.head(config, config_file)
    with printer:
        report = session.run([model for model in config.models if not names_study(model)])
        if comparing:
            report = with_studies(report, config.models, config, rules)
            printer.compared(report)
    write_report(report, config.outputs.items())
    printer.end(report)
    return report.exit_code


def _list_items(session: Session, models: Sequence[str]) -> int:
    """Print every item that would be checked, one a line, as ``pytest --collect-only`` does."""
    count = 0
    for path in models:
        subject = session.prepare(path)
        for rule, key in _selected(session, subject):
            print(f"{path}::{rule.id}[{key}]" if key is not None else f"{path}::{rule.id}")
            count += 1
    print(f"\n{count} items collected")
    return ExitCode.PASSED if count else ExitCode.NOTHING_AUDITED


def _selected(session: Session, subject: Subject) -> list[tuple[Rule, str | None]]:
    collected = items(session.rules, subject.layer_keys)
    return [(rule, key) for rule, key in collected if session.keep is None or session.keep(rule, key)]


def _needs_torch(config: AuditConfig) -> bool:
    """Tell whether torch will be imported anyway: for a graph, or for a container other than safetensors."""
    if config.data is not None or config.arch is not None:
        return True
    paths = [Path(model) for model in config.models]
    return any(path.is_file() and path.suffix != ".safetensors" for path in paths)


class Printer(Listener):
    """Prints a session as it goes; the progress bar is on stderr and only on a terminal."""

    def __init__(self, verbosity: int) -> None:
        self.verbosity = verbosity
        self.width = min(shutil.get_terminal_size((100, 24)).columns, 120)
        self.colour = sys.stdout.isatty()
        self._bar: Progress | None = None
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Printer:
        return self

    def __exit__(self, *_: object) -> None:
        self._close_bar()

    def head(self, config: AuditConfig, config_file: str | None) -> None:
        """Print what the session runs on."""
        if self.verbosity >= 0:
            if _needs_torch(config):
                import torch  # noqa: F401  # so that the header can name its version
            say(terminal.session_head(tool_info(config.device), config_file, colour=self.colour, width=self.width))

    def collected(self, subject: Subject, selected: int, deselected: int) -> None:
        """Print how many items a model has."""
        if self.verbosity >= 0:
            say(f"\n{subject.path}\n{terminal.collected(selected + deselected, deselected)}")

    def progress(self, label: str, done: int, total: int) -> None:
        """Move the bar of a piece of work."""
        if self.verbosity < 0 or not sys.stderr.isatty():
            return
        if self._bar is None:
            from rich.console import Console
            from rich.progress import Progress

            self._bar = Progress(console=Console(stderr=True), transient=True)
            self._bar.start()
        if label not in self._tasks:
            self._tasks[label] = self._bar.add_task(label, total=total)
        self._bar.update(self._tasks[label], completed=done)

    def finished(self, model: ModelReport) -> None:
        """Print one model's results."""
        self._close_bar()
        if self.verbosity >= 0:
            parts = [
                terminal.model_head(model),
                terminal.rule_lines(model, verbosity=self.verbosity, width=self.width),
                terminal.ledger(model, width=self.width),
                terminal.recommendation(model, verbosity=self.verbosity, width=self.width),
            ]
            say("\n\n".join(part for part in parts if part))
        told = terminal.failures(model, verbosity=self.verbosity, width=self.width)
        if told:
            say(f"\n{told}" if self.verbosity >= 0 else f"{model.path}\n{told}")

    def compared(self, report: AuditReport) -> None:
        """Print what was found of several models together."""
        for study in report.studies:
            parts = [terminal.failures(study, verbosity=self.verbosity, width=self.width)]
            if self.verbosity >= 0:
                parts = [
                    study_terminal.study_head(study),
                    study_terminal.study_table(study, width=self.width),
                    terminal.rule_lines(study, verbosity=self.verbosity, width=self.width),
                    *parts,
                ]
            say("\n\n".join(part for part in ("", *parts) if part))

    def refused(self, error: SessionError) -> None:
        """Say on stderr why a model could not be audited."""
        self._close_bar()
        print(f"sparsity-audit: {' '.join(error.message.split())}", file=sys.stderr)

    def end(self, report: AuditReport) -> None:
        """Print the summary and what was written; a session that read no model has said all there is to say."""
        if not report.models and not report.studies:
            return
        say(terminal.session_end(report, colour=self.colour, verbosity=self.verbosity, width=self.width))

    def _close_bar(self) -> None:
        if self._bar is not None:
            self._bar.stop()
        self._bar, self._tasks = None, {}
