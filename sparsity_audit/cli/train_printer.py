"""What a training shows while it runs: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import IO, TYPE_CHECKING

from sparsity_audit.cli.console import say
from sparsity_audit.schema.record import SplitResult, TrainingRecord
from sparsity_audit.specs.describe import settings_line
from sparsity_audit.training.loop import Progress
from sparsity_audit.training.train import TrainListener

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

LINE_SECONDS = 10.0
"""Seconds between two plain lines."""


class TrainPrinter(TrainListener):
    """Prints a training as it goes; the bar is on stderr and only on a terminal, lines go to ``stream``."""

    def __init__(self, stream: IO[str], *, quiet: bool = False) -> None:
        self.stream = stream
        self.quiet = quiet
        self.trained = False
        """Whether there was anything to train."""
        self._bar: Bar | None = None
        self._label = ""
        self._from = 0
        self._began = self._printed = time.monotonic()

    def __enter__(self) -> TrainPrinter:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def started(self, record: TrainingRecord, step: int) -> None:
        """Say what is trained, and from where on."""
        self._close()
        self.trained = True
        self._from, self._began = step, time.monotonic()
        self._printed = self._began
        again = f", from step {step}" if step else ""
        self.say(f"{record.name}: {settings_line(record.spec)}, seed {record.seed}: {record.total_steps} steps{again}")

    def working(self, label: str, done: int, total: int) -> None:
        """Move the bar of something other than training."""
        self._move(label, done, total, "")

    def progress(self, progress: Progress) -> None:
        """Show loss, error, sparsity so far, and the time left."""
        told = _told(progress)
        if self._shows_bar:
            self._move("training", progress.step, progress.total, told)
            return
        now = time.monotonic()
        if now - self._printed >= LINE_SECONDS or progress.step == progress.total:
            self._printed = now
            seconds = (now - self._began) / (progress.step - self._from)
            left = _duration(seconds * (progress.total - progress.step))
            self.say(f"step {progress.step}/{progress.total}  {told}  {seconds * 1e3:.1f} ms/step  {left} left")

    def note(self, text: str) -> None:
        """Say something that matters to bits or results."""
        say(f"sparsity-audit: note: {text}", sys.stderr)

    def say(self, text: str, *, always: bool = False) -> None:
        """Print a line, unless we are to be quiet and it is not one for ``always``."""
        if always or not self.quiet:
            say(text, self.stream)

    @property
    def _shows_bar(self) -> bool:
        return sys.stderr.isatty() and not self.quiet

    def _move(self, label: str, done: int, total: int, told: str) -> None:
        if not self._shows_bar:
            return
        if self._bar is None or self._label != label:
            self._close()
            self._bar, self._label = _bar(), label
            self._bar.start()
            self._bar.add_task(label, total=total, told=told)
        self._bar.update(self._bar.task_ids[0], completed=done, told=told)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
        self._bar, self._label = None, ""


def outcome_lines(record: TrainingRecord) -> str:
    """Return what came of a finished run, in two lines."""
    lines = [f"{_split('train', record.train)}; {_split('test', record.test)}"]
    if record.scale is not None and record.scale.filters:
        share = record.scale.inactive / record.scale.filters
        lines.append(f"{record.scale.inactive} of {record.scale.filters} filters inactive by scale ({share:.1%})")
    return "\n".join(lines)


def _bar() -> Bar:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[told]}"),
        TimeRemainingColumn(compact=True),
    )
    return Bar(*columns, console=Console(stderr=True), transient=True)


def _told(progress: Progress) -> str:
    sparsity = f"  inactive {progress.inactive}/{progress.filters}" if progress.filters else ""
    return f"loss {progress.loss:.4f}  error {progress.error:.2%}{sparsity}"


def _split(name: str, result: SplitResult | None) -> str:
    if result is None:
        return f"{name}: not tested"
    loss = "not finite" if result.loss is None else f"{result.loss:.4f}"
    return f"{name} loss {loss}, error {result.error:.2%} of {result.images:,} images"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
