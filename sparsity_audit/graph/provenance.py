"""Which filters each channel of each tensor comes from.

The graph is run once on *labels* in place of activations: a tensor's labels have its shape, and each label
stands for a set of producers, the filters whose output that element is made of. Where elements are merely
moved (views, slices, channel shuffles, concatenations) the operation itself moves the labels, so that no
index arithmetic is written twice. Labels are kept as expanded tensors with stride 0 along every axis that
they don't vary on, so that a plane costs one element.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.fx import GraphModule, Interpreter, Node
from torch.fx.node import map_arg

from sparsity_audit.graph import ops

ALIVE = -1
"""A producer that can never be dead: the image, a linear layer, an operation not understood."""
NO_PRODUCER, LIVE = 0, 1

Producers = frozenset[int]
Handler = Callable[[Node, Sequence[Any], dict[str, Any]], Any]


class Provenance(Interpreter):
    """Runs a captured program on labels and remembers what each convolution reads.

    Attributes:
        read: for each convolution call, the producers of each of its input channels.
        opaque: names of operations that were not understood, with the first node that calls them.
    """

    def __init__(self, program: GraphModule, first_filter: dict[Node, int]) -> None:
        super().__init__(program, garbage_collect_values=True)
        self.first_filter = first_filter
        self.sets: list[Producers] = [frozenset(), frozenset({ALIVE})]
        self.number: dict[Producers, int] = {producers: i for i, producers in enumerate(self.sets)}
        self.read: dict[Node, list[Producers]] = {}
        self.opaque: dict[str, str] = {}

    def trace(self) -> Provenance:
        """Run the whole program on labels; the images' channels come from no filter."""
        images = [node for node in self.module.graph.nodes if node.op == "placeholder"]  # type: ignore[union-attr]
        self.run(*[torch.tensor(LIVE).expand(example_shape(node.meta["val"])) for node in images])
        return self

    def run_node(self, n: Node) -> Any:
        """Give a node its labels; parameters have no producer."""
        if n.op == "get_attr":
            return torch.tensor(NO_PRODUCER).expand(example_shape(n.meta["val"]))
        if n.op != "call_function":
            return super().run_node(n)
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        try:
            labels = self._handler(n)(n, args, kwargs)
        except (
            IndexError,
            RuntimeError,
            TypeError,
            ValueError,
        ):  # a use of the operation that its handler didn't foresee
            return self._opaque(n, args, kwargs)
        value = n.meta.get("val")
        foreseen = not isinstance(value, Tensor) or list(labels.shape) == example_shape(value)
        return labels if foreseen else self._opaque(n, args, kwargs)

    def _handler(self, node: Node) -> Handler:
        name = ops.op_name(node)
        if node.target is operator.getitem:
            return lambda _node, args, _kwargs: args[0][args[1]]
        if not name or name.startswith("aten.sym_size"):  # arithmetic on sizes
            return self._as_it_is
        if name in ops.CONVOLUTIONS:
            return self._convolution
        if name in ops.NORMS or name in ops.SPATIAL:
            return self._strided_channels if ops.pools_channels(node) else self._same_channels
        if name in ops.NONLINEARITIES or name in ops.IDENTITIES or name in ops.ELEMENTWISE:
            return lambda _node, args, _kwargs: args[0]
        if name in ops.BINARY:
            return self._binary
        if name in ops.MOVEMENTS:
            return self._movement
        if name in ops.INDEXING:
            return self._indexing
        return {
            "aten.cat.default": self._concatenation,
            "aten.constant_pad_nd.default": self._pad,
            "aten.pad.default": self._pad,
        }.get(name, self._reduction if name in ops.REDUCTIONS else self._opaque)

    @staticmethod
    def _as_it_is(node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        assert callable(node.target)
        return node.target(*args, **kwargs)

    def _convolution(self, node: Node, args: Sequence[Any], _kwargs: dict[str, Any]) -> Tensor:
        shape = example_shape(node.meta["val"])
        self.read[node] = self.producers_of_channels(args[0])
        first = self.first_filter[node]
        labels = torch.tensor([self._label(frozenset({first + i})) for i in range(shape[1])])
        return labels.view(1, -1, *[1] * (len(shape) - 2)).expand(shape)

    def _same_channels(self, node: Node, args: Sequence[Any], _kwargs: dict[str, Any]) -> Any:
        """Batch and channel axes stay; whatever lies in a channel's plane spreads over its new plane."""
        value = node.meta["val"]
        outputs = value if isinstance(value, tuple | list) else (value,)
        labels = self._plane_merged(args[0])
        spread = tuple(
            labels.view(*labels.shape[:2], *[1] * (len(example_shape(output)) - 2)).expand(example_shape(output))
            if len(example_shape(output)) == args[0].dim()
            else torch.tensor(LIVE).expand(example_shape(output))
            for output in outputs
        )
        return spread if isinstance(value, tuple | list) else spread[0]

    def _strided_channels(self, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Take every n-th channel; a pooling whose window holds several channels is not understood."""
        value, window = node.meta["val"], [*args[1:4], []]
        kernel, stride, padding = window[0], window[1] or window[0], window[2] or [0]
        if not isinstance(value, Tensor) or not isinstance(kernel, list) or kernel[0] != 1 or padding[0] != 0:
            return self._opaque(node, args, kwargs)
        shape = example_shape(value)
        merged = self._plane_merged(args[0])[:, :: stride[0]]
        return merged.view(*merged.shape, *[1] * (len(shape) - 2)).expand(shape)

    def _binary(self, node: Node, args: Sequence[Any], _kwargs: dict[str, Any]) -> Tensor:
        shape = example_shape(node.meta["val"])
        tensors = [argument for argument in args[:2] if isinstance(argument, Tensor)]
        if ops.op_name(node) == "aten.mul.Tensor" and len(tensors) == 2:
            tensors = _without_gate(tensors, node)
        if ops.op_name(node) == "aten.div.Tensor" and list(args[0].shape) == shape:
            tensors = [
                tensor for tensor in tensors if list(tensor.shape) == shape
            ]  # a divisor spread over it scales it
        return self._union(tensors, shape)

    def _movement(self, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        # Expanded labels may have no view of the shape asked for; a copy of them serves as well.
        is_view = ops.op_name(node) in _VIEWS
        moved = args[0].reshape(args[1]) if is_view else self._as_it_is(node, args, kwargs)
        if isinstance(moved, tuple | list):
            return [_compressed(part) for part in moved]
        return _compressed(moved)

    def _indexing(self, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Move labels by an index that the model holds as a constant; any other index is not understood."""
        known = {index: self._constant(index) for index in node.all_input_nodes[1:]}
        if None in known.values():
            return self._opaque(node, args, kwargs)
        assert callable(node.target)
        return _compressed(node.target(args[0], *map_arg(node.args[1:], known.__getitem__)))

    def _constant(self, node: Node) -> Tensor | None:
        while ops.op_name(node) in ops.IDENTITIES:
            node = node.all_input_nodes[0]
        return self.fetch_attr(str(node.target)) if node.op == "get_attr" else None

    def _concatenation(self, _node: Node, args: Sequence[Any], _kwargs: dict[str, Any]) -> Tensor:
        tensors: list[Tensor] = args[0]
        axis = args[1] % tensors[0].dim() if len(args) > 1 else 0
        plain = [
            other != axis and all(tensor.stride(other) == 0 or tensor.size(other) == 1 for tensor in tensors)
            for other in range(tensors[0].dim())
        ]
        narrowed = [_first_along(tensor, plain) for tensor in tensors]
        sizes = [-1 if not flat else tensors[0].size(i) for i, flat in enumerate(plain)]
        return _compressed(torch.cat(narrowed, axis).expand(sizes))

    def _pad(self, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        labels, amounts = args[0], list(args[1])
        plane_axes = max(labels.dim() - 2, 0)
        beyond_plane = amounts[2 * plane_axes :]
        if any(beyond_plane[2:]):
            return self._opaque(node, args, kwargs)
        if not any(beyond_plane):
            return self._same_channels(node, (labels,), kwargs)
        merged = self._plane_merged(labels)
        padded = F.pad(merged, beyond_plane[:2], value=NO_PRODUCER)
        shape = example_shape(node.meta["val"])
        return padded.view(*padded.shape[:2], *[1] * plane_axes).expand(shape)

    def _reduction(self, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        value = node.meta["val"]
        axes = args[1] if len(args) > 1 and args[1] != [] else list(range(args[0].dim()))
        axes = [axis % args[0].dim() for axis in ([axes] if isinstance(axes, int) else axes)]
        if isinstance(value, tuple | list) or {0, 1} & set(axes):
            return self._opaque(node, args, kwargs)
        keep = len(args) > 2 and bool(args[2])
        merged = self._plane_merged(args[0]).view(*args[0].shape[:2], *[1] * (args[0].dim() - 2))
        kept = merged.expand([1 if axis in axes else size for axis, size in enumerate(args[0].shape)])
        return kept if keep else kept.squeeze(axes)

    def _opaque(self, node: Node, _args: Sequence[Any], _kwargs: dict[str, Any]) -> Any:
        """Mark every output as needed, whatever becomes of what was read; naming all of that would tell no more."""
        label = torch.tensor(LIVE)
        value = node.meta.get("val")
        if ops.op_name(node) not in _LINEAR:
            self.opaque.setdefault(ops.op_name(node), node.name)
        if isinstance(value, tuple | list):
            return [label.expand(example_shape(part)) if isinstance(part, Tensor) else part for part in value]
        return label.expand(example_shape(value)) if isinstance(value, Tensor) else value

    def producers_of_channels(self, labels: Tensor) -> list[Producers]:
        """Return the producers of each channel (axis 1) of a tensor, over its whole plane and batch."""
        rows = _narrowed_batch(self._plane_merged(labels))
        return [self._joined(column) for column in rows.t().tolist()]

    def _plane_merged(self, labels: Tensor) -> Tensor:
        """Return labels [batch, channels]: the union of each channel's plane."""
        if labels.dim() < 2:
            return labels.reshape(1, -1) if labels.dim() else labels.view(1, 1)
        if all(labels.stride(axis) == 0 or labels.size(axis) == 1 for axis in range(2, labels.dim())):
            return _first_along(labels, [axis > 1 for axis in range(labels.dim())]).flatten(1)
        # Groups of channels may have been folded into the batch: its rows are alike only where their stride is 0.
        rows = _narrowed_batch(labels)
        merged = torch.tensor([[self._merged(plane) for plane in row] for row in rows])
        return merged.expand(labels.shape[:2])

    def _merged(self, plane: Tensor) -> int:
        return self._label(self._joined(torch.unique(_narrowed(plane)).tolist()))

    def _joined(self, labels: list[int]) -> Producers:
        sets = [self.sets[label] for label in set(labels)]
        return sets[0] if len(sets) == 1 else frozenset[int]().union(*sets)

    def _union(self, tensors: list[Tensor], shape: list[int]) -> Tensor:
        narrow = [_narrowed(tensor) for tensor in tensors]
        result = narrow[0]
        for other in narrow[1:]:
            shape_of_both = torch.broadcast_shapes(result.shape, other.shape)  # type: ignore[no-untyped-call]
            left, right = result.expand(shape_of_both), other.expand(shape_of_both)
            pairs, inverse = torch.unique(torch.stack([left.flatten(), right.flatten()]), dim=1, return_inverse=True)
            joined = [self._label(self.sets[a] | self.sets[b]) for a, b in pairs.t().tolist()]
            result = torch.tensor(joined)[inverse].view(left.shape)
        return result.expand(shape)

    def _label(self, producers: Producers) -> int:
        if producers not in self.number:
            self.number[producers] = len(self.sets)
            self.sets.append(producers)
        return self.number[producers]


_VIEWS = frozenset({"aten.view.default", "aten._unsafe_view.default"})
_LINEAR = frozenset(f"aten.{name}" for name in "linear.default addmm.default mm.default matmul.default".split())


def example_shape(value: Any) -> list[int]:
    """Return a tensor's shape with a symbolic batch replaced by that of the exported example."""
    return [size if isinstance(size, int) else int(size.node.hint) for size in value.shape]


def _narrowed(labels: Tensor) -> Tensor:
    return _first_along(labels, [stride == 0 for stride in labels.stride()])


def _narrowed_batch(labels: Tensor) -> Tensor:
    return labels[:1] if labels.stride(0) == 0 else labels


def _first_along(labels: Tensor, axes: list[bool]) -> Tensor:
    """Keep one element along the marked axes."""
    for axis, marked in enumerate(axes):
        labels = labels.narrow(axis, 0, 1) if marked and labels.size(axis) else labels
    return labels


def _compressed(labels: Tensor) -> Tensor:
    """Return the same labels with stride 0 along every axis they don't vary on."""
    narrow = labels
    for axis in range(labels.dim()):
        first = narrow.narrow(axis, 0, 1) if narrow.size(axis) else narrow
        if narrow.size(axis) > 1 and (narrow.stride(axis) == 0 or bool((narrow == first).all())):
            narrow = first
    return narrow.expand(labels.shape)


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
