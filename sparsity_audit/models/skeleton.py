"""Networks without values: built to be compared with a file before any memory is filled."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from sparsity_audit.models.shapes import Shape


class _EmptyOnMeta(TorchFunctionMode):
    """Leaves tensors that would be filled with random values later, and only those, without memory.

    Under ``torch.device("meta")`` torchvision's RegNets fail, since they compute their widths with tensors, and
    buffers that no file holds lose their values.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        options = dict(kwargs or {})
        if func is torch.empty and options.get("device") is None:
            options["device"] = "meta"
        return func(*args, **options)


def build_skeleton(factory: Callable[[], nn.Module]) -> nn.Module:
    """Return the factory's network with weights on the meta device and all else as it should be."""
    with _EmptyOnMeta():
        return factory()


def module_shapes(module: nn.Module) -> dict[str, Shape]:
    """Return names and shapes of a module's state dict; entries that are no tensors are left out."""
    state = nn.Module.state_dict(module)
    return {name: tuple(value.shape) for name, value in state.items() if isinstance(value, torch.Tensor)}


def fill(module: nn.Module, values: Mapping[str, torch.Tensor]) -> None:
    """Put values into a network in place; names and shapes have been compared before.

    A skeleton takes the tensors over; a network with memory of its own gets copies, which keeps tied weights tied.
    """
    own = nn.Module.state_dict(module)
    bare = any(value.is_meta for value in own.values() if isinstance(value, torch.Tensor))
    # Modules turn away or rewrite what states no version of its layout; these names and shapes are the present ones.
    versioned = OrderedDict(values)
    versioned._metadata = own._metadata  # type: ignore[attr-defined]
    nn.Module.load_state_dict(module, versioned, strict=False, assign=bare)
