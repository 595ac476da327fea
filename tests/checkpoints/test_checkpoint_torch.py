"""State dicts as trainers leave them: nested, wrapped, beside other things; odd tensors handled or named."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch

from sparsity_audit.checkpoints.checkpoint import Checkpoint, read_checkpoint
from sparsity_audit.checkpoints.torch_io import NEST_KEYS
from sparsity_audit.errors import CheckpointError

WEIGHTS = {"conv.weight": torch.ones(2, 1, 3, 3), "bn.weight": torch.ones(2)}


def saved(value: Any, path: Path) -> Checkpoint:
    torch.save(value, path)
    return read_checkpoint(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.pt"


@pytest.mark.parametrize("key", NEST_KEYS)
def test_usual_keys(key: str, path: Path) -> None:
    checkpoint = saved({"epoch": 3, key: WEIGHTS, "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}}}, path)
    assert list(checkpoint.tensors) == list(WEIGHTS)
    assert checkpoint.nested == key
    assert checkpoint.ignored == ("epoch", "optimizer")


def test_first_of_the_usual_keys_wins_and_the_other_is_named(path: Path) -> None:
    ema = {name: value * 2 for name, value in WEIGHTS.items()}
    checkpoint = saved({"state_dict_ema": ema, "state_dict": WEIGHTS}, path)
    assert (checkpoint.nested, checkpoint.ignored) == ("state_dict", ("state_dict_ema",))
    assert checkpoint.tensors["bn.weight"].numpy().tolist() == [1, 1]


def test_a_usual_key_without_tensors_is_passed_over(path: Path) -> None:
    assert saved({"model": {"name": "x"}, "net": WEIGHTS}, path).nested == "net"


def test_a_flat_state_dict_wins_over_a_small_nested_dict(path: Path) -> None:
    checkpoint = saved({**WEIGHTS, "meta": {"mean": torch.zeros(3)}, "classes": ["a"]}, path)
    assert (checkpoint.nested, checkpoint.ignored) == (None, ("meta", "classes"))


def test_a_metric_kept_as_a_tensor_does_not_hide_the_state_dict(path: Path) -> None:
    checkpoint = saved({"best_acc1": torch.tensor(73.1), "state_dict": WEIGHTS}, path)
    assert (checkpoint.nested, checkpoint.ignored) == ("state_dict", ("best_acc1",))


def test_dicts_within_dicts(path: Path) -> None:
    checkpoint = saved({"meta": {"state_dict": WEIGHTS, "note": "x"}, "epoch": 1}, path)
    assert (checkpoint.nested, checkpoint.ignored) == ("meta.state_dict", ("epoch", "meta.note"))


def test_a_single_unusual_key(path: Path) -> None:
    assert saved({"generator": WEIGHTS, "args": {"lr": 0.1}}, path).nested == "generator"


def test_two_unusual_keys_are_ambiguous(path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"model\.pt: several dicts of tensors \(generator, critic\)"):
        saved({"generator": WEIGHTS, "critic": WEIGHTS}, path)


def test_a_dict_that_holds_itself_ends(path: Path) -> None:
    loop: dict[str, Any] = {"epoch": 1}
    loop["model"] = loop
    with pytest.raises(CheckpointError, match="no tensors"):
        saved(loop, path)
    loop["net"] = WEIGHTS
    with pytest.raises(CheckpointError, match="no tensors"):
        saved(loop, path)


def test_odd_but_plain_tensors(path: Path) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    state: OrderedDict[str, torch.Tensor] = OrderedDict(
        parameter=torch.nn.Parameter(base.clone()),
        transposed=base.T,
        part=base[1],
        expanded=base[0, :1].expand(5),
        scalar=torch.tensor(2.5),
        empty=torch.zeros(0),
        channels_last=torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last),
        negated=torch.imag(torch.tensor([1 + 2j]).conj()),
    )
    checkpoint = saved(state, path)
    for name, value in state.items():
        assert torch.equal(checkpoint.tensors[name].torch(), value), name
    assert checkpoint.tensors["part"].data.nbytes == 16


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (torch.eye(3).to_sparse(), "is not dense (sparse_coo)"),
        (torch.ones(3, dtype=torch.complex64), "is complex64, which is not supported"),
        (torch.ones(1).expand(1 << 50), "does not fit into memory (4,503,599,627,370,496 bytes)"),
        (torch.ones(3, device="meta"), "has no data (device meta)"),
        (torch.ones(3).to(torch.float8_e4m3fnuz), "is float8_e4m3fnuz, which is not supported"),
    ],
)
def test_tensors_that_cannot_be_read_are_named(value: torch.Tensor, problem: str, path: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        saved({**WEIGHTS, "odd.weight": value}, path)
    assert f"{path}: tensor 'odd.weight' {problem}" in str(caught.value)


@pytest.mark.filterwarnings("ignore")
def test_quantised_tensors_are_named(path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"tensor 'q' is qint8, .* dequantise"):
        saved({"q": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)}, path)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"epoch": 3, "lr": 0.1}, r"holds no tensors by name \(keys: epoch, lr\)"),
        ({}, r"holds no tensors by name \(keys: none\)"),
        (torch.ones(3), "holds a Tensor, not a dict of named tensors"),
        ([torch.ones(3)], "holds a list, not a dict of named tensors"),
        ({0: torch.ones(3)}, r"tensor names must be text, found 0 \(int\)"),
        ({"state_dict": {("a",): torch.ones(3)}}, r"tensor names must be text, found \('a',\) \(tuple\)"),
    ],
)
def test_files_without_named_tensors(value: Any, message: str, path: Path) -> None:
    with pytest.raises(CheckpointError, match=message) as caught:
        saved(value, path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
