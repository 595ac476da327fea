"""What of a training outlives its process: checkpoint, history, snapshots, record."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from sparsity_audit.errors import CheckpointError
from sparsity_audit.schema.record import SessionRecord, TrainingRecord
from sparsity_audit.schema.spec import ObserveSpec
from sparsity_audit.training.history import History
from sparsity_audit.training.optimizers import Updater
from sparsity_audit.training.run_folder import RunFolder
from sparsity_audit.training.state import read_state, write_state
from sparsity_audit.training.tracked import TrackedLayer, affine_values


class RunKeeper:
    """Writes a run's files while it is trained.

    Order matters where a process may die at any moment: what a checkpoint's step has already produced is written
    before the checkpoint itself, so that a resumed run finds too much rather than too little, and trims it.
    """

    def __init__(
        self,
        folder: RunFolder,
        record: TrainingRecord,
        model: nn.Module,
        updater: Updater,
        layers: Sequence[TrackedLayer],
        seconds: float,
        session: Callable[[int, int], SessionRecord],
    ) -> None:
        """``session`` describes a stretch of steps on this machine; ``seconds`` lie between two checkpoints."""
        self.folder = folder
        self.record = record
        self.model = model
        self.updater = updater
        self.layers = layers
        self.seconds = seconds
        self.history = History()
        self._earlier = record.sessions
        self._start = 0
        self._session = session
        self._observe: ObserveSpec = record.spec.observe
        self._written = time.monotonic()

    def start(self) -> int:
        """Put the last checkpoint's state back and return its step; 0, and the first point, where there is none.

        Raises:
            CheckpointError: it, or the history, cannot be read or belongs to another spec.
        """
        step = 0
        if self.folder.checkpoint.exists():
            step = read_state(self.folder.checkpoint, self.record.digest, self.model, self.updater.optimizer)
            if not 0 <= step <= self.record.total_steps:
                raise CheckpointError(
                    f"{self.folder.checkpoint}: is of step {step}, and the training has "
                    f"{self.record.total_steps}; delete it to start again"
                )
            if self.folder.history.exists():
                self.history = self._history_until(step)
        self._start = step
        if step == 0 and self._observe.history_every is not None and self.layers:
            self.history = History()
            self.history.add(0, affine_values(self.layers))
        return step

    def _history_until(self, step: int) -> History:
        history = History.load(self.folder.history)
        history.truncate(step)
        shapes = {name: history.series(name).shape[1:] for name in history.names}
        own = {name: values.shape for name, values in affine_values(self.layers).items()}
        if shapes and shapes != own:
            raise CheckpointError(
                f"{self.folder.history}: its layers are not those of this network; delete it to go on without it"
            )
        return history

    def due(self, step: int) -> bool:
        """Tell whether a point, a snapshot or a checkpoint is due after this step."""
        return self._point(step) or step in self._observe.snapshots or self._late()

    def keep(self, step: int, *, last: bool) -> None:
        """Write what is due: a checkpoint where the last one is old, or nothing comes after this step.

        Raises:
            CheckpointError: it cannot be written; the files of before are as they were.
        """
        if self._point(step):
            self.history.add(step, affine_values(self.layers))
        if step in self._observe.snapshots:
            write_state(self.folder.snapshot(step), self.record.digest, step, self.model, self.updater.optimizer)
        if last or self._late():
            self._checkpoint(step)

    def _checkpoint(self, step: int) -> None:
        if len(self.history):
            self.history.save(self.folder.history)
        write_state(self.folder.checkpoint, self.record.digest, step, self.model, self.updater.optimizer)
        self.write_record(steps=step)
        self._written = time.monotonic()

    def write_record(self, **update: Any) -> None:
        """Write the record with what has changed in it, the present session and the files beside it.

        Raises:
            CheckpointError: it cannot be written.
        """
        done = self.record.model_copy(update=update)
        sessions = [*self._earlier, self._session(self._start, done.steps)]
        self.record = done.model_copy(update={"sessions": sessions, **self._files()})
        self.folder.write_record(self.record)

    def _files(self) -> dict[str, object]:
        snapshots = [self.folder.snapshot(step) for step in sorted(self._observe.snapshots)]
        return {
            "history": self.folder.history.name if self.folder.history.exists() else None,
            "snapshots": [str(path.relative_to(self.folder.path)) for path in snapshots if path.exists()],
        }

    def _point(self, step: int) -> bool:
        every = self._observe.history_every
        return every is not None and bool(self.layers) and (step % every == 0 or step == self.record.total_steps)

    def _late(self) -> bool:
        return time.monotonic() - self._written >= self.seconds
