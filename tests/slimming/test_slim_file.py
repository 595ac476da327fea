"""Slim files: the tensors of networks of every source come back bit for bit, through the ordinary loader."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from small_networks import planted
from torch import nn

from sparsity_audit import Corpus, audit
from sparsity_audit.checkpoints.checkpoint import read_checkpoint
from sparsity_audit.checkpoints.safetensors_io import read_safetensors, write_safetensors
from sparsity_audit.errors import ArchitectureError, CheckpointError, UsageError
from sparsity_audit.models.load import load_model
from sparsity_audit.models.metadata import KEY
from sparsity_audit.models.registry import build_network, build_torchvision
from sparsity_audit.schema.spec import NetworkSpec, Normalisation
from sparsity_audit.slimming.api import prune_model
from sparsity_audit.slimming.session import Pruned, PruneOptions

CLASSES = 4


def corpus(side: int = 32, count: int = 24) -> Corpus:
    pixels = np.random.RandomState(0).randint(0, 256, (count, side, side, 3)).astype(np.uint8)
    normalisation = Normalisation(mean=[0.5] * 3, std=[0.25] * 3)
    names = ["cat", "dog", "<b>", "frog"]
    return Corpus.from_arrays(pixels, np.arange(count) % CLASSES, class_names=names, normalisation=normalisation)


def planted_in(module: nn.Module) -> nn.Module:
    """Make two filters of every batch norm with more than four dead, one of them constant; values are random else."""
    torch.manual_seed(1)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.weight.data.uniform_(0.5, 1.5)
            part.running_var.data.uniform_(0.5, 2.0)  # type: ignore[union-attr, operator]
            if part.num_features > 4:
                part.weight.data[[0, 3]] = 0.0
                part.bias.data[0], part.bias.data[3] = -0.5, 0.25
    return module.eval()


def file_of(module: nn.Module, path: Path) -> Path:
    write_safetensors(path, module.state_dict())
    return path


def pruned(path: Path, side: int = 32, **options: object) -> Pruned:
    return prune_model(path, corpus(side), PruneOptions(latency=False, scatter="always"), **options)


def check(result: Pruned, target: Path, side: int = 32, **options: object) -> nn.Module:
    """Save a slim network, load it again, and return what was loaded after comparing both."""
    assert result.slim is not None
    assert sum(len(layer.removed) for layer in result.report.plan.layers) > 0
    result.save(target)
    again = load_model(read_checkpoint(target), **options).module  # type: ignore[arg-type]
    images = torch.randn(3, 3, side, side)
    with torch.inference_mode():
        # Where tensors lie in memory decides which kernels run, and so the last digits of what comes out.
        torch.testing.assert_close(again(images), result.slim.module(images), rtol=1e-4, atol=1e-4)
    written, read = result.slim.module.state_dict(), again.state_dict()
    assert all(torch.equal(written[name], value) for name, value in read.items())
    return again


@pytest.mark.parametrize("name", ["resnet20", "vgg11"])
def test_zoo_networks(name: str, tmp_path: Path) -> None:
    head = {} if name == "resnet20" else {"head": [16]}
    module = planted_in(build_network(NetworkSpec(name=name, **head), 3, CLASSES))  # type: ignore[arg-type]
    path = file_of(module, tmp_path / "model.safetensors")
    check(pruned(path), tmp_path / "slim.safetensors")
    metadata = json.loads(read_safetensors(tmp_path / "slim.safetensors")[1][KEY])
    assert metadata["network"]["name"] == name
    assert metadata["classes"] == ["cat", "dog", "<b>", "frog"]
    assert metadata["slim"]["original_sha256"] == read_checkpoint(path).sha256
    report = audit(tmp_path / "slim.safetensors", corpus(), rules=["default"])
    widths = {layer.key: layer.filters for layer in report.models[0].layers}
    assert widths == metadata["slim"]["widths"]


def test_torchvision_and_a_second_pruning(tmp_path: Path) -> None:
    module = planted_in(build_torchvision("resnet18", 3, CLASSES))
    path = file_of(module, tmp_path / "model.safetensors")
    first = check(pruned(path), tmp_path / "slim.safetensors")
    for part in first.modules():  # a slim network can lose more filters
        if isinstance(part, nn.BatchNorm2d) and part.num_features > 8:
            part.weight.data[1], part.bias.data[1] = 0.0, 0.0
    tensors, metadata = first.state_dict(), read_safetensors(tmp_path / "slim.safetensors")[1]
    write_safetensors(tmp_path / "again.safetensors", tensors, metadata)
    result = prune_model(tmp_path / "again.safetensors", corpus(), PruneOptions(latency=False))
    check(result, tmp_path / "slimmer.safetensors")


def test_heads_for_training_are_left_out(tmp_path: Path) -> None:
    module = planted_in(build_torchvision("googlenet", 3, CLASSES, auxiliary=True))
    path = file_of(module, tmp_path / "model.safetensors")
    check(pruned(path, 64), tmp_path / "slim.safetensors", 64)
    assert not [name for name in read_safetensors(tmp_path / "slim.safetensors")[0] if name.startswith("aux")]


def test_networks_of_timm(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    module = planted_in(timm.create_model("resnet10t", num_classes=CLASSES))
    path = file_of(module, tmp_path / "model.safetensors")
    check(pruned(path, 64, arch="timm:resnet10t"), tmp_path / "slim.safetensors", 64)


def test_networks_of_a_factory_need_it_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    path = file_of(planted(), tmp_path / "model.safetensors")
    options = {"arch": "python:small_networks:Plain", "trust_code": True}
    result = prune_model(path, corpus(12), PruneOptions(latency=False), **options)  # type: ignore[arg-type]
    check(result, tmp_path / "slim.safetensors", 12, **options)
    with pytest.raises(ArchitectureError, match="--arch python:small_networks:Plain --trust-code"):
        load_model(read_checkpoint(tmp_path / "slim.safetensors"))


def test_bad_slim_files_are_refused_in_one_line(tmp_path: Path) -> None:
    module = planted_in(build_network(NetworkSpec(name="resnet20"), 3, CLASSES))
    path = file_of(module, tmp_path / "model.safetensors")
    result = pruned(path)
    result.save(tmp_path / "slim.safetensors")
    tensors, metadata = read_safetensors(tmp_path / "slim.safetensors")
    values = {name: tensor.torch() for name, tensor in tensors.items()}
    for name, value, error in (
        ("layer1.0.conv1.extra", torch.zeros(3), "layer1.0.conv1.extra"),
        ("layer1.0.conv1.weight", torch.zeros(3), "layer1.0.conv1.weight"),
        ("linear.scatter_index", torch.zeros(3, dtype=torch.int64), "linear.scatter_index"),
    ):
        write_safetensors(tmp_path / "bad.safetensors", {**values, name: value}, metadata)
        with pytest.raises(ArchitectureError, match=error):
            load_model(read_checkpoint(tmp_path / "bad.safetensors"))
    content = json.loads(metadata[KEY])
    content["slim"]["groups"] = {"layer1.0.conv1": 0}
    write_safetensors(tmp_path / "bad.safetensors", values, {KEY: json.dumps(content)})
    with pytest.raises(CheckpointError, match=r"slim\.groups"):
        load_model(read_checkpoint(tmp_path / "bad.safetensors"))


def test_nothing_is_written_where_nothing_goes_or_the_folder_is_missing(tmp_path: Path) -> None:
    module = build_network(NetworkSpec(name="resnet20"), 3, CLASSES).eval()
    path = file_of(module, tmp_path / "model.safetensors")
    result = pruned(path)
    with pytest.raises(UsageError, match="no lossless filter can go"):
        result.save(tmp_path / "slim.safetensors")
    dead = pruned(file_of(planted_in(module), path))
    with pytest.raises(CheckpointError, match="cannot be written"):
        dead.save(tmp_path / "absent" / "slim.safetensors")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["model.safetensors"]
