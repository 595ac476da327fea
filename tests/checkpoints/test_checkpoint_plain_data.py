"""Lightning's and other trainers' files: plain data beside the weights are let through, and nothing of them runs."""

from __future__ import annotations

import argparse
import pickle
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from pathlib import Path, PureWindowsPath
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from sparsity_audit.checkpoints.checkpoint import read_checkpoint
from sparsity_audit.checkpoints.plain_data import PlainData
from sparsity_audit.errors import UntrustedCodeError

WEIGHTS = OrderedDict({"model.conv.weight": torch.ones(2, 1, 3, 3), "model.bn.weight": torch.arange(2.0)})


def lightning(hyper_parameters: Any) -> dict[str, Any]:
    """Return what Lightning's Trainer.save_checkpoint hands to torch.save."""
    return {
        "epoch": 3,
        "global_step": 120,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": WEIGHTS,
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 4}}}},
        "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_model_score": torch.tensor(0.5)}},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 0.1}]}],
        "lr_schedulers": [],
        "hparams_name": "kwargs",
        "hyper_parameters": hyper_parameters,
    }


PLAIN = {
    "numbers": {"lr": 0.1},
    "numpy scalar": np.float64(0.93),
    "numpy float32": np.float32(2),
    "numpy int64": np.int64(7),
    "numpy bool": np.bool_(1),
    "numpy dtype": np.dtype("float32"),
    "numpy array": np.arange(5),
    "namespace": argparse.Namespace(lr=0.1, out=Path("runs"), best=np.float64(1)),
    "path": Path("runs/1"),
    "windows path": PureWindowsPath("c:/runs"),
    "defaultdict": defaultdict(list, {"loss": [0.3, np.float64(0.2)]}),
    "defaultdict of dicts": defaultdict(dict, {"a": {"b": 1}}),
    "deque": deque([0.3, 0.2], maxlen=20),
    "counter": Counter("aab"),
}


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("what", PLAIN)
def test_plain_data_beside_the_weights(what: str, legacy: bool, tmp_path: Path) -> None:
    path = tmp_path / "epoch=3-step=120.ckpt"
    torch.save(lightning({"value": PLAIN[what]}), path, _use_new_zipfile_serialization=not legacy)
    found = read_checkpoint(path)
    assert (found.nested, found.prefix, list(found.tensors)) == ("state_dict", "model.", ["conv.weight", "bn.weight"])
    assert found.tensors["bn.weight"].numpy().tolist() == [0, 1]
    assert "hyper_parameters" in found.ignored


@pytest.mark.parametrize(
    "module",
    ["lightning.fabric.utilities.data", "lightning_fabric.utilities.data", "pytorch_lightning.utilities.parsing"],
)
def test_lightnings_own_dict_needs_no_lightning(module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = type("AttributeDict", (dict,), {"__module__": module})
    path = tmp_path / "last.ckpt"
    with monkeypatch.context() as patch:
        for part in (module[:end] for end in range(len(module) + 1) if module[end : end + 1] in (".", "")):
            patch.setitem(sys.modules, part, ModuleType(part))
        vars(sys.modules[module])["AttributeDict"] = kind
        torch.save(lightning(kind(lr=0.1, width=np.int64(3))), path)
    assert module not in sys.modules
    assert list(read_checkpoint(path).tensors) == ["conv.weight", "bn.weight"]


class Own:
    """A user's class, of which nobody knows what its construction does."""


@pytest.mark.parametrize(
    "value", [Own(), [np.float64(1), Own()], argparse.Namespace(model=Own()), np.random.default_rng]
)
def test_everything_else_is_refused_by_name(value: Any, tmp_path: Path) -> None:
    torch.save(lightning({"value": value}), tmp_path / "last.ckpt")
    with pytest.raises(UntrustedCodeError, match=r"last\.ckpt: loading it would import and run \S+(Own|default_rng); "):
        read_checkpoint(tmp_path / "last.ckpt")


def test_no_real_class_is_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A state that would turn numpy's own float64 round for the whole process, were it numpy that took it.
    class Turn:
        def __reduce__(self) -> tuple[Any, ...]:
            return np.dtype, ("f8",), (3, ">", None, None, None, -1, -1, 0)

    def fails(*_: object) -> None:
        raise AssertionError("run")

    monkeypatch.setattr(argparse.Namespace, "__setstate__", fails, raising=False)
    path = tmp_path / "last.ckpt"
    torch.save(lightning({"a": Turn(), "b": argparse.Namespace(x=1)}), path)
    assert len(read_checkpoint(path).tensors) == 2
    assert np.dtype("f8").isnative


def test_the_allowance_ends_with_the_reading(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    torch.save(lightning({"value": np.float64(1)}), path)
    read_checkpoint(path)
    assert not any(
        PlainData in (entry if isinstance(entry, tuple) else ()) for entry in torch.serialization.get_safe_globals()
    )
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)
