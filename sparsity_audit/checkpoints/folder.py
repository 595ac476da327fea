"""Weight folders as Hugging Face and timm write them: a config, and the weights whole or in shards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sparsity_audit.checkpoints.safetensors_io import read_safetensors
from sparsity_audit.checkpoints.tensor import Tensor
from sparsity_audit.errors import CheckpointError

CONFIG = "config.json"
INDEX_SUFFIX = ".safetensors.index.json"
RUN_RECORD = "record.json"
"""Lies in the run folders of the trainer from their first step on; the model comes last."""
WEIGHTS = ("model.safetensors", f"model{INDEX_SUFFIX}", "pytorch_model.bin")
"""What is looked for in a folder; the first is read."""


def find_weights(folder: Path) -> Path:
    """Return the folder's weight file, or the index of its shards.

    Raises:
        CheckpointError: it has none under the usual names.
    """
    found = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if found is None and (folder / RUN_RECORD).is_file():
        raise CheckpointError(
            f"{folder}: a training that is not finished; go on with it by train SPEC -o {folder} --resume"
        )
    if found is None:
        raise CheckpointError(f"{folder}: is a directory without {', '.join(WEIGHTS)}; name a weight file in it")
    return found


def read_config(folder: Path) -> dict[str, Any]:
    """Return the folder's ``config.json``; empty where it has none.

    Raises:
        CheckpointError: it cannot be read, or is no JSON object.
    """
    path = folder / CONFIG
    return _read_object(path) if path.exists() else {}


def read_shards(index: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors of all shards, mapped from their files, and the metadata of the shards together.

    Raises:
        CheckpointError: a shard is missing or unreadable, or index and shards do not name the same tensors.
    """
    shard_of = _weight_map(index)
    tensors: dict[str, Tensor] = {}
    metadata: dict[str, str] = {}
    where: dict[str, str] = {}
    for shard in sorted(set(shard_of.values())):
        path = index.parent / shard
        if not path.is_file():
            count = sum(name == shard for name in shard_of.values())
            raise CheckpointError(f"{path}: missing shard, which {index.name} names for {count} tensors; fetch it")
        contents, entries = read_safetensors(path)
        for name in contents:
            if name in where:
                raise CheckpointError(f"{index}: tensor {name!r} stands in two shards, {where[name]} and {shard}")
            where[name] = shard
        tensors |= contents
        metadata |= entries
    _compare(index, shard_of, where)
    return tensors, metadata


def _compare(index: Path, named: dict[str, str], found: dict[str, str]) -> None:
    for name in sorted(named.keys() | found.keys()):
        if named.get(name) == found.get(name):
            continue
        if name not in found:
            problem = f"is absent from {named[name]}"
        elif name not in named:
            problem = f"of {found[name]} is not in the index"
        else:
            problem = f"should be in {named[name]} and is in {found[name]}"
        raise CheckpointError(f"{index}: tensor {name!r} {problem}; fetch the folder again")


def _weight_map(index: Path) -> dict[str, str]:
    """Return the shard's file name by tensor name; only files in the index's own folder are let through."""
    found = _read_object(index).get("weight_map")
    if not isinstance(found, dict) or not found:
        raise CheckpointError(f"{index}: has no 'weight_map' that names the shards; fetch it again")
    for shard in found.values():
        if not isinstance(shard, str) or not shard.isprintable() or shard in ("", "..") or set(shard) & set("/\\"):
            raise CheckpointError(f"{index}: {shard!r} is not the name of a shard in the same folder; correct it")
    return found


def _read_object(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: not valid JSON ({' '.join(str(error).split())}); fetch it again") from None
    if not isinstance(found, dict):
        raise CheckpointError(f"{path}: holds a {type(found).__name__}, not a JSON object; fetch it again")
    return found
