"""Reading safetensors by mapping the file, and writing them whole or not at all; no torch for arrays."""

from __future__ import annotations

import json
import mmap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, safe_open

from sparsity_audit.checkpoints.tensor import FORMATS, Tensor
from sparsity_audit.errors import CheckpointError
from sparsity_audit.files import write_whole

if TYPE_CHECKING:
    import torch

MAX_HEADER_BYTES = 100_000_000
"""The format's own limit."""


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors, in the header's order and mapped from the file, and the metadata.

    The safetensors library validates the header (offsets, sizes, dtypes); only the header is read.

    Raises:
        CheckpointError: not a whole and valid safetensors file, or a dtype that is not supported.
    """
    try:
        _validate(path)
        with path.open("rb") as file:
            mapped = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error})") from None
    start = 8 + int.from_bytes(mapped[:8], "little")
    header: dict[str, Any] = json.loads(bytes(mapped[8:start]))
    metadata: dict[str, str] = header.pop("__metadata__", None) or {}
    return {name: _tensor(path, name, entry, mapped[start:]) for name, entry in header.items()}, metadata


def _validate(path: Path) -> None:
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if size < 8 or length > size - 8:
        raise CheckpointError(
            f"{path}: truncated, or not a safetensors file: its header should take {length} bytes, "
            f"but the file has {size}; fetch it again"
        )
    try:
        with safe_open(path, framework="np"):
            pass
    except SafetensorError as error:
        reason = str(error).removeprefix("Error while deserializing header: ").partition(", expected one of")[0]
        reason = " ".join(reason.split())
        hint = "truncated? fetch it again" if "not fully covered" in reason else "damaged? fetch it again"
        raise CheckpointError(f"{path}: not a valid safetensors file ({reason}): {hint}") from None


def _tensor(path: Path, name: str, entry: dict[str, Any], body: memoryview) -> Tensor:
    if entry["dtype"] not in FORMATS:
        raise CheckpointError(
            f"{path}: tensor {name!r} has dtype {entry['dtype']}, which is not supported; convert it to F32"
        )
    begin, end = entry["data_offsets"]
    return Tensor(name, entry["dtype"], tuple(entry["shape"]), body[begin:end])


def write_safetensors(
    path: Path,
    tensors: Mapping[str, np.ndarray[Any, Any] | torch.Tensor],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write the tensors, copied to C order, and the metadata; the file appears whole or not at all.

    Arrays alone need no torch.

    Raises:
        CheckpointError: the file cannot be written, or safetensors has no code for a dtype.
    """
    try:
        content = _serialised(tensors, dict(metadata or {}))
    except (SafetensorError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: cannot be stored as safetensors ({' '.join(str(error).split())})") from None
    try:
        write_whole(path, content)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be written ({error.strerror or error})") from None


def _serialised(tensors: Mapping[str, np.ndarray[Any, Any] | torch.Tensor], metadata: dict[str, str]) -> bytes:
    # The library stores the buffer of a transposed array as if it were in C order: copy it into that order.
    arrays = {
        n: np.array(t, dtype=t.dtype.newbyteorder("<"), order="C")
        for n, t in tensors.items()
        if isinstance(t, np.ndarray)
    }
    if len(arrays) == len(tensors):
        from safetensors.numpy import save as save_arrays

        return save_arrays(arrays, metadata)

    import torch
    from safetensors.torch import save as save_tensors

    # Cloned, as the library refuses tensors that share storage.
    cloned = {
        n: torch.from_numpy(arrays[n])
        if n in arrays
        else torch.as_tensor(t).detach().cpu().clone(memory_format=torch.contiguous_format)
        for n, t in tensors.items()
    }
    return save_tensors(cloned, metadata)
