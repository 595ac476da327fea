"""Finding the runs that are there already: by what was trained, not by what their folders are called."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sparsity_audit.checkpoints.folder import RUN_RECORD
from sparsity_audit.errors import CheckpointError, UsageError
from sparsity_audit.schema.record import TrainingRecord
from sparsity_audit.training.run_folder import RunFolder

AUDIT = "audit.json"
"""In a run folder: the report of its model on its own training corpus."""


@dataclass(frozen=True)
class FoundRun:
    """A run folder and its record."""

    path: Path
    record: TrainingRecord

    @property
    def finished(self) -> bool:
        """Whether it was trained to the end; its weights may have been left out since."""
        return self.record.status == "finished"

    @property
    def model(self) -> Path:
        """Where its weights lie, if they are kept."""
        return RunFolder(self.path).model

    @property
    def audit(self) -> Path:
        """Where its audit lies, if there is one."""
        return self.path / AUDIT


def find_runs(root: Path, note: Callable[[str], None] | None = None) -> dict[str, FoundRun]:
    """Return the runs in the sub-folders of a folder by the digest of their spec; none where there is no such folder.

    Of several with one digest the one that is furthest counts: a finished one with its weights before one without,
    else the one with most steps; of equals the first by name.

    Args:
        note: is told one line on each record that cannot be read; that folder counts as no run.
    """
    found: dict[str, FoundRun] = {}
    for path in sorted(root.glob(f"*/{RUN_RECORD}")):
        try:
            record = RunFolder(path.parent).read_record()
        except CheckpointError as failure:
            if note is not None:
                note(str(failure))
            continue
        if record is None:  # removed since
            continue
        run = FoundRun(path.parent, record)
        known = found.get(record.digest)
        if known is None or _distance(run) > _distance(known):
            found[record.digest] = run
    return found


def is_busy(path: Path) -> bool:
    """Tell whether a process works on the run in a folder at this moment."""
    if not path.is_dir():
        return False
    try:
        with RunFolder(path).locked():
            return False
    except UsageError:
        return True


def _distance(run: FoundRun) -> tuple[bool, bool, int]:
    return run.finished, run.finished and run.model.is_file(), run.record.steps
