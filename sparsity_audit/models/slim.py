"""Networks with fewer filters than their class builds: rebuilt from the shapes of a slim file's tensors.

What a slim network has beyond narrower layers lies in buffers, so that its state dict is all there is to it:

- ``scatter_index`` [k] and ``scatter_fill`` [filters], of a norm or convolution whose k filters stand among constants
  in a tensor of full width: a residual stream that other filters keep alive;
- ``source`` [filters] and ``fill`` [filters], of an option-A shortcut (``cifar_resnet.OptionA``);
- a ``bias`` of a convolution or linear layer that had none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sparsity_audit.errors import ArchitectureError
from sparsity_audit.models.cifar_resnet import OptionA
from sparsity_audit.models.shapes import Shape, Shapes

INDEX, FILL = "scatter_index", "scatter_fill"
_SHORTCUT = ("source", "fill")


class Scatter(nn.Module):
    """Mixed into a module's class: puts its filters among constants, [N, k, …] → [N, filters, …]."""

    scatter_index: Tensor
    scatter_fill: Tensor

    def forward(self, *inputs: Any) -> Tensor:
        """Return the module's output, spread to the full width."""
        slim: Tensor = super().forward(*inputs)
        plane = [1] * (slim.dim() - 2)
        filled = self.scatter_fill.to(slim.dtype).view(1, -1, *plane).expand(slim.shape[0], -1, *slim.shape[2:])
        return filled.index_copy(1, self.scatter_index, slim)


def scatter(module: nn.Module, index: Tensor, fill: Tensor) -> None:
    """Make a module spread its output: filter i of what it computes stands at ``index[i]``, ``fill`` elsewhere."""
    _mix_in(module)
    module.register_buffer(INDEX, index)
    module.register_buffer(FILL, fill)


def _mix_in(module: nn.Module) -> None:
    """Give a module the class of its own that spreads its output; names of its tensors stay."""
    if not isinstance(module, Scatter):
        kind = type(module)
        module.__class__ = type(f"Scattered{kind.__name__}", (Scatter, kind), {})


def resize(module: nn.Module, shapes: Shapes, groups: Mapping[str, int]) -> None:
    """Give a network the shapes of a slim file's tensors, without values.

    Args:
        shapes: of the file's tensors, by name.
        groups: of convolutions whose number of groups is another than their class's, by module path.

    Raises:
        ArchitectureError: tensors or groups that no slim form of this network has.
    """
    own = {name: tuple(value.shape) for name, value in nn.Module.state_dict(module).items()}
    parts = dict(nn.Module.named_modules(module, remove_duplicate=False))
    for name, shape in shapes.items():
        path, _, leaf = name.rpartition(".")
        if own.get(name) == shape:
            continue
        part = parts.get(path)
        if part is None or not _fits(part, leaf, shape, known=name in own):
            raise ArchitectureError(f"tensor {name} is not one of a slim {type(module).__name__}; prune again")
        _put(part, leaf, shape)
    for path, part in parts.items():
        _check_complete(path, part)
    strange = sorted(path for path in groups if not isinstance(parts.get(path), nn.modules.conv._ConvNd))
    if strange:
        raise ArchitectureError(f"{strange[0]} with groups is no convolution of a {type(module).__name__}; prune again")
    adjust(module, groups)


def adjust(module: nn.Module, groups: Mapping[str, int]) -> None:
    """Bring what all modules of a network know of their sizes in line with their tensors."""
    for path, part in nn.Module.named_modules(module, remove_duplicate=False):
        _adjust(part, groups.get(path))


def _fits(part: nn.Module, leaf: str, shape: Shape, *, known: bool) -> bool:
    """Tell whether a module can have such a tensor."""
    if known:
        return len(shape) == len(getattr(part, leaf).shape)
    if leaf == "bias":
        return isinstance(part, nn.modules.conv._ConvNd | nn.Linear) and len(shape) == 1
    if leaf in (INDEX, FILL):
        return isinstance(part, nn.modules.conv._ConvNd | nn.modules.batchnorm._NormBase) and len(shape) == 1
    return leaf in _SHORTCUT and isinstance(part, OptionA) and len(shape) == 1


def _check_complete(path: str, part: nn.Module) -> None:
    """Refuse constants that say not where they stand, and places without constants."""
    for one, other in ((INDEX, FILL), (FILL, INDEX), (_SHORTCUT[1], _SHORTCUT[0])):
        if one in part._buffers and other not in part._buffers and isinstance(part, Scatter | OptionA):
            raise ArchitectureError(f"tensor {path}.{other} is missing beside {path}.{one}; prune again")


def _put(part: nn.Module, leaf: str, shape: Shape) -> None:
    dtype = torch.int64 if leaf in (INDEX, "source") else torch.float32
    empty = torch.empty(shape, dtype=dtype, device="meta")
    if leaf in (INDEX, FILL):
        _mix_in(part)
    if leaf in (INDEX, FILL, *_SHORTCUT) or leaf in part._buffers:
        part.register_buffer(leaf, empty)
    else:
        part.register_parameter(leaf, nn.Parameter(empty))


def _adjust(part: nn.Module, groups: int | None) -> None:
    """Bring what a module knows of its sizes in line with its tensors."""
    if isinstance(part, nn.modules.conv._ConvNd):
        part.groups = groups if groups is not None else part.groups
        first, second = part.weight.shape[0], part.weight.shape[1] * part.groups
        part.out_channels, part.in_channels = (second, first) if part.transposed else (first, second)
    elif isinstance(part, nn.modules.batchnorm._NormBase):
        sized = next((t for t in (part.weight, part.running_mean) if t is not None), None)
        part.num_features = len(sized) if sized is not None else part.num_features
    elif isinstance(part, nn.Linear):
        part.out_features, part.in_features = part.weight.shape
    elif isinstance(part, nn.PReLU):
        part.num_parameters = len(part.weight)
