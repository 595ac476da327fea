"""A weight file or folder, whatever its container: named tensors, what lay beside them, and an identity."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from sparsity_audit.checkpoints.folder import INDEX_SUFFIX, find_weights, read_config, read_shards
from sparsity_audit.checkpoints.safetensors_io import MAX_HEADER_BYTES, read_safetensors
from sparsity_audit.checkpoints.tensor import Tensor
from sparsity_audit.checkpoints.torch_io import StateDict, read_torch
from sparsity_audit.errors import CheckpointError

Container = Literal["safetensors", "torch"]

TORCH_SUFFIXES = (".pt", ".pth", ".th", ".bin", ".ckpt")

PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.")
"""What wrappers (DataParallel, torch.compile, Lightning, ...) put before every name."""

_HEAD_BYTES = 512


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The weights of one file or folder; nothing here depends on the container but ``container`` and ``nested``."""

    path: Path
    tensors: dict[str, Tensor]
    """By name without ``prefix``, in the file's order."""
    container: Container
    metadata: dict[str, str] = field(default_factory=dict)
    """Text that a safetensors file carries; empty for torch's containers."""
    nested: str | None = None
    """Dotted keys under which the state dict lay (``"state_dict"``), or None where it is the file itself."""
    prefix: str = ""
    """What every name began with, and was stripped (``"module."``)."""
    ignored: tuple[str, ...] = ()
    """Dotted keys of the entries beside the weights that were not read (``"epoch"``, ``"optimizer"``)."""
    config: dict[str, Any] = field(default_factory=dict)
    """A folder's ``config.json``, as Hugging Face and timm write it; empty for a file."""

    @cached_property
    def sha256(self) -> str:
        """Digest of the tensors alone: name, dtype, shape and bytes, by sorted name (design.md, section 10).

        The same weights have the same digest in every container, nested or not, with or without a prefix.
        """
        digest = hashlib.sha256()
        for name, tensor in sorted(self.tensors.items()):
            # One line of JSON says where it ends, and with it how many bytes follow: nothing can collide.
            digest.update(json.dumps([name, tensor.dtype, list(tensor.shape)]).encode() + b"\n")
            digest.update(tensor.data)
        return digest.hexdigest()


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a weight file without running anything in it; its content decides what it is, then its suffix.

    Reads safetensors (mapped, not loaded, and without torch) and what ``torch.save`` wrote, zip or legacy; of a
    folder, its ``model.safetensors``, the shards that ``model.safetensors.index.json`` names, or
    ``pytorch_model.bin``, and its ``config.json``.

    Raises:
        UntrustedCodeError: loading the file would run code: pickled modules, TorchScript, export archives.
        CheckpointError: absent, unreadable, damaged, not a weight file or folder, or without tensors.
    """
    path = Path(path)
    config: dict[str, Any] = {}
    weights = path
    if path.is_dir():
        weights, config = find_weights(path), read_config(path)
    container, found, metadata = _read(weights)
    if not found.tensors:
        raise CheckpointError(f"{path}: holds no tensors")
    prefix = shared_prefix(found.tensors)
    renamed = [replace(tensor, name=name.removeprefix(prefix)) for name, tensor in found.tensors.items()]
    tensors = {tensor.name: tensor for tensor in renamed}
    return Checkpoint(path, tensors, container, metadata, found.nested, prefix, found.ignored, config)


def _read(path: Path) -> tuple[Container, StateDict, dict[str, str]]:
    if path.name.endswith(INDEX_SUFFIX):
        contents, metadata = read_shards(path)
        return "safetensors", StateDict(contents, nested=None, ignored=()), metadata
    container = _container(path, _head(path))
    if container == "torch":
        return container, read_torch(path), {}
    contents, metadata = read_safetensors(path)
    return container, StateDict(contents, nested=None, ignored=()), metadata


def shared_prefix(names: Collection[str]) -> str:
    """Return the longest chain of ``PREFIXES`` that all the names begin with, ``""`` where there is none.

    One wrapper is taken at a time; no entry of ``PREFIXES`` begins another, so at most one fits at each step.
    A name is never used up whole.
    """
    prefix = ""
    while True:
        longer = (prefix + p for p in PREFIXES)
        fits = next((p for p in longer if all(n.startswith(p) and n != p for n in names)), None)
        if fits is None:
            return prefix
        prefix = fits


def _head(path: Path) -> bytes:
    try:
        if path.exists() and not path.is_file():
            raise CheckpointError(f"{path}: not a regular file; copy the weights into one")
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file; check the path") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error})") from None
    if not head:
        raise CheckpointError(f"{path}: empty file; was the download or copy cut off?")
    return head


def _container(path: Path, head: bytes) -> Container:
    """Tell the container. A safetensors header of 640 bytes begins like a pickle, 80 02, but zeros follow."""
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= MAX_HEADER_BYTES:
        return "safetensors"
    is_pickle = head[0] == 0x80 and head[1:2] in b"\2\3\4\5" and head[2:8].strip(b"\0")
    if head.startswith(b"PK\3\4") or is_pickle:
        return "torch"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype", b"<html", b"<head", b"<?xml", b"<!--")):
        raise CheckpointError(f"{path}: looks like an HTML page: the download failed? Fetch the raw file")
    if text.startswith(b"version https://git-lfs"):
        raise CheckpointError(f"{path}: a git-LFS pointer, not the weights themselves: run git lfs pull")
    suffix = path.suffix.lower()
    if suffix == ".safetensors":
        return "safetensors"
    if suffix in TORCH_SUFFIXES:
        return "torch"
    raise CheckpointError(
        f"{path}: not a weight file: neither safetensors nor written by torch.save ({', '.join(TORCH_SUFFIXES)})"
    )
