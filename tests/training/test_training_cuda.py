"""Training on an accelerator: the same run folder, nothing waited for within a step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from training_runs import STEPS, StopAt, assert_same, spec

from sparsity_audit.training.history import History
from sparsity_audit.training.loop import Loop
from sparsity_audit.training.train import TrainOptions, train

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
CUDA = TrainOptions(device="cuda")


def test_the_run_folder_is_that_of_the_cpu(tmp_path: Path) -> None:
    record = train(spec(), tmp_path / "cuda", CUDA)
    assert record.status == "finished"
    assert record.sessions[0].device == torch.cuda.get_device_name()
    assert record.steps == STEPS
    on_cpu = train(spec(), tmp_path / "cpu")
    one, other = (History.load(tmp_path / name / "history.safetensors") for name in ("cuda", "cpu"))
    assert one.steps == other.steps
    assert one.names == other.names
    first = one.series("gamma/c1.conv")[1].astype(np.float64) - other.series("gamma/c1.conv")[1].astype(np.float64)
    assert np.abs(first).max() < 0.05  # the same images in the same order: 50 steps apart by rounding only
    assert record.test is not None
    assert on_cpu.test is not None
    assert abs(record.test.error - on_cpu.test.error) < 0.1


def test_stopped_and_resumed(tmp_path: Path) -> None:
    train(spec(), tmp_path / "whole", CUDA)
    train(spec(), tmp_path / "cut", CUDA, StopAt(50))
    train(spec(), tmp_path / "cut", TrainOptions(resume=True, device="cuda"))
    for name in ("model", "history"):
        assert_same(tmp_path / f"cut/{name}.safetensors", tmp_path / f"whole/{name}.safetensors")


def test_no_step_waits_for_the_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA itself tells of every synchronisation within a step."""
    step = Loop._step

    def watched(self: Loop, number: int, images: torch.Tensor, labels: torch.Tensor) -> None:
        torch.cuda.set_sync_debug_mode("error" if number >= 5 else "default")  # the first steps allocate
        try:
            step(self, number, images, labels)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(Loop, "_step", watched)
    assert train(spec("schedule.total=100", "observe.snapshots=[]"), tmp_path / "run", CUDA).status == "finished"
