"""What a study shows while it is trained: bars on a terminal, a line for each run elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING

from sparsity_audit.cli.console import say
from sparsity_audit.schema.record import TrainingRecord
from sparsity_audit.studies.plan import PlannedRun
from sparsity_audit.studies.running import StudyListener
from sparsity_audit.studies.task import Doing

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID


class StudyPrinter(StudyListener):
    """Prints a study as it goes; bars are on stderr and only on a terminal, lines go to ``stream`` otherwise."""

    def __init__(self, stream: IO[str], *, quiet: bool = False) -> None:
        self.stream = stream
        self.quiet = quiet
        self._total = self._there = self._trained = self._failed = 0
        self._began = time.monotonic()
        self._shares: dict[str, float] = {}
        """What part is trained of each run that goes on, by digest."""
        self._bar: Bar | None = None
        self._lines: dict[str, TaskID] = {}
        """Of the runs that go on, by digest; the bar of the whole stands under an empty name."""

    def __enter__(self) -> StudyPrinter:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def planned(self, total: int, there: int) -> None:
        """Say how much there is to do, and show the bar of the whole."""
        self._total, self._there = total, there
        self._began = time.monotonic()
        if there == total:
            return
        self._say(f"{total} runs, {there} trained before")
        if sys.stderr.isatty() and not self.quiet:
            self._bar = _bar()
            self._lines[""] = self._bar.add_task("runs", total=total, completed=there, told="")
            self._bar.start()

    def doing(self, run: PlannedRun, doing: Doing) -> None:
        """Move the bar of a run."""
        if doing.loss is not None:
            self._shares[run.digest] = doing.done / doing.total
        if self._bar is None:
            return
        if run.digest not in self._lines:
            self._lines[run.digest] = self._bar.add_task(run.name, total=doing.total, told="")
        self._bar.update(self._lines[run.digest], completed=doing.done, total=doing.total, told=_told(doing))

    def finished(self, run: PlannedRun, record: TrainingRecord) -> None:
        """Say what came of a run, and how long the rest may take."""
        self._there += 1
        self._trained += 1
        self._drop(run)
        self._say(f"done {self._there}/{self._total} {run.name}: {', '.join(_results(record))}{self._left()}")

    def audited(self, run: PlannedRun) -> None:
        """Say that a run of before has its audit."""
        self._drop(run)
        self._say(f"audited {run.name}")

    def failed(self, run: PlannedRun, message: str) -> None:
        """Say on stderr why a run is given up."""
        self._failed += 1
        self._drop(run)
        self._complain(f"{run.name}: {message}")

    def again(self, run: PlannedRun, message: str) -> None:
        """Say that an attempt failed."""
        self._drop(run)
        self._say(f"failed, to be tried once more: {run.name}: {message}")

    def waiting(self, runs: Sequence[PlannedRun]) -> None:
        """Say what is waited for."""
        names = ", ".join(run.name for run in runs[:3]) + (", …" if len(runs) > 3 else "")
        self._say(f"waiting for another process that trains {names}")

    def note(self, text: str) -> None:
        """Say something that matters to results."""
        self._complain(f"note: {text}")

    def _left(self) -> str:
        """Return how long the rest takes if it goes on as it did, runs that are under way counted by their steps."""
        rest = self._total - self._there - self._failed
        if rest <= 0:
            return ""
        under_way = sum(self._shares.values())
        seconds = (time.monotonic() - self._began) / (self._trained + under_way) * (rest - under_way)
        return f"; {_duration(max(seconds, 0.0))} left"

    def _drop(self, run: PlannedRun) -> None:
        self._shares.pop(run.digest, None)
        if self._bar is None:
            return
        if run.digest in self._lines:
            self._bar.remove_task(self._lines.pop(run.digest))
        self._bar.update(self._lines[""], completed=self._there)

    def _say(self, text: str) -> None:
        if self.quiet:
            return
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            say(text, self.stream)

    def _complain(self, text: str) -> None:
        line = f"sparsity-audit: {' '.join(text.split())}"
        if self._bar is not None:
            self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            say(line, sys.stderr)


def _bar() -> Bar:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[told]}", markup=False),
    )
    return Bar(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False)


def _told(doing: Doing) -> str:
    if doing.loss is None or doing.error is None:
        return doing.label
    sparsity = f"  inactive {doing.inactive}/{doing.filters}" if doing.filters else ""
    return f"loss {doing.loss:.4f}  error {doing.error:.2%}{sparsity}"


def _results(record: TrainingRecord) -> list[str]:
    parts = []
    if record.test is not None:
        parts.append(f"error {100 * record.test.error:.1f} %")
    if record.scale is not None and record.scale.filters:
        parts.append(f"inactive {100 * record.scale.inactive / record.scale.filters:.1f} %")
    return [*parts, _duration(sum(session.seconds for session in record.sessions))]


def _duration(seconds: float) -> str:
    """Return ``33 s``, ``57 min`` or ``3.5 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
