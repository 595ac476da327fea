"""Reading a zoo network's spec off the names and shapes of its tensors."""

from __future__ import annotations

import re
from typing import NamedTuple

from sparsity_audit.models.basicnet import BASE, FIRST, basicnet_filters
from sparsity_audit.models.cifar_resnet import BLOCKS
from sparsity_audit.models.shapes import Shapes
from sparsity_audit.models.vgg import STAGES
from sparsity_audit.schema.spec import NetworkSpec

CLASSES = 10
"""Assumed where no class layer is found, so that there is something to compare with."""
CHANNELS = 3
"""Assumed where no first convolution is found."""


class ZooMatch(NamedTuple):
    """A zoo network whose parameters are read off tensors."""

    name: str
    spec: NetworkSpec
    in_channels: int
    classes: int


def candidates(shapes: Shapes) -> list[str]:
    """Return the zoo networks whose depth the tensors have."""
    if "layer1.0.conv1.weight" in shapes:
        blocks = _count(shapes, r"layer1\.\d+\.conv1\.weight")
        return [name for name, count in BLOCKS.items() if count == blocks]
    depths = {"basicnet": 1 + len(BASE)} | {name: sum(stages) for name, stages in STAGES.items()}
    convs = _count(shapes, r"c\d+\.conv\.weight")
    return [name for name, depth in depths.items() if depth == convs]


def read_zoo(name: str, shapes: Shapes) -> ZooMatch:
    """Return the network ``name`` with as much of its spec as the tensors show, the defaults for the rest.

    Activations leave no trace in tensors: ReLU is assumed.
    """
    shapes = {tensor: shape for tensor, shape in shapes.items() if 0 not in shape}
    if name in BLOCKS:
        return ZooMatch(
            name,
            NetworkSpec(name=name),
            _size(shapes, "conv1.weight", 1, CHANNELS),
            _size(shapes, "linear.weight", 0, CLASSES),
        )
    channels = _size(shapes, "c1.conv.weight", 1, CHANNELS)
    nodes = _linear_nodes(shapes)
    head = nodes[:-1] if nodes else None
    if name == "basicnet":
        filters = [_size(shapes, f"c{number}.conv.weight", 0, base) for number, base in enumerate(BASE, start=2)]
        first = _size(shapes, "c1.conv.weight", 0, FIRST)
        spec = NetworkSpec(name=name, first=first, width=read_width(filters), head=head)
    else:
        spec = NetworkSpec(name=name, head=head)
    return ZooMatch(name, spec, channels, nodes[-1] if nodes else CLASSES)


def read_width(filters: list[int]) -> float:
    """Return a short decimal that gives C2–C7 these filters; where none does, the one that C7 suggests.

    A count c of a layer with base b says (c − ½)/b ≤ width ≤ (c + ½)/b; the six intervals are intersected.
    """
    low = max((count - 0.5) / base if count > 1 else 0.0 for count, base in zip(filters, BASE, strict=True))
    high = min((count + 0.5) / base for count, base in zip(filters, BASE, strict=True))
    middle = (low + high) / 2
    for digits in range(10):
        width = round(middle, digits)
        if width > 0 and basicnet_filters(1, width)[1:] == tuple(filters):
            return width
    return filters[-1] / BASE[-1]


def _linear_nodes(shapes: Shapes) -> list[int]:
    """Return the output nodes of the head's linear layers, in order."""
    found = []
    for name, shape in shapes.items():
        matched = re.fullmatch(r"head\.(\d+)\.weight", name)
        if matched and len(shape) == 2:
            found.append((int(matched[1]), shape[0]))
    return [nodes for _, nodes in sorted(found)]


def _count(shapes: Shapes, pattern: str) -> int:
    return sum(re.fullmatch(pattern, name) is not None for name in shapes)


def _size(shapes: Shapes, name: str, axis: int, default: int) -> int:
    """Return the size of one axis of a convolution or linear weight; ``default`` where it says nothing."""
    shape = shapes.get(name, ())
    return shape[axis] if axis < len(shape) else default
