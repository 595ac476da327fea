"""A short training on the digits, and what its tests share."""

from __future__ import annotations

import signal
from pathlib import Path

import numpy as np

from sparsity_audit.checkpoints.safetensors_io import read_safetensors
from sparsity_audit.specs.load import NamedSpec, load_spec
from sparsity_audit.training.loop import Progress
from sparsity_audit.training.train import TrainListener

STEPS = 120
SETS = [
    f"schedule.total={STEPS}",
    "schedule.milestones=[80]",
    "observe.history_every=50",
    "observe.snapshots=[40, 100]",
]


def spec(*more: str, base: str = "digits-adam-l2") -> NamedSpec:
    return load_spec(base, [*SETS, *more])


def tensors(path: Path) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in read_safetensors(path)[0].items()}


def assert_same(left: Path, right: Path) -> None:
    one, other = tensors(left), tensors(right)
    assert one.keys() == other.keys()
    assert all(np.array_equal(one[name], other[name]) for name in one)


class StopAt(TrainListener):
    """Sends a signal to this process once a step is reached, as a user's Ctrl-C would."""

    def __init__(self, step: int, number: signal.Signals = signal.SIGINT) -> None:
        self.step, self.number, self.sent = step, number, False

    def progress(self, progress: Progress) -> None:
        if progress.step >= self.step and not self.sent:
            self.sent = True
            signal.raise_signal(self.number)
