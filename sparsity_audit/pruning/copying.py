"""Copies of networks, whatever they keep beside their parameters."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn


def copied(module: nn.Module) -> nn.Module:
    """Return a deep copy; tensors that were computed from parameters, as weight norms keep them, included."""
    known: dict[int, Tensor] = {}
    for part in nn.Module.modules(module):
        for value in vars(part).values():
            if isinstance(value, Tensor) and not value.is_leaf:
                known[id(value)] = value.detach().clone()
    return copy.deepcopy(module, known)


def rounded(exact: nn.Module, original: nn.Module) -> nn.Module:
    """Return a copy of a network in the precision of the original's tensors; float32 for those that are new."""
    network = copied(exact)
    before = {name: tensor.dtype for name, tensor in _tensors(original)}
    for name, tensor in _tensors(network):
        tensor.data = tensor.data.to(before.get(name, torch.float32 if tensor.is_floating_point() else tensor.dtype))
    return network


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from nn.Module.named_parameters(module)
    yield from nn.Module.named_buffers(module)
