"""Which filters each channel of each tensor comes from.

The graph is run once on labels, each of which stands for a set of producers: the filters whose output an element is
made of.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from sparsity_audit.graph import ops
from sparsity_audit.graph.label_run import LabelRun, example_shape

ALIVE = -1
"""A producer that can never be dead: the image, a linear layer, an operation not understood."""

Producers = frozenset[int]


class Provenance(LabelRun):
    """Runs a captured program on labels and remembers what each convolution reads.

    Attributes:
        read: for each convolution call, the producers of each of its input channels.
        opaque: names of operations that were not understood, with the first node that calls them.
    """

    def __init__(self, program: GraphModule, first_filter: dict[Node, int]) -> None:
        super().__init__(program)
        self.first_filter = first_filter
        self.sets: list[Producers] = [frozenset(), frozenset({ALIVE})]  # padding, unknown
        self.number: dict[Producers, int] = {producers: i for i, producers in enumerate(self.sets)}
        self.read: dict[Node, list[Producers]] = {}
        self.opaque: dict[str, str] = {}
        self.trace()

    def convolution(self, node: Node, args: Sequence[Any], _kwargs: dict[str, Any]) -> Tensor:
        """Note what is read; each output channel comes from its own filter."""
        shape = example_shape(node.meta["val"])
        self.read[node] = [self._producers(labels) for labels in self.channels(args[0])]
        first = self.first_filter[node]
        labels = torch.tensor([self._label(frozenset({first + i})) for i in range(shape[1])])
        return labels.view(1, -1, *[1] * (len(shape) - 2)).expand(shape)

    def binary(self, node: Node, args: Sequence[Any], _kwargs: dict[str, Any]) -> Tensor:
        """Join the producers of both sides; a gate or a divisor keeps nothing alive."""
        shape = example_shape(node.meta["val"])
        tensors = [argument for argument in args[:2] if isinstance(argument, Tensor)]
        if ops.op_name(node) == "aten.mul.Tensor" and len(tensors) == 2:
            tensors = _without_gate(tensors, node)
        if ops.op_name(node) == "aten.div.Tensor" and list(args[0].shape) == shape:
            tensors = [
                tensor for tensor in tensors if list(tensor.shape) == shape
            ]  # a divisor spread over it scales it
        return self.union(node, tensors, shape)

    def opaque_output(self, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Mark every output as needed, and remember the operation; naming all that was read would tell no more."""
        if ops.op_name(node) not in ops.LINEAR:
            self.opaque.setdefault(ops.op_name(node), node.name)
        return super().opaque_output(node, args, kwargs)

    def merged(self, labels: Sequence[int]) -> int:
        """Return the label of all producers of a plane."""
        return self._label(self._producers(labels))

    def joined(self, _node: Node, left: int, right: int) -> int:
        """Return the label of the producers of both."""
        return self._label(self.sets[left] | self.sets[right])

    def _producers(self, labels: Sequence[int]) -> Producers:
        sets = [self.sets[label] for label in set(labels)]
        return sets[0] if len(sets) == 1 else frozenset[int]().union(*sets)

    def _label(self, producers: Producers) -> int:
        if producers not in self.number:
            self.number[producers] = len(self.sets)
            self.sets.append(producers)
        return self.number[producers]


def _without_gate(tensors: list[Tensor], product: Node) -> list[Tensor]:
    """Drop a gate (squeeze-excite, attention): it scales what a channel holds, it doesn't keep it alive.

    A gate is the factor that is spread over the other one, or the one that comes out of a sigmoid.
    """
    shape = example_shape(product.meta["val"])
    gates = [list(tensor.shape) != shape for tensor in tensors]
    if not any(gates):
        gates = [isinstance(factor, Node) and _is_sigmoid(factor) for factor in product.args[:2]]
    return tensors if all(gates) else [tensor for tensor, gate in zip(tensors, gates, strict=True) if not gate]


def _is_sigmoid(node: Node) -> bool:
    while ops.op_name(node) in ops.IDENTITIES | ops.MOVEMENTS and isinstance(node.args[0], Node):
        node = node.args[0]
    return ops.op_name(node) in ops.SIGMOIDS
