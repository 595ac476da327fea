"""kill -9 at any moment, then --resume: the same weights, bit for bit, as if nothing had happened."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sparsity_audit.checkpoints.safetensors_io import read_safetensors
from sparsity_audit.schema.record import TrainingRecord

# A process that has torch loaded forks one child for each life of the run, so that a life costs no start-up. The
# parent never computes: a forked child could not use the threads that it had started.
DRIVER = """
import os, random, signal, sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
from sparsity_audit.specs.load import load_spec
import sparsity_audit.training.train as training
import sparsity_audit.data.digits, sklearn.datasets, sklearn.model_selection

folder, seed, kills, every = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
named = load_spec("digits-amsgrad-l2", sys.argv[5:])
options = training.TrainOptions(resume=True, checkpoint_seconds=every)
chance = random.Random(seed)

class Tell(training.TrainListener):
    def __init__(self, pipe):
        self.pipe = pipe
    def started(self, record, step):
        os.write(self.pipe, b"s")

def live():
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            training.train(named, folder, options, Tell(write))
        finally:
            os._exit(0)
    os.close(write)
    return child, read

for _ in range(kills):
    child, pipe = live()
    os.read(pipe, 1)  # until the first step
    time.sleep(chance.uniform(0.0, 0.3))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(pipe)
child, pipe = live()
os.waitpid(child, 0)
"""
SETS = [
    "schedule.total=600",
    "schedule.milestones=[400]",
    "observe.history_every=40",
    "observe.snapshots=[100, 500]",
]


def drive(folder: Path, kills: int, every: float) -> TrainingRecord:
    arguments = [sys.executable, "-c", DRIVER, str(folder), "0", str(kills), str(every), *SETS]
    subprocess.run(arguments, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    return TrainingRecord.model_validate_json((folder / "record.json").read_text())


def contents(folder: Path) -> dict[str, np.ndarray]:
    return {
        f"{path.relative_to(folder)}:{name}": tensor.numpy()
        for path in sorted(folder.rglob("*.safetensors"))
        for name, tensor in read_safetensors(path)[0].items()
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert drive(folder, 0, 30.0).status == "finished"
    return contents(folder)


@pytest.mark.parametrize(
    ("kills", "every"),
    [
        pytest.param(2, 0.0, id="twice"),
        pytest.param(10, 0.0, id="ten times, a checkpoint after every step", marks=pytest.mark.slow),
        pytest.param(10, 0.1, id="ten times, a checkpoint now and then", marks=pytest.mark.slow),
    ],
)
def test_killed_at_random_moments(kills: int, every: float, whole: dict[str, np.ndarray], tmp_path: Path) -> None:
    """With a checkpoint after every step, most kills fall into the writing of one."""
    folder = tmp_path / "run"
    record = drive(folder, kills, every)
    assert record.status == "finished"
    assert record.sessions[-1].from_step > 0  # it did go on from a checkpoint
    found = contents(folder)
    assert found.keys() == whole.keys()
    assert all(np.array_equal(found[name], value) for name, value in whole.items())
    assert not (folder / "checkpoint.safetensors").exists()
    assert not list(folder.rglob("*.tmp"))  # what a kill left half-written was swept up
