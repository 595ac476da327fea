"""The folder that a run leaves: where everything in it lies, and who may write there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import ValidationError

from sparsity_audit.checkpoints.folder import RUN_RECORD
from sparsity_audit.errors import CheckpointError, UsageError
from sparsity_audit.files import write_whole
from sparsity_audit.schema.record import TrainingRecord
from sparsity_audit.schema.validating import first_problem

LOCK = ".lock"


class RunFolder:
    """Paths of a run (design: one model, its record, its history, its snapshots, its checkpoint)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.model = path / "model.safetensors"
        self.record = path / RUN_RECORD
        self.history = path / "history.safetensors"
        self.checkpoint = path / "checkpoint.safetensors"
        self.snapshots = path / "snapshots"
        self._made: list[Path] = []

    def snapshot(self, step: int) -> Path:
        """Return the file of a snapshot."""
        return self.snapshots / f"step-{step}.safetensors"

    def create(self) -> None:
        """Make the folder where it is not there yet.

        Raises:
            UsageError: it cannot be made or looked into, or holds files that are no run's.
        """
        try:
            self._refuse_strange()
            self._made = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
            self.snapshots.mkdir(parents=True, exist_ok=True)
        except OSError as failure:
            raise UsageError(f"{self.path}: cannot be created ({failure.strerror}); name another folder") from None

    def _refuse_strange(self) -> None:
        if self.path.is_dir() and not self.record.exists():
            strange = sorted(entry.name for entry in self.path.iterdir() if not entry.name.startswith("."))
            # An empty folder for snapshots is what a process left that was killed before its first record.
            if strange and not (strange == [self.snapshots.name] and not any(self.snapshots.iterdir())):
                raise UsageError(f"{self.path}: holds {strange[0]} and no {RUN_RECORD}: not a run; name another folder")

    def discard(self) -> None:
        """Remove the folders that ``create`` made where nothing came to lie in them."""
        if self._made and not self.record.exists():
            with suppress(OSError):  # somebody else's file keeps a folder
                (self.path / LOCK).unlink(missing_ok=True)
                for folder in (self.snapshots, *self._made):
                    folder.rmdir()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from training here; the system lets go of the lock when a process dies.

        Raises:
            UsageError: another process trains here, or nobody may write here.
        """
        lock = FileLock(self.path / LOCK, timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise UsageError(f"{self.path}: another process is training here; wait for it, or stop it") from None
        except OSError as failure:
            raise UsageError(f"{self.path}: cannot be written to ({failure.strerror}); name another folder") from None
        try:
            self._sweep()
            yield
        finally:
            lock.release()

    def _sweep(self) -> None:
        """Remove what a killed process left half-written; nobody else writes here now."""
        for left in (*self.path.glob(".*.tmp"), *self.snapshots.glob(".*.tmp")):
            left.unlink(missing_ok=True)

    def read_record(self) -> TrainingRecord | None:
        """Return the record; None where there is none.

        Raises:
            CheckpointError: it is there and cannot be read.
        """
        try:
            return TrainingRecord.model_validate_json(self.record.read_bytes())
        except FileNotFoundError:
            return None
        except OSError as failure:
            raise CheckpointError(f"{self.record}: cannot be read ({failure.strerror})") from None
        except ValidationError as failure:
            raise CheckpointError(
                f"{self.record}: not a record of a run ({first_problem(failure)}); name another folder"
            ) from None

    def write_record(self, record: TrainingRecord) -> None:
        """Write the record, whole or not at all.

        Raises:
            CheckpointError: it cannot be written.
        """
        try:
            write_whole(self.record, f"{record.to_json()}\n".encode())
        except OSError as failure:
            raise CheckpointError(f"{self.record}: cannot be written ({failure.strerror})") from None
