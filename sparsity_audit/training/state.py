"""The whole state of a training as tensors: what a checkpoint and a snapshot hold, and how it comes back."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor, nn

from sparsity_audit.checkpoints.safetensors_io import read_safetensors, write_safetensors
from sparsity_audit.errors import CheckpointError

KEY = "sparsity_audit_training"
"""The entry of the metadata that says of which run and step the state is."""
MODEL, OPTIMIZER, CHANCE = "model/", "optimizer/", "chance/"


def write_state(path: Path, digest: str, step: int, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Write weights, the optimizer's state and torch's random generators, whole or not at all.

    Names: ``model/<path>``, ``optimizer/<parameter path>/<key>``, ``chance/cpu`` (and ``chance/cuda``, where the
    model lies there). The metadata hold digest and step: one file, so that they can never be of different moments.

    Raises:
        CheckpointError: it cannot be written.
    """
    names = _names(model)
    tensors: dict[str, Tensor] = {f"{MODEL}{name}": value for name, value in nn.Module.state_dict(model).items()}
    for parameter, entries in optimizer.state.items():
        for key, value in entries.items():  # all tensors, whatever the optimizer
            tensors[f"{OPTIMIZER}{names[parameter]}/{key}"] = value
    tensors[f"{CHANCE}cpu"] = torch.get_rng_state()
    device = next(model.parameters()).device
    if device.type == "cuda":
        tensors[f"{CHANCE}cuda"] = torch.cuda.get_rng_state(device)
    write_safetensors(path, tensors, {KEY: json.dumps({"digest": digest, "step": step})})


def read_state(path: Path, digest: str, model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Put a state back, bit for bit, and return its step.

    Raises:
        CheckpointError: unreadable, of another spec, or not made for this model.
    """
    tensors, metadata = read_safetensors(path)
    try:
        told = json.loads(metadata[KEY])
        found, step = str(told["digest"]), int(told["step"])
    except (KeyError, TypeError, ValueError, OverflowError):
        raise CheckpointError(f"{path}: not the state of a training; delete it to start again") from None
    if found != digest:
        raise CheckpointError(f"{path}: belongs to another spec (digest {found[:8]}, not {digest[:8]})")
    loaded = {name: tensor.torch() for name, tensor in tensors.items()}
    weights = {name.removeprefix(MODEL): value for name, value in loaded.items() if name.startswith(MODEL)}
    try:
        nn.Module.load_state_dict(model, weights)
        _restore(optimizer, model, loaded)
        _restore_chance(loaded, next(model.parameters()).device)
    except (KeyError, RuntimeError, TypeError) as failure:
        reason = " ".join(str(failure).split())[:200]
        raise CheckpointError(f"{path}: does not fit the model of its spec ({reason})") from None
    return step


def _names(model: nn.Module) -> dict[Tensor, str]:
    return {parameter: name for name, parameter in model.named_parameters()}


def _restore(optimizer: torch.optim.Optimizer, model: nn.Module, entries: dict[str, Tensor]) -> None:
    by_name = dict(model.named_parameters())
    optimizer.state.clear()
    for name, value in entries.items():
        if not name.startswith(OPTIMIZER):
            continue
        path, _, key = name.removeprefix(OPTIMIZER).rpartition("/")
        optimizer.state[by_name[path]][key] = _like(value, by_name[path], fused=bool(optimizer.defaults.get("fused")))


def _restore_chance(loaded: dict[str, Tensor], device: torch.device) -> None:
    torch.set_rng_state(loaded[f"{CHANCE}cpu"])
    if device.type == "cuda" and f"{CHANCE}cuda" in loaded:
        torch.cuda.set_rng_state(loaded[f"{CHANCE}cuda"], device)


def _like(value: Tensor, parameter: Tensor, *, fused: bool) -> Tensor:
    """Return a state tensor where and how the optimizer keeps it: fused kernels need the parameter's own layout."""
    if value.dim() == 0:  # a count of steps, which only fused kernels read on the device
        return value.to(parameter.device) if fused else value
    if value.shape != parameter.shape:  # copying would stretch some
        raise RuntimeError(f"optimizer state {list(value.shape)} of a parameter {list(parameter.shape)}")
    return torch.empty_like(parameter, dtype=value.dtype).copy_(value)
