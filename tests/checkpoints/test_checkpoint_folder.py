"""Folders as Hugging Face and timm write them: whole, in shards, and in everything that can be wrong with them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from sparsity_audit.checkpoints.checkpoint import read_checkpoint
from sparsity_audit.errors import CheckpointError, UntrustedCodeError

ARRAYS = {
    "conv.weight": np.arange(54, dtype=np.float32).reshape(2, 3, 3, 3),
    "bn.weight": np.array([1, -2], dtype=np.float32),
    "bn.bias": np.array([3, 4], dtype=np.float16),
}
SHARDS = {
    "model-00001-of-00002.safetensors": ["bn.weight", "conv.weight"],
    "model-00002-of-00002.safetensors": ["bn.bias"],
}


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value))


def shard(folder: Path, prefix: str = "") -> dict[str, str]:
    """Write the arrays as two shards with their index, and return its weight map."""
    weight_map = {}
    for file, names in SHARDS.items():
        save_file({prefix + name: ARRAYS[name] for name in names}, folder / file, {"format": "pt"})
        weight_map |= {prefix + name: file for name in names}
    write_json(folder / "model.safetensors.index.json", {"metadata": {"total_size": 232}, "weight_map": weight_map})
    return weight_map


def remap(folder: Path, weight_map: object) -> None:
    write_json(folder / "model.safetensors.index.json", {"weight_map": weight_map})


def refusal(folder: Path, kind: type[CheckpointError] = CheckpointError) -> str:
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(folder)
    message = str(caught.value)
    assert type(caught.value) is kind
    assert message.startswith(str(folder))
    assert message.isprintable()
    return message.removeprefix(str(folder))


@pytest.mark.parametrize("prefix", ["", "model."])
def test_all_ways_to_store_the_same_weights_have_one_digest(prefix: str, tmp_path: Path) -> None:
    whole, sharded, pickled = (tmp_path / name for name in ("whole", "sharded", "pickled"))
    for folder in (whole, sharded, pickled):
        folder.mkdir()
    save_file(ARRAYS, whole / "model.safetensors")
    shard(sharded, prefix)
    torch.save({name: torch.from_numpy(array) for name, array in ARRAYS.items()}, pickled / "pytorch_model.bin")
    file = read_checkpoint(whole / "model.safetensors")
    for folder, container in [(whole, "safetensors"), (sharded, "safetensors"), (pickled, "torch")]:
        found = read_checkpoint(folder)
        assert found.sha256 == file.sha256
        assert (found.path, found.container) == (folder, container)
        for name, array in ARRAYS.items():
            assert np.array_equal(found.tensors[name].numpy(), array)
    assert read_checkpoint(sharded).prefix == prefix
    assert read_checkpoint(sharded).metadata == {"format": "pt"}


def test_the_index_may_be_named_itself(tmp_path: Path) -> None:
    shard(tmp_path)
    assert set(read_checkpoint(tmp_path / "model.safetensors.index.json").tensors) == set(ARRAYS)


def test_the_config_is_kept(tmp_path: Path) -> None:
    save_file(ARRAYS, tmp_path / "model.safetensors")
    assert read_checkpoint(tmp_path).config == {}
    write_json(tmp_path / "config.json", {"architecture": "resnet50", "num_classes": 10})
    assert read_checkpoint(tmp_path).config == {"architecture": "resnet50", "num_classes": 10}
    assert read_checkpoint(tmp_path / "model.safetensors").config == {}


def test_shards_need_no_torch(tmp_path: Path) -> None:
    shard(tmp_path)
    write_json(tmp_path / "config.json", {})
    code = (
        "import sys; from pathlib import Path; from sparsity_audit.checkpoints.checkpoint import read_checkpoint as r; "
        "r(Path(sys.argv[1])).sha256; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == 0


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    shard(tmp_path)
    (tmp_path / "model-00001-of-00002.safetensors").unlink()
    assert refusal(tmp_path) == (
        "/model-00001-of-00002.safetensors: missing shard, which model.safetensors.index.json names for 2 tensors; "
        "fetch it"
    )


def test_a_truncated_shard_is_named(tmp_path: Path) -> None:
    shard(tmp_path)
    path = tmp_path / "model-00002-of-00002.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    assert refusal(tmp_path).startswith("/model-00002-of-00002.safetensors: not a valid safetensors file")


def test_a_name_in_two_shards(tmp_path: Path) -> None:
    shard(tmp_path)
    save_file({name: ARRAYS[name] for name in ("bn.bias", "bn.weight")}, tmp_path / "model-00002-of-00002.safetensors")
    assert "tensor 'bn.weight' stands in two shards, model-00001-of" in refusal(tmp_path)


def test_index_and_shards_at_odds(tmp_path: Path) -> None:
    first, second = SHARDS
    weight_map = shard(tmp_path)
    remap(tmp_path, weight_map | {"fc.weight": second})
    assert f"tensor 'fc.weight' is absent from {second}" in refusal(tmp_path)
    remap(tmp_path, {name: file for name, file in weight_map.items() if name != "conv.weight"})
    assert f"tensor 'conv.weight' of {first} is not in the index" in refusal(tmp_path)
    remap(tmp_path, weight_map | {"conv.weight": second})
    assert f"tensor 'conv.weight' should be in {second} and is in {first}" in refusal(tmp_path)


@pytest.mark.parametrize("file", ["../outside.safetensors", "a/b.safetensors", "..", "", "/etc/passwd", 3, None, "a\n"])
def test_shards_lie_in_the_folder(file: Any, tmp_path: Path) -> None:
    save_file(ARRAYS, tmp_path / "outside.safetensors")
    folder = tmp_path / "folder"
    folder.mkdir()
    remap(folder, dict.fromkeys(ARRAYS, file))
    assert "is not the name of a shard in the same folder" in refusal(folder)


@pytest.mark.parametrize("weight_map", [{}, [], None, "x"])
def test_an_index_that_names_nothing(weight_map: Any, tmp_path: Path) -> None:
    remap(tmp_path, weight_map)
    assert "has no 'weight_map'" in refusal(tmp_path)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors.index.json"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        (b"[1]", "holds a list"),
        (b"[" * 99_999, "not valid JSON"),
    ],
)
def test_damaged_json(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    shard(tmp_path)
    (tmp_path / name).write_bytes(content)
    assert refusal(tmp_path).startswith(f"/{name}: {message}")


def test_a_folder_without_weights(tmp_path: Path) -> None:
    write_json(tmp_path / "config.json", {})
    assert refusal(tmp_path).startswith(": is a directory without model.safetensors, ")


def test_a_pickle_with_code_is_refused_in_a_folder_too(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "pytorch_model.bin")
    assert "torch.nn.modules.linear.Linear" in refusal(tmp_path, UntrustedCodeError)
