"""Networks without values: built on torch's meta device, to compare with a file before any memory is filled."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from sparsity_audit.models.shapes import Shape, is_counter


def build_skeleton(factory: Callable[[], nn.Module]) -> nn.Module:
    """Return the factory's network without values.

    With values, and on the CPU, where the network needs some while it is built (torchvision's RegNets) or has
    buffers that no file would fill.
    """
    try:
        with torch.device("meta"):
            module = factory()
    except NotImplementedError:
        return factory()
    unsaved = any(part._non_persistent_buffers_set for part in nn.Module.modules(module))
    return factory() if unsaved else module


def give_memory(module: nn.Module) -> nn.Module:
    """Return the skeleton with memory on the CPU, its batch counters at zero and all else unset."""
    if any(tensor.is_meta for tensor in module.state_dict().values()):
        module = module.to_empty(device="cpu")
        for name, buffer in nn.Module.named_buffers(module):
            if is_counter(name):
                buffer.zero_()
    return module


def module_shapes(module: nn.Module) -> dict[str, Shape]:
    """Return names and shapes of a module's state dict; entries that are no tensors are left out."""
    return {name: tuple(value.shape) for name, value in module.state_dict().items() if isinstance(value, torch.Tensor)}
