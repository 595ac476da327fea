"""A run that was stopped, by a signal or by a full disk, and goes on: the same bits as one that never was."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from training_runs import STEPS, StopAt, assert_same, spec

from sparsity_audit.errors import UsageError
from sparsity_audit.schema.record import TrainingRecord
from sparsity_audit.specs.load import load_spec
from sparsity_audit.training.train import TrainOptions, train


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_by_a_signal_and_resumed(
    number: signal.Signals, whole: tuple[Path, TrainingRecord], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    before = signal.getsignal(number)
    record = train(spec(), folder, listener=StopAt(50, number))
    assert signal.getsignal(number) is before
    assert record.status == "interrupted"
    assert 50 <= record.steps < STEPS
    assert not (folder / "model.safetensors").exists()
    with pytest.raises(UsageError, match=rf"unfinished run \({record.steps} of {STEPS} steps\); continue.*--resume"):
        train(spec(), folder)
    resumed = train(spec(), folder, TrainOptions(resume=True))
    assert resumed.status == "finished"
    assert [(s.from_step, s.to_step) for s in resumed.sessions] == [(0, record.steps), (record.steps, STEPS)]
    for name in ("model", "history", "snapshots/step-40", "snapshots/step-100"):
        assert_same(folder / f"{name}.safetensors", whole[0] / f"{name}.safetensors")


@pytest.mark.parametrize(("name", "kind"), [("adagrad", "wd"), ("rmsprop", "l2"), ("sgd", "gamma_l1")])
def test_other_optimizers_resume_bit_for_bit(name: str, kind: str, tmp_path: Path) -> None:
    named = spec(f"optimizer.name={name}", f"regularizer.kind={kind}", "schedule.total=90")
    train(named, tmp_path / "whole")
    train(named, tmp_path / "cut", listener=StopAt(50))
    train(named, tmp_path / "cut", TrainOptions(resume=True))
    for file in ("model", "history"):
        assert_same(tmp_path / f"cut/{file}.safetensors", tmp_path / f"whole/{file}.safetensors")


def test_dropout_resumes_bit_for_bit(tmp_path: Path) -> None:
    """torchvision's squeezenet has dropout, whose chance is torch's own generator."""
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for label in ("a", "b"):
            (tmp_path / "data" / split / label).mkdir(parents=True)
            for number in range(4):
                from PIL import Image

                pixels = rng.integers(0, 255, (40, 40, 3), np.uint8)
                Image.fromarray(pixels).save(tmp_path / "data" / split / label / f"{number}.png")
    (tmp_path / "s.toml").write_text(
        """
        network = { name = "torchvision:squeezenet1_1" }
        init = { weights = "default" }
        data = { name = "imagefolder:data", resize = 36, crop = 32 }
        optimizer = { name = "sgd", lr = 1e-3 }
        regularizer = { kind = "none" }
        schedule = { unit = "epochs", total = 4 }
        batch_size = 3
        """
    )
    named = load_spec(str(tmp_path / "s.toml"))
    record = train(named, tmp_path / "whole")
    assert (record.steps_per_epoch, record.total_steps) == (3, 12)  # 3 + 3 + 2 images
    train(named, tmp_path / "cut", TrainOptions(checkpoint_seconds=0), StopAt(5))
    train(named, tmp_path / "cut", TrainOptions(resume=True))
    assert_same(tmp_path / "cut/model.safetensors", tmp_path / "whole/model.safetensors")


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import torch
from sparsity_audit.errors import CheckpointError
from sparsity_audit.specs.load import load_spec
from sparsity_audit.training.train import TrainListener, TrainOptions, train

torch.set_num_threads(int(sys.argv[2]))  # bits depend on it

class Fill(TrainListener):
    def progress(self, progress):
        if progress.step >= 60:  # from now on no file may grow beyond 10 kB, as on a disk that is full
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))

sets = ["schedule.total=120", "schedule.milestones=[80]", "observe.history_every=50", "observe.snapshots=[40, 100]"]
try:
    train(load_spec("digits-adam-l2", sets), Path(sys.argv[1]), TrainOptions(checkpoint_seconds=0), Fill())
except CheckpointError as failure:
    print(failure)
"""


def test_a_full_disk_keeps_the_last_good_checkpoint(whole: tuple[Path, TrainingRecord], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(folder), str(torch.get_num_threads())],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.count("\n") == 1
    assert "cannot be written (File too large); the last good checkpoint is of step 59: make room, then" in done.stdout
    assert not [path.name for path in folder.rglob("*.tmp")]
    record = train(spec(), folder, TrainOptions(resume=True))
    assert record.sessions[-1].from_step == 59
    assert_same(folder / "model.safetensors", whole[0] / "model.safetensors")
