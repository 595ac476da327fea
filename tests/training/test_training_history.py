"""γ and β over time: in memory, in the file, and after a resume."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from sparsity_audit.checkpoints.safetensors_io import read_safetensors, write_safetensors
from sparsity_audit.errors import CheckpointError
from sparsity_audit.training.history import History

KEYS = ["gamma/c1.conv", "beta/c1.conv", "gamma/c2.conv"]


def point(step: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(step)
    return {key: rng.standard_normal(5 if "c1" in key else 3).astype(np.float32) for key in KEYS}


def history_of(*steps: int) -> History:
    history = History()
    for step in steps:
        history.add(step, point(step))
    return history


def assert_holds(history: History, *steps: int) -> None:
    assert history.steps == list(steps)
    assert len(history) == len(steps)
    assert set(history.names) == (set(KEYS) if steps else set())
    for name in history.names:
        expected = np.array([point(step)[name] for step in steps])
        assert history.series(name).dtype == np.float32
        np.testing.assert_array_equal(history.series(name), expected)


def test_a_history_holds_what_was_added() -> None:
    assert_holds(history_of(0, 50, 120), 0, 50, 120)
    assert_holds(History())
    with pytest.raises(KeyError):
        history_of(0).series("gamma/c9.conv")


def test_points_are_copies() -> None:
    """The values are views of parameters that training goes on to change."""
    values = point(0)
    history = History()
    history.add(0, values)
    for value in values.values():
        value[:] = 9.0
    assert_holds(history, 0)


@pytest.mark.parametrize("steps", [(), (0,), (0, 10, 11, 500)])
def test_a_file_gives_it_back(steps: tuple[int, ...], tmp_path: Path) -> None:
    path = tmp_path / "history.safetensors"
    history_of(*steps).save(path)
    read = History.load(path)
    assert_holds(read, *steps)
    read.add(1000, point(1000))  # and it goes on
    assert_holds(read, *steps, 1000)
    read.save(path)
    assert_holds(History.load(path), *steps, 1000)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_the_file_is_as_the_format_says(tmp_path: Path) -> None:
    path = tmp_path / "history.safetensors"
    history_of(0, 7).save(path)
    tensors, _ = read_safetensors(path)
    shapes = {name: (tensor.dtype, tensor.shape) for name, tensor in tensors.items()}
    assert shapes == {
        "step": ("I64", (2,)),
        "gamma/c1.conv": ("F32", (2, 5)),
        "beta/c1.conv": ("F32", (2, 5)),
        "gamma/c2.conv": ("F32", (2, 3)),
    }


def test_other_numbers_than_affine_ones_come_back_too(tmp_path: Path) -> None:
    """Monitors write scalars and counts beside γ and β."""
    history = History()
    for step in (1, 2):
        history.add(step, {"dead": np.int64(step), "selectivity": np.float64(0.1 * step), "none": np.zeros(0)})
    history.save(tmp_path / "h")
    read = History.load(tmp_path / "h")
    assert read.series("dead").tolist() == [1, 2]
    assert read.series("selectivity").tolist() == [0.1, 0.2]
    assert read.series("none").shape == (2, 0)
    read.add(3, {"dead": np.int64(3), "selectivity": np.float64(0.3), "none": np.zeros(0)})
    assert read.series("dead").tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("step", "kept"),
    [(-1, ()), (0, (0,)), (9, (0,)), (10, (0, 10)), (25, (0, 10, 20)), (30, (0, 10, 20, 30)), (99, (0, 10, 20, 30))],
)
def test_truncating_forgets_what_comes_after(step: int, kept: tuple[int, ...]) -> None:
    history = history_of(0, 10, 20, 30)
    history.truncate(step)
    assert_holds(history, *kept)
    history.add(100, point(100))
    assert_holds(history, *kept, 100)


@pytest.mark.parametrize("step", [20, 19, 0, -5])
def test_steps_rise(step: int) -> None:
    history = history_of(0, 20)
    with pytest.raises(ValueError, match=f"step {step} does not come after step 20"):
        history.add(step, point(1))
    assert_holds(history, 0, 20)


def test_series_stay_the_same() -> None:
    history = history_of(0)
    fewer = {key: value for key, value in point(5).items() if key != KEYS[1]}
    for values in (fewer, {**point(5), "gamma/c3.conv": np.zeros(2)}, {}):
        with pytest.raises(ValueError, match="not those of before"):
            history.add(5, values)
    assert_holds(history, 0)


STEP = np.array([0, 5], np.int64)
NOT_A_HISTORY = {
    "no step": {"gamma/a": np.zeros((2, 3))},
    "step of two dimensions": {"step": STEP[:, None], "gamma/a": np.zeros((2, 3))},
    "a single step": {"step": np.array(3), "gamma/a": np.zeros((2, 3))},
    "too short a series": {"step": STEP, "gamma/a": np.zeros((1, 3))},
    "too long a series": {"step": STEP, "gamma/a": np.zeros((2, 3)), "beta/a": np.zeros((3, 3))},
    "a series without time": {"step": STEP, "gamma/a": np.array(1.0)},
    "steps that fall": {"step": STEP[::-1].copy(), "gamma/a": np.zeros((2, 3))},
    "steps that stand": {"step": np.array([5, 5], np.int64), "gamma/a": np.zeros((2, 3))},
    "fractions of steps": {"step": np.array([0.0, np.nan]), "gamma/a": np.zeros((2, 3))},
}


@pytest.mark.parametrize("tensors", NOT_A_HISTORY.values(), ids=NOT_A_HISTORY)
def test_files_that_are_no_history(tensors: dict[str, np.ndarray], tmp_path: Path) -> None:
    path = tmp_path / "history.safetensors"
    write_safetensors(path, tensors)
    refused(path, "not a history")


def refused(path: Path, why: str) -> None:
    with pytest.raises(CheckpointError, match=why) as failure:
        History.load(path)
    assert str(failure.value).startswith(str(path))
    assert "\n" not in str(failure.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "history.safetensors"
    history_of(0, 5).save(path)
    whole = path.read_bytes()
    for length in (0, 4, 8, 60, len(whole) - 1):
        path.write_bytes(whole[:length])
        refused(path, "truncated|not a valid")
    path.write_bytes(json.dumps({"step": [0, 5]}).encode())
    refused(path, "not a")
    refused(tmp_path / "absent", "cannot be read")
    refused(tmp_path, "cannot be read")


def test_a_history_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("here first")
    with pytest.raises(CheckpointError, match="cannot be written") as failure:
        history_of(0).save(file / "history.safetensors")
    assert "\n" not in str(failure.value)
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
