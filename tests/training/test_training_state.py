"""The state of a training: what comes back from its file goes on as if nothing had happened."""

from __future__ import annotations

import json
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from training_nets import spec
from update_formulas import NAMES

from sparsity_audit.checkpoints.safetensors_io import read_safetensors, write_safetensors
from sparsity_audit.errors import CheckpointError
from sparsity_audit.schema.spec import ZooSpec
from sparsity_audit.training.optimizers import Updater, parameter_groups
from sparsity_audit.training.state import KEY, read_state, write_state

DIGEST = "0123456789abcdef"
Training = tuple[nn.Sequential, Updater]


def training(the_spec: ZooSpec, seed: int = 1) -> Training:
    torch.manual_seed(seed)
    model = nn.Sequential(
        *(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.BatchNorm2d(6)),
        *(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.3), nn.Linear(6, 4)),
    ).to(memory_format=torch.channels_last)
    return model.train(), Updater(the_spec, parameter_groups(model, the_spec))


def trained(given: Training, start: int, end: int) -> None:
    model, updater = given
    for step in range(start, end):
        generator = torch.Generator().manual_seed(step)
        images = torch.randn(6, 3, 8, 8, generator=generator).to(memory_format=torch.channels_last)
        F.cross_entropy(model(images), torch.arange(6) % 4).backward()
        updater.step(1.0 if step < 7 else 0.1)


def everything(given: Training) -> dict[str, Any]:
    model, updater = given
    names = {parameter: name for name, parameter in model.named_parameters()}
    found: dict[str, Any] = dict(model.state_dict())
    for parameter, entries in updater.optimizer.state.items():
        found |= {f"{names[parameter]}/{key}": value for key, value in entries.items()}
    return {name: value.clone() if isinstance(value, Tensor) else value for name, value in found.items()}


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        if not isinstance(value, Tensor):
            assert value == other[name]
            continue
        assert torch.equal(value, other[name]), name
        assert (value.dtype, value.stride()) == (other[name].dtype, other[name].stride()), name


def saved(given: Training, path: Path, step: int = 5) -> None:
    write_state(path, DIGEST, step, given[0], given[1].optimizer)


def restored(given: Training, path: Path, digest: str = DIGEST) -> int:
    return read_state(path, digest, given[0], given[1].optimizer)


SETTINGS: list[tuple[str, dict[str, Any]]] = [(name, {}) for name in NAMES]
SETTINGS += [
    ("sgd", {"momentum": 0.0}),
    ("sgd", {"nesterov": True}),
    ("rmsprop", {"momentum": 0.5, "centered": True}),
    ("adagrad", {"lr_decay": 0.1}),
]


@pytest.mark.parametrize(("name", "settings"), SETTINGS)
@pytest.mark.parametrize("kind", ["l2", "wd"])
def test_a_restored_training_goes_on_bit_for_bit(
    name: str, settings: dict[str, Any], kind: str, tmp_path: Path
) -> None:
    path = tmp_path / "checkpoint.safetensors"
    the_spec = spec(name, kind, optimizer=settings)
    whole = training(the_spec)
    trained(whole, 0, 5)
    saved(whole, path)
    at_five = everything(whole)
    trained(whole, 5, 10)

    other = training(the_spec, seed=99)
    trained(other, 20, 22)  # a state of its own, which must be gone
    assert restored(other, path) == 5
    assert_same(everything(other), at_five)
    trained(other, 5, 10)
    assert_same(everything(other), everything(whole))
    assert other[0][0].weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("name", NAMES)
def test_what_an_optimizer_keeps_lies_as_the_weights_do(name: str, tmp_path: Path) -> None:
    """Fused kernels walk through both in memory order: another layout would mix them up silently."""
    the_spec = spec(name)
    given = training(the_spec)
    trained(given, 0, 2)
    saved(given, tmp_path / "s")
    other = training(the_spec, seed=2)
    restored(other, tmp_path / "s")
    kept = 0
    for parameter, entries in other[1].optimizer.state.items():
        for value in entries.values():
            if isinstance(value, Tensor) and value.dim():
                assert value.stride() == parameter.stride()
                kept += 1
    assert kept >= len(list(other[0].parameters()))


def test_a_state_before_the_first_step_is_one_too(tmp_path: Path) -> None:
    the_spec = spec("adam", "l2")
    given = training(the_spec)
    saved(given, tmp_path / "s", step=0)
    trained(given, 0, 3)
    other = training(the_spec, seed=3)
    trained(other, 0, 1)
    assert restored(other, tmp_path / "s") == 0
    assert not other[1].optimizer.state
    trained(other, 0, 3)
    assert_same(everything(other), everything(given))


def test_dropouts_chance_comes_back_and_writing_does_not_use_it(tmp_path: Path) -> None:
    given = training(spec("sgd"))
    torch.manual_seed(17)
    torch.rand(3)
    before = torch.get_rng_state()
    saved(given, tmp_path / "s")
    assert torch.equal(torch.get_rng_state(), before)
    expected = torch.rand(5)
    torch.manual_seed(0)
    restored(given, tmp_path / "s")
    assert torch.equal(torch.rand(5), expected)


