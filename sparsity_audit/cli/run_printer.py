"""What ``run`` prints, as it goes."""

from __future__ import annotations

import secrets
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sparsity_audit.cli.console import say
from sparsity_audit.engine.session import Listener, tool_info
from sparsity_audit.engine.subject import Subject
from sparsity_audit.outputs import repository_root
from sparsity_audit.reporters import terminal
from sparsity_audit.reporters.terminal_session import model_text, study_text
from sparsity_audit.schema.config import AuditConfig
from sparsity_audit.schema.report import AuditReport, ModelReport, SessionError

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


def _needs_torch(config: AuditConfig) -> bool:
    """Tell whether torch will be imported anyway: for a graph, or for a container other than safetensors."""
    if config.data is not None or config.arch is not None:
        return True
    paths = [Path(model) for model in config.models]
    return any(path.is_file() and path.suffix != ".safetensors" for path in paths)


class Printer(Listener):
    """Prints a session as it goes; the progress bar is on stderr and only on a terminal."""

    def __init__(self, verbosity: int, *, github: bool = False) -> None:
        self.verbosity = verbosity
        self.github = github
        self._token = secrets.token_hex(16)
        self.width = min(shutil.get_terminal_size((100, 24)).columns, 120)
        self.colour = sys.stdout.isatty()
        self._bar: Progress | None = None
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Printer:
        if self.github:  # names out of a file could be workflow commands at the start of a line
            from sparsity_audit.reporters.github import stop_commands

            say(stop_commands(self._token))
        return self

    def __exit__(self, *_: object) -> None:
        self._close_bar()
        if self.github:
            from sparsity_audit.reporters.github import resume_commands

            say(resume_commands(self._token))

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
        if text := model_text(model, verbosity=self.verbosity, width=self.width):
            say(text)

    def compared(self, report: AuditReport) -> None:
        """Print what was found of several models together."""
        for study in report.studies:
            if text := study_text(study, verbosity=self.verbosity, width=self.width):
                say(f"\n{text}" if self.verbosity >= 0 else text)

    def refused(self, error: SessionError) -> None:
        """Say on stderr why a model could not be audited."""
        self._close_bar()
        print(f"sparsity-audit: {' '.join(error.message.split())}", file=sys.stderr)

    def end(self, report: AuditReport) -> None:
        """Print the summary; a session that read no model has said all there is to say."""
        if report.models or report.studies:
            say(terminal.session_end(report, colour=self.colour, verbosity=self.verbosity, width=self.width))

    def annotate(self, report: AuditReport) -> None:
        """Print what GitHub shows beside a pull request's files, where that was asked for."""
        if self.github:
            from sparsity_audit.reporters.github import to_annotations

            say(to_annotations(report, repository_root(Path.cwd())))

    def _close_bar(self) -> None:
        if self._bar is not None:
            self._bar.stop()
        self._bar, self._tasks = None, {}
