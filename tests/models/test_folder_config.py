"""What a folder's config.json says goes before detection, and is checked."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from timm_layouts import mobilenetv2_100
from torchvision import models

from sparsity_audit.checkpoints.checkpoint import Checkpoint, read_checkpoint
from sparsity_audit.checkpoints.safetensors_io import write_safetensors
from sparsity_audit.errors import ArchitectureError, CheckpointError, UsageError
from sparsity_audit.models.load import load_model

PRESET = {"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.25, 1], "input_size": [3, 96, 96]}


def folder(path: Path, state: dict[str, torch.Tensor], config: object) -> Checkpoint:
    write_safetensors(path / "model.safetensors", state)
    (path / "config.json").write_text(json.dumps(config))
    return read_checkpoint(path)


def small() -> dict[str, torch.Tensor]:
    return models.shufflenet_v2_x0_5(num_classes=3).state_dict()


@pytest.mark.parametrize("config", [{"pretrained_cfg": PRESET}, PRESET, {"pretrained_cfg": PRESET, "mean": "ignored"}])
def test_preprocessing_goes_before_the_published_one(config: dict[str, Any], tmp_path: Path) -> None:
    for arch in (None, "torchvision:shufflenet_v2_x0_5"):
        known = load_model(folder(tmp_path, small(), config), arch).architecture
        assert known.normalisation is not None
        assert (known.normalisation.mean, known.normalisation.std) == (PRESET["mean"], PRESET["std"])
        assert known.input_shape == (3, 96, 96)


@pytest.mark.parametrize(
    "config",
    [{}, {"architectures": ["ResNetForImageClassification"], "model_type": "resnet"}, {"architecture": "my_net"}],
)
def test_a_config_that_names_no_known_network_leaves_it_to_detection(config: dict[str, Any], tmp_path: Path) -> None:
    known = load_model(folder(tmp_path, small(), config)).architecture
    assert (known.name, known.how, known.classes) == ("torchvision:shufflenet_v2_x0_5", "detected", 3)
    assert known.input_shape == (3, 224, 224)


def test_torchvisions_names_apply_where_timm_has_none(tmp_path: Path) -> None:
    known = load_model(folder(tmp_path, small(), {"architecture": "shufflenet_v2_x0_5"})).architecture
    assert (known.name, known.how, known.twins) == ("torchvision:shufflenet_v2_x0_5", "metadata", ())


def test_a_named_network_that_does_not_fit(tmp_path: Path) -> None:
    with pytest.raises(ArchitectureError, match="do not fit torchvision:shufflenet_v2_x1_5"):
        load_model(folder(tmp_path, small(), {"architecture": "shufflenet_v2_x1_5"}))


def test_without_timm_its_networks_ask_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UsageError, match=r"network 'timm:mobilenetv2_100' needs the optional package timm"):
        load_model(folder(tmp_path, mobilenetv2_100(4), {"architecture": "mobilenetv2_100"}))


@pytest.mark.parametrize(
    ("config", "entry"),
    [
        ({"architecture": 3}, "architecture"),
        ({"architecture": "resnet50\n"}, "architecture"),
        ({"num_classes": "ten"}, "num_classes"),
        ({"num_classes": 0}, "num_classes"),
        ({"mean": "x", "std": [1]}, "mean, std"),
        ({"mean": [0, 0, 0], "std": [1, 1, 0]}, "mean, std"),
        ({"mean": [0, 0, 0], "std": [1]}, "mean, std"),
        ({"input_size": [3, 224]}, "input_size"),
        ({"pretrained_cfg": {"input_size": [3, 224, -1]}}, "input_size"),
        ({"model_args": [1]}, "model_args"),
        ({"model_args": {"pretrained": True}}, "model_args"),
        ({"model_args": {"checkpoint_path": "/tmp/evil.pt"}}, "model_args"),  # noqa: S108 (nothing is opened)
    ],
)
def test_unusable_entries(config: dict[str, Any], entry: str, tmp_path: Path) -> None:
    checkpoint = folder(tmp_path, {"a": torch.zeros(1)}, config)
    with pytest.raises(CheckpointError) as failure:
        load_model(checkpoint)
    assert str(failure.value).startswith(f"{tmp_path}: config.json is unusable ({entry}: ")
    assert str(failure.value).isprintable()


def test_a_folder_of_timm(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm", reason="timm, an optional extra, is not installed")
    torch.manual_seed(0)
    # An argument that the tensors do not show: LeakyReLU in place of ReLU.
    original = timm.create_model("resnet18", num_classes=7, act_layer="leaky_relu").eval()
    config = {
        "architecture": "resnet18",
        "num_classes": 7,
        "model_args": {"act_layer": "leaky_relu"},
        "pretrained_cfg": PRESET,
    }
    loaded = load_model(folder(tmp_path, original.state_dict(), config))
    known = loaded.architecture
    assert (known.name, known.how, known.classes, known.input_shape) == ("timm:resnet18", "metadata", 7, (3, 96, 96))
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(loaded.module(images), original(images))


def test_arguments_that_timm_does_not_take(tmp_path: Path) -> None:
    pytest.importorskip("timm", reason="timm, an optional extra, is not installed")
    config = {"architecture": "mobilenetv2_100", "model_args": {"no_such": 1}}
    with pytest.raises(ArchitectureError, match=r"timm cannot build 'timm:mobilenetv2_100': .*no_such"):
        load_model(folder(tmp_path, mobilenetv2_100(4), config))
