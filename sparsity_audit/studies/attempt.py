"""One attempt at a run: trained from where it is, then audited; whatever goes wrong becomes its outcome."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sparsity_audit.errors import SparsityAuditError, TrainingError, UsageError
from sparsity_audit.specs.load import NamedSpec
from sparsity_audit.studies.auditing import audit_run
from sparsity_audit.studies.locate import is_busy
from sparsity_audit.studies.task import Doing, Outcome, RunTask
from sparsity_audit.training.loop import Progress
from sparsity_audit.training.train import TrainListener, TrainOptions, train


def attempt(task: RunTask, tell: Callable[[Doing], None]) -> Outcome:
    """Train a run to its end, or until a signal stops it; then write its audit. Raises nothing.

    This is all that an executor needs to call, wherever it does.
    """
    try:
        return _train_and_audit(task, tell)
    except KeyboardInterrupt:
        return Outcome(status="interrupted", message="interrupted")
    except TrainingError as failure:
        return Outcome(status="diverged", message=str(failure))
    except SparsityAuditError as failure:
        elsewhere = isinstance(failure, UsageError) and is_busy(Path(task.folder))
        return Outcome(status="elsewhere" if elsewhere else "failed", message=str(failure))
    except Exception as failure:  # a crash of ours costs this run, not the study
        return Outcome(status="failed", message=f"internal error: {type(failure).__name__}: {failure}")


def _train_and_audit(task: RunTask, tell: Callable[[Doing], None]) -> Outcome:
    folder, listener = Path(task.folder), _Teller(tell)
    root = Path(task.data_root) if task.data_root is not None else None
    options = TrainOptions(True, task.device, root, task.checkpoint_seconds)
    record = train(NamedSpec(task.name, task.spec, task.origin), folder, options, listener)
    if record.status != "finished":
        return Outcome(status="interrupted", message=record.message, notes=listener.notes)
    if task.audit:
        try:
            audit_run(task, listener.working)
        except SparsityAuditError as failure:
            if is_busy(folder):
                return Outcome(status="elsewhere", message=str(failure), notes=listener.notes)
            listener.note(f"not audited: {failure}")
    return Outcome(status="finished", notes=listener.notes)


class _Teller(TrainListener):
    """Passes on what a training does, and keeps its notes for the end."""

    def __init__(self, tell: Callable[[Doing], None]) -> None:
        self.tell = tell
        self.notes: list[str] = []

    def working(self, label: str, done: int, total: int) -> None:
        self.tell(Doing(label=label, done=done, total=total))

    def progress(self, progress: Progress) -> None:
        self.tell(
            Doing(
                label="training",
                done=progress.step,
                total=progress.total,
                loss=progress.loss,
                error=progress.error,
                inactive=progress.inactive,
                filters=progress.filters,
            )
        )

    def note(self, text: str) -> None:
        self.notes.append(text)
