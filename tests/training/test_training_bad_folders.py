"""Run folders that cannot be used, and state that is not this training's."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from training_runs import StopAt, spec

from sparsity_audit.checkpoints.safetensors_io import read_safetensors, write_safetensors
from sparsity_audit.errors import CheckpointError, UsageError
from sparsity_audit.training.history import History
from sparsity_audit.training.run_folder import RunFolder
from sparsity_audit.training.state import KEY
from sparsity_audit.training.train import TrainOptions, train


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    path = tmp_path / "run"
    assert train(spec(), path, listener=StopAt(60)).status == "interrupted"
    return path


def test_a_name_that_no_file_system_allows(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="File name too long"):
        RunFolder(tmp_path / ("a" * 300)).create()


def test_a_folder_that_cannot_be_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refused)  # root may look into any folder
    with pytest.raises(UsageError, match="Permission denied"):
        RunFolder(tmp_path).create()


def test_a_folder_in_which_no_lock_can_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: FileLock) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(FileLock, "acquire", refused)
    folder = RunFolder(tmp_path)
    with pytest.raises(UsageError, match=r"cannot be written to \(Permission denied\)"), folder.locked():
        pass


def test_only_what_a_run_leaves_is_swept_away(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.create()
    foreign = tmp_path / ".git" / ".a.tmp"
    foreign.parent.mkdir()
    ours = [tmp_path / ".record.json.12345678.tmp", folder.snapshots / ".step-3.safetensors.12345678.tmp"]
    for file in (foreign, *ours):
        file.touch()
    with folder.locked():
        assert [file.exists() for file in (foreign, *ours)] == [True, False, False]


@pytest.mark.parametrize("wide", [False, True])
def test_a_history_of_another_network(wide: bool, stopped: Path) -> None:
    file = stopped / "history.safetensors"
    history, other = History.load(file), History()
    for step in history.steps:
        other.add(step, {name if wide else f"{name}.x": np.ones(99, np.float32) for name in history.names})
    other.save(file)
    with pytest.raises(CheckpointError, match=r"history\.safetensors: its layers are not those"):
        train(spec(), stopped, TrainOptions(resume=True))


@pytest.mark.parametrize(("step", "told"), [(-3, "of step -3"), (121, "of step 121"), (float("inf"), "not the state")])
def test_a_checkpoint_of_a_step_that_cannot_be(step: float, told: str, stopped: Path) -> None:
    file = stopped / "checkpoint.safetensors"
    found, metadata = read_safetensors(file)
    changed = {**json.loads(metadata[KEY]), "step": step}
    write_safetensors(file, {name: tensor.torch() for name, tensor in found.items()}, {KEY: json.dumps(changed)})
    with pytest.raises(CheckpointError, match=told):
        train(spec(), stopped, TrainOptions(resume=True))
