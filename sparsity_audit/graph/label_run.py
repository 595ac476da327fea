"""Running a captured program on *labels* in place of activations.

A tensor's labels have its shape; what a label stands for is the business of the class that runs them. Where elements
are merely moved (views, slices, channel shuffles, concatenations) the operation itself moves the labels, so that no
index arithmetic is written twice. Labels are kept as expanded tensors with stride 0 along every axis that they don't
vary on, so that a plane costs one element.
"""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._ops import HigherOrderOperator
from torch.fx import GraphModule, Interpreter, Node
from torch.fx.node import map_arg

from sparsity_audit.graph import ops

Handler = Callable[[Node, Sequence[Any], dict[str, Any]], Any]


class LabelRun(Interpreter, ABC):
    """Gives every node of a program its labels.

    ``padding`` is the label of channels that padding adds, ``parameter`` that of parameters, and ``unknown`` that of
    the image and of whatever comes out of an operation that is not understood.
    """

    padding = 0
    parameter = 0
    unknown = 1

    def __init__(self, program: GraphModule) -> None:
        super().__init__(program, garbage_collect_values=True)

    def trace(self) -> None:
        """Run the whole program on labels."""
        images = [node for node in self.module.graph.nodes if node.op == "placeholder"]  # type: ignore[union-attr]
        self.run(*[torch.tensor(self.unknown).expand(example_shape(node.meta["val"])) for node in images])

    @abstractmethod
    def merged(self, labels: Sequence[int]) -> int:
        """Return the label of a channel whose plane holds these."""

    @abstractmethod
    def joined(self, node: Node, left: int, right: int) -> int:
        """Return the label of an element that a binary operation makes of two."""

    @abstractmethod
    def convolution(self, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Return the labels of a convolution's output."""

    def linear(self, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Return the labels of a linear layer's output."""
        return self.opaque_output(node, args, kwargs)

    def unary(self, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:  # noqa: ARG002
        """Return the labels of an elementwise operation's output."""
        return args[0]

    def run_node(self, n: Node) -> Any:
        """Give a node its labels."""
        if n.op == "get_attr":
            if "val" not in n.meta:  # a part of the program, for a branch or a loop
                return None
            return torch.tensor(self.parameter).expand(example_shape(n.meta["val"]))
        if n.op != "call_function":
            return super().run_node(n)
        if ops.op_name(n).startswith("aten._assert"):
            return None
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        try:
            labels = self.handler(n)(n, args, kwargs)
        except (
            IndexError,
            RuntimeError,
            TypeError,
            ValueError,
        ):  # a use of the operation that its handler didn't foresee
            return self.opaque_output(n, args, kwargs)
        value = n.meta.get("val")
        foreseen = not isinstance(value, Tensor) or list(labels.shape) == example_shape(value)
        return labels if foreseen else self.opaque_output(n, args, kwargs)

    def handler(self, node: Node) -> Handler:
        """Return what gives a call its labels."""
        name = ops.op_name(node)
        if node.target is operator.getitem:
            return lambda _node, args, _kwargs: args[0][args[1]]
        if isinstance(node.target, HigherOrderOperator):  # a part of the program of its own: a branch, a loop
            return self.opaque_output
        if not name or name.startswith("aten.sym_size"):  # arithmetic on sizes
            return self._as_it_is
        if name in ops.CONVOLUTIONS:
            return self.convolution
        if name in ops.NORMS or name in ops.SPATIAL:
            return self.strided_channels if ops.pools_channels(node) else self.same_channels
        if name in ops.NONLINEARITIES or name in ops.IDENTITIES or name in ops.ELEMENTWISE:
            return self.unary
        if name in ops.BINARY:
            return self.binary
        if name in ops.MOVEMENTS:
            return self.movement
        if name in ops.INDEXING:
            return self.indexing
        return {
            "aten.cat.default": self.concatenation,
            "aten.constant_pad_nd.default": self.pad,
            "aten.pad.default": self.pad,
            "aten.linear.default": self.linear,
        }.get(name, self.reduction if name in ops.REDUCTIONS else self.opaque_output)

    @staticmethod
    def _as_it_is(node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        assert callable(node.target)
        return node.target(*args, **kwargs)

    def same_channels(self, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:  # noqa: ARG002
        """Batch and channel axes stay; whatever lies in a channel's plane spreads over its new plane."""
        value = node.meta["val"]
        outputs = value if isinstance(value, tuple | list) else (value,)
        labels = self.plane_merged(args[0])
        spread = tuple(
            labels.view(*labels.shape[:2], *[1] * (len(example_shape(output)) - 2)).expand(example_shape(output))
            if len(example_shape(output)) == args[0].dim()
            else torch.tensor(self.unknown).expand(example_shape(output))
            for output in outputs
        )
        return spread if isinstance(value, tuple | list) else spread[0]

    def strided_channels(self, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Take every n-th channel; a pooling whose window holds several channels is not understood."""
        value, window = node.meta["val"], [*args[1:4], []]
        kernel, stride, padding = window[0], window[1] or window[0], window[2] or [0]
        if not isinstance(value, Tensor) or not isinstance(kernel, list) or kernel[0] != 1 or padding[0] != 0:
            return self.opaque_output(node, args, kwargs)
        shape = example_shape(value)
        merged = self.plane_merged(args[0])[:, :: stride[0]]
        return merged.view(*merged.shape, *[1] * (len(shape) - 2)).expand(shape)

    def binary(self, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:  # noqa: ARG002
        """Join the labels of both sides element by element."""
        tensors = [argument for argument in args[:2] if isinstance(argument, Tensor)]
        return self.union(node, tensors, example_shape(node.meta["val"]))

    def movement(self, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Move the labels as the operation moves elements."""
        # Expanded labels may have no view of the shape asked for; a copy of them serves as well.
        is_view = ops.op_name(node) in _VIEWS
        moved = args[0].reshape(args[1]) if is_view else self._as_it_is(node, args, kwargs)
        if isinstance(moved, tuple | list):
            return [compressed(part) for part in moved]
        return compressed(moved)

    def indexing(self, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Move labels by an index that the model holds as a constant; any other index is not understood."""
        known = {index: self._constant(index) for index in node.all_input_nodes[1:]}
        if None in known.values():
            return self.opaque_output(node, args, kwargs)
        assert callable(node.target)
        return compressed(node.target(args[0], *map_arg(node.args[1:], known.__getitem__)))

    def _constant(self, node: Node) -> Tensor | None:
        while ops.op_name(node) in ops.IDENTITIES:
            node = node.all_input_nodes[0]
        return self.fetch_attr(str(node.target)) if node.op == "get_attr" else None

    def concatenation(self, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:  # noqa: ARG002
        """Put labels side by side, without writing out the axes that they don't vary on."""
        tensors: list[Tensor] = args[0]
        axis = args[1] % tensors[0].dim() if len(args) > 1 else 0
        plain = [
            other != axis and all(tensor.stride(other) == 0 or tensor.size(other) == 1 for tensor in tensors)
            for other in range(tensors[0].dim())
        ]
        narrowed = [first_along(tensor, plain) for tensor in tensors]
        sizes = [-1 if not flat else tensors[0].size(i) for i, flat in enumerate(plain)]
        return compressed(torch.cat(narrowed, axis).expand(sizes))

    def pad(self, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Add channels that are padding; padding of the plane changes nothing."""
        labels, amounts = args[0], list(args[1])
        plane_axes = max(labels.dim() - 2, 0)
        beyond_plane = amounts[2 * plane_axes :]
        if any(beyond_plane[2:]):
            return self.opaque_output(node, args, kwargs)
        if not any(beyond_plane):
            return self.same_channels(node, (labels,), kwargs)
        merged = self.plane_merged(labels)
        padded = F.pad(merged, beyond_plane[:2], value=self.padding)
        shape = example_shape(node.meta["val"])
        return padded.view(*padded.shape[:2], *[1] * plane_axes).expand(shape)

    def reduction(self, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Keep each channel's label where only axes of the plane are reduced."""
        value = node.meta["val"]
        axes = args[1] if len(args) > 1 and args[1] != [] else list(range(args[0].dim()))
        axes = [axis % args[0].dim() for axis in ([axes] if isinstance(axes, int) else axes)]
        if isinstance(value, tuple | list) or {0, 1} & set(axes):
            return self.opaque_output(node, args, kwargs)
        keep = len(args) > 2 and bool(args[2])
        merged = self.plane_merged(args[0]).view(*args[0].shape[:2], *[1] * (args[0].dim() - 2))
        kept = merged.expand([1 if axis in axes else size for axis, size in enumerate(args[0].shape)])
        return kept if keep else kept.squeeze(axes)

    def opaque_output(self, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:  # noqa: ARG002
        """Mark every output as unknown, whatever becomes of what was read."""
        label = torch.tensor(self.unknown)
        value = node.meta.get("val")
        if isinstance(value, tuple | list):
            return [label.expand(example_shape(part)) if isinstance(part, Tensor) else part for part in value]
        return label.expand(example_shape(value)) if isinstance(value, Tensor) else value

    def plane_merged(self, labels: Tensor) -> Tensor:
        """Return labels [batch, channels]: what each channel's plane holds, merged."""
        if labels.dim() < 2:
            return labels.reshape(1, -1) if labels.dim() else labels.view(1, 1)
        if all(labels.stride(axis) == 0 or labels.size(axis) == 1 for axis in range(2, labels.dim())):
            return first_along(labels, [axis > 1 for axis in range(labels.dim())]).flatten(1)
        # Groups of channels may have been folded into the batch: its rows are alike only where their stride is 0.
        rows = narrowed_batch(labels)
        merged = torch.tensor([[self.merged(torch.unique(_narrowed(p)).tolist()) for p in row] for row in rows])
        return merged.expand(labels.shape[:2])

    def channels(self, labels: Tensor) -> list[list[int]]:
        """Return the labels of each channel (axis 1) of a tensor, one for each row of the batch that differs."""
        columns: list[list[int]] = narrowed_batch(self.plane_merged(labels)).t().tolist()
        return columns

    def union(self, node: Node, tensors: list[Tensor], shape: list[int]) -> Tensor:
        """Join the labels of tensors that are spread over one another."""
        narrow = [_narrowed(tensor) for tensor in tensors]
        result = narrow[0]
        for other in narrow[1:]:
            shape_of_both = torch.broadcast_shapes(result.shape, other.shape)  # type: ignore[no-untyped-call]
            left, right = result.expand(shape_of_both), other.expand(shape_of_both)
            pairs, inverse = torch.unique(torch.stack([left.flatten(), right.flatten()]), dim=1, return_inverse=True)
            labels = [self.joined(node, a, b) for a, b in pairs.t().tolist()]
            result = torch.tensor(labels)[inverse].view(left.shape)
        return result.expand(shape)


_VIEWS = frozenset({"aten.view.default", "aten._unsafe_view.default"})


def example_shape(value: Any) -> list[int]:
    """Return a tensor's shape with a symbolic batch replaced by that of the exported example."""
    return [size if isinstance(size, int) else int(size.node.hint) for size in value.shape]


def _narrowed(labels: Tensor) -> Tensor:
    return first_along(labels, [stride == 0 for stride in labels.stride()])


def narrowed_batch(labels: Tensor) -> Tensor:
    """Return the first row of labels that are alike over the batch, else all."""
    return labels[:1] if labels.stride(0) == 0 else labels


def first_along(labels: Tensor, axes: list[bool]) -> Tensor:
    """Keep one element along the marked axes."""
    for axis, marked in enumerate(axes):
        labels = labels.narrow(axis, 0, 1) if marked and labels.size(axis) else labels
    return labels


def compressed(labels: Tensor) -> Tensor:
    """Return the same labels with stride 0 along every axis they don't vary on."""
    narrow = labels
    for axis in range(labels.dim()):
        first = narrow.narrow(axis, 0, 1) if narrow.size(axis) else narrow
        if narrow.size(axis) > 1 and (narrow.stride(axis) == 0 or bool((narrow == first).all())):
            narrow = first
    return narrow.expand(labels.shape)
