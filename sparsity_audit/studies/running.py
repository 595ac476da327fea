"""Training what is missing of a study: each run once, a failure once more, somebody else's waited for."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sparsity_audit.errors import CheckpointError, UsageError
from sparsity_audit.schema.record import TrainingRecord
from sparsity_audit.specs.study import StudyRun
from sparsity_audit.studies.executor import Executor
from sparsity_audit.studies.locate import FoundRun, find_runs, is_busy
from sparsity_audit.studies.plan import PlannedRun, planned
from sparsity_audit.studies.task import Doing, Outcome, RunTask
from sparsity_audit.training.interrupt import stop_requested
from sparsity_audit.training.run_folder import RunFolder

ATTEMPTS = 2
_POLL_SECONDS = 1.0
"""Between two looks at runs that other processes train."""


@dataclass(frozen=True)
class StudyOptions:
    """How the runs of a study are trained; none of it changes which they are."""

    device: str = "cpu"
    data_root: Path | None = None
    audit: bool = True
    """Whether each finished run is given its ``audit.json``."""


class StudyListener:
    """Is told what goes on while a study is trained; this one does nothing."""

    def planned(self, total: int, there: int) -> None:
        """So many runs there are, and so many were finished before."""

    def doing(self, run: PlannedRun, doing: Doing) -> None:
        """A run goes on."""

    def finished(self, run: PlannedRun, record: TrainingRecord) -> None:
        """A run is trained, here or by another process."""

    def audited(self, run: PlannedRun) -> None:
        """A run that was trained before has its audit now."""

    def failed(self, run: PlannedRun, message: str) -> None:
        """A run is given up."""

    def again(self, run: PlannedRun, message: str) -> None:
        """An attempt failed, and another will be made."""

    def waiting(self, runs: Sequence[PlannedRun]) -> None:
        """Only runs that other processes train are left."""

    def note(self, text: str) -> None:
        """Something that the user should know."""


@dataclass
class StudyResult:
    """What came of a study; ``total`` counts trainings, so rows that say the same count once."""

    total: int
    before: int = 0
    """Finished before."""
    trained: int = 0
    """Finished since, here or by another process."""
    failed: dict[str, str] = field(default_factory=dict)
    """One line on each run that was given up, by row and seed."""
    interrupted: bool = False

    @property
    def complete(self) -> bool:
        """Whether every run is there."""
        return self.before + self.trained == self.total


def run_study(
    runs: Sequence[StudyRun],
    origin: str,
    root: Path,
    executor: Executor,
    options: StudyOptions | None = None,
    listener: StudyListener | None = None,
) -> StudyResult:
    """Train what is missing of some runs, and return when all are finished or given up, or a signal came.

    A run is known by its digest, in whatever sub-folder of ``root`` it lies; one that was stopped goes on. A failed
    attempt is repeated once, at the end; a run that diverged is not. One that another process trains is left to it.
    Once only such runs remain they are waited for, so that a study which ends well is complete whoever trained it; if
    that process dies, its run is taken over.

    Args:
        origin: what to call the study in messages.

    Raises:
        UsageError: ``root`` cannot hold runs.
    """
    with stop_requested() as stop:
        session = _Session(planned(runs), origin, root, options or StudyOptions(), listener or StudyListener(), stop)
        tasks = session.open_tasks()
        while tasks and not stop():
            executor.run(tasks, session.done, session.doing, stop)
            tasks = session.not_elsewhere()
        session.result.interrupted = stop()
        return session.result


class _Session:
    """One call of ``run_study``."""

    def __init__(
        self,
        plan: Sequence[PlannedRun],
        origin: str,
        root: Path,
        options: StudyOptions,
        listener: StudyListener,
        stop: Callable[[], bool],
    ) -> None:
        self.result = StudyResult(len(plan))
        self._origin = origin
        self._root = root
        self._options = options
        self._listener = listener
        self._stop = stop
        self._runs = {run.digest: run for run in plan}
        self._trained_before: set[str] = set()
        self._failures: dict[str, int] = {}
        self._elsewhere: dict[str, RunTask] = {}
        self._waited = False

    def open_tasks(self) -> list[RunTask]:
        """Return what is to do: runs not finished, and finished ones without an audit."""
        found = find_runs(self._root, self._listener.note)
        self._trained_before = {digest for digest in self._runs if digest in found and found[digest].finished}
        self.result.before = len(self._trained_before)
        self._listener.planned(self.result.total, self.result.before)
        tasks = []
        for run in self._runs.values():
            there = found.get(run.digest)
            if there is not None and there.record.status == "diverged":
                self._give_up(run, f"{there.path}: diverged: {there.record.message}; change the row")
            elif there is None or not self._settled(there):
                tasks.append(self._task(run, there))
        if tasks:
            try:
                self._root.mkdir(parents=True, exist_ok=True)
            except OSError as failure:
                raise UsageError(f"{self._root}: cannot hold runs ({failure.strerror}); name another folder") from None
        return tasks

    def doing(self, task: RunTask, doing: Doing) -> None:
        """Pass on how a run goes."""
        self._listener.doing(self._runs[task.spec.digest()], doing)

    def done(self, task: RunTask, outcome: Outcome) -> bool:
        """Take in how an attempt ended; return whether it is to be made again."""
        run = self._runs[task.spec.digest()]
        for note in outcome.notes:
            self._listener.note(f"{run.name}: {note}")
        if outcome.status == "elsewhere":
            self._elsewhere[run.digest] = task
            return False
        record = _record(task)
        if record is not None and record.status == "finished":
            if outcome.status != "finished" and not self._stop():
                self._listener.note(f"{run.name}: not audited: {outcome.message}")
            self._finish(run, record)
            return False
        if self._stop():
            return False
        message = outcome.message or outcome.status
        self._failures[run.digest] = self._failures.get(run.digest, 0) + 1
        if outcome.status == "diverged" or self._failures[run.digest] >= ATTEMPTS:
            self._give_up(run, message)
            return False
        self._listener.again(run, message)
        return True

    def not_elsewhere(self) -> list[RunTask]:
        """Wait until other processes have let go of some runs, and return what is still to do of them."""
        while self._elsewhere and not self._stop():
            free = [digest for digest, task in self._elsewhere.items() if not is_busy(Path(task.folder))]
            tasks = [task for digest in free if not self._finished_there(task := self._elsewhere.pop(digest))]
            if tasks:
                return tasks
            if self._elsewhere:
                if not self._waited:
                    self._listener.waiting([self._runs[digest] for digest in self._elsewhere])
                    self._waited = True
                time.sleep(_POLL_SECONDS)
        return []

    def _task(self, run: PlannedRun, found: FoundRun | None) -> RunTask:
        root = self._options.data_root
        return RunTask(
            name=run.run.row_id,
            origin=f"{self._origin}: row {run.run.row_id}",
            spec=run.run.spec,
            folder=str(run.folder(self._root, found)),
            device=self._options.device,
            data_root=None if root is None else str(root),
            audit=self._options.audit,
        )

    def _settled(self, there: FoundRun) -> bool:
        """Tell whether nothing is to do for a run; one whose weights were left out cannot be audited any more."""
        return there.finished and (not self._options.audit or there.audit.exists() or not there.model.exists())

    def _finished_there(self, task: RunTask) -> bool:
        """Take in a run that another process has finished altogether."""
        record = _record(task)
        if record is None or not self._settled(FoundRun(Path(task.folder), record)):
            return False
        self._finish(self._runs[task.spec.digest()], record)
        return True

    def _finish(self, run: PlannedRun, record: TrainingRecord) -> None:
        if run.digest in self._trained_before:
            self._listener.audited(run)
            return
        self.result.trained += 1
        self._listener.finished(run, record)

    def _give_up(self, run: PlannedRun, message: str) -> None:
        self.result.failed[run.name] = message
        self._listener.failed(run, message)


def _record(task: RunTask) -> TrainingRecord | None:
    try:
        return RunFolder(Path(task.folder)).read_record()
    except CheckpointError:  # its own attempt says so
        return None