def test_tied_weights_are_kept_once_and_stay_tied(tmp_path: Path) -> None:
    def tied() -> Training:
        model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
        model[1].weight = model[0].weight
        return model, Updater(spec("adam"), parameter_groups(model, spec("adam")))

    def step(given: Training) -> None:
        given[0](torch.eye(4)).square().sum().backward()
        given[1].step(1.0)

    one, other = tied(), tied()
    step(one)
    saved(one, tmp_path / "s")
    restored(other, tmp_path / "s")
    for given in (one, other):
        step(given)
    assert_same(everything(other), everything(one))
    assert other[0][1].weight is other[0][0].weight


def test_names_in_the_file_are_those_of_the_format(tmp_path: Path) -> None:
    given = training(spec("adam"))
    trained(given, 0, 1)
    saved(given, tmp_path / "s")
    tensors, metadata = read_safetensors(tmp_path / "s")
    assert {name for name in tensors if name.startswith("model/")} == {
        f"model/{name}" for name in given[0].state_dict()
    }
    assert {"optimizer/0.weight/exp_avg", "optimizer/0.weight/step", "chance/cpu"} <= tensors.keys()
    assert tensors["optimizer/0.weight/exp_avg"].shape == (8, 3, 3, 3)
    told = json.loads(metadata[KEY])
    assert (told["digest"], told["step"]) == (DIGEST, 5)


def refused(given: Training, path: Path, why: str, digest: str = DIGEST) -> None:
    with pytest.raises(CheckpointError, match=why) as failure:
        restored(given, path, digest)
    assert str(failure.value).startswith(str(path))
    assert "\n" not in str(failure.value)
    assert len(str(failure.value)) < 600


def test_the_state_of_another_spec_is_refused(tmp_path: Path) -> None:
    given = training(spec("adam"))
    saved(given, tmp_path / "s")
    before = everything(given)
    refused(given, tmp_path / "s", r"another spec \(digest 01234567, not fedcba98\)", digest="fedcba9876543210")
    assert_same(everything(given), before)


def test_files_that_are_no_state_are_refused(tmp_path: Path) -> None:
    given, path = training(spec("adam")), tmp_path / "checkpoint.safetensors"
    saved(given, path)
    whole = path.read_bytes()
    for length in (0, 7, 100, len(whole) - 1):
        path.write_bytes(whole[:length])
        refused(given, path, "truncated|not a valid")
    path.write_bytes(b"PK\x03\x04" + bytes(200))
    refused(given, path, "not a")
    refused(given, tmp_path / "absent", "cannot be read")
    refused(given, tmp_path, "cannot be read")
    for entry in (None, "no json", "[]", "null", "{}", '{"digest": "x", "step": "five", "numbers": {}}', '"text"'):
        write_safetensors(path, given[0].state_dict(), {} if entry is None else {KEY: entry})
        refused(given, path, "not the state of a training")


Change = Callable[[dict[str, Tensor]], object]
CHANGES: dict[str, Change] = {
    "weight missing": lambda t: t.pop("model/0.weight"),
    "weight of another shape": lambda t: t.update({"model/0.weight": torch.zeros(8, 3, 5, 5)}),
    "weight of another model": lambda t: t.update({"model/22.weight": torch.zeros(3)}),
    "moment of an unknown weight": lambda t: t.update({"optimizer/22.weight/exp_avg": torch.zeros(3)}),
    "moment of another shape": lambda t: t.update({"optimizer/0.weight/exp_avg": torch.zeros(7)}),
    "moment that would broadcast": lambda t: t.update({"optimizer/0.weight/exp_avg": torch.zeros(1)}),
    "no chance": lambda t: t.pop("chance/cpu"),
    "chance of another size": lambda t: t.update({"chance/cpu": torch.zeros(9, dtype=torch.uint8)}),
    "chance of another kind": lambda t: t.update({"chance/cpu": torch.zeros(9)}),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_states_that_do_not_fit_are_refused(change: Change, tmp_path: Path) -> None:
    given, path = training(spec("adam")), tmp_path / "checkpoint.safetensors"
    trained(given, 0, 1)
    saved(given, path)
    tensors, metadata = read_safetensors(path)
    loaded = {name: tensor.torch() for name, tensor in tensors.items()}
    change(loaded)
    write_safetensors(path, loaded, metadata)
    refused(given, path, "does not fit the model of its spec")


def test_a_state_of_another_network_is_refused(tmp_path: Path) -> None:
    saved(training(spec("adam")), tmp_path / "s")
    model = nn.Sequential(nn.Linear(3, 4))
    refused((model, Updater(spec("adam"), parameter_groups(model, spec("adam")))), tmp_path / "s", "does not fit")


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    """Make writes beyond a size fail, for root too, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_write_that_fails_leaves_the_file_of_before_and_nothing_else(tmp_path: Path) -> None:
    given, path = training(spec("adam")), tmp_path / "checkpoint.safetensors"
    trained(given, 0, 1)
    saved(given, path)
    before = path.read_bytes()
    with files_no_larger_than(len(before) // 2), pytest.raises(CheckpointError, match="cannot be written") as failure:
        saved(given, path, step=6)
    assert "\n" not in str(failure.value)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    assert restored(given, path) == 5


def test_a_state_in_no_folder_says_so(tmp_path: Path) -> None:
    given = training(spec("adam"))
    for place in (tmp_path / "absent" / "s", tmp_path):
        with pytest.raises(CheckpointError, match="cannot be written"):
            saved(given, place)
    assert list(tmp_path.iterdir()) == []


def test_a_write_that_is_interrupted_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        saved(training(spec("adam")), tmp_path / "s")
    assert list(tmp_path.iterdir()) == []
