"""Which channels are constant once some filters are held at a value, and what they are there.

A constant is carried through activations, batch norms in either order, pooling, sums, concatenations and depthwise
convolutions. Under zero padding a constant other than 0 is none any more: the border differs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from sparsity_audit.graph import ops
from sparsity_audit.graph.label_run import LabelRun, example_shape
from sparsity_audit.graph.parameters import parameter_path

VARIABLE, ZERO = 0, 1
_BATCH_NORM = "aten._native_batch_norm_legit_no_training.default"
_KEEP_CONSTANTS = frozenset(name for name in ops.REDUCTIONS if not name.startswith("aten.sum"))

Values = list[float | None]
"""For each channel or feature that is read, its constant; None where it varies."""


class ChannelConstants(LabelRun):
    """Runs a program on constants.

    Attributes:
        read: what each convolution, linear layer and padding of channels reads.
    """

    padding, parameter, unknown = ZERO, VARIABLE, VARIABLE

    def __init__(self, program: GraphModule, held: Mapping[Node, Mapping[int, float]]) -> None:
        """Run the program with the channels of some nodes held at a value."""
        super().__init__(program)
        self._held = held
        self._values = [math.nan, 0.0]
        self._number = {0.0: ZERO}
        self.read: dict[Node, Values] = {}
        self.trace()

    def run_node(self, n: Node) -> Any:
        """Give a node its labels, and the held channels theirs."""
        labels = super().run_node(n)
        if n not in self._held:
            return labels
        values = self._channel_values(labels)
        for channel, value in self._held[n].items():
            values[channel] = value
        return self._spread(values, list(labels.shape))

    def convolution(self, node: Node, args: Sequence[Any], _kwargs: dict[str, Any]) -> Tensor:
        """Return the filters of which all inputs are constant, and what they put out."""
        values = self._channel_values(args[0])
        self.read[node] = values
        weight, bias = self._tensor(node, 1), self._tensor(node, 2)
        shape = example_shape(node.meta["val"])
        if weight is None or all(value is None for value in values):
            return torch.tensor(VARIABLE).expand(shape)
        if pads(node) or ops.is_transposed(node):  # nothing but 0 is the same at the border
            values = [value if value == 0 else None for value in values]
        return self._spread(_filtered(values, weight, bias, shape[1], transposed=ops.is_transposed(node)), shape)

    def same_channels(self, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Carry constants through batch norms and pooling."""
        name = ops.op_name(node)
        if name in ops.NORMS:
            result = list(super().same_channels(node, args, kwargs))
            result[0] = self._normed(node, args[0])
            return tuple(result) if isinstance(node.meta["val"], tuple | list) else result[0]
        if "avg_pool" in name and not name.startswith("aten.adaptive") and _pools_padding(node):
            return super().same_channels(node, (self._mapped(args[0], lambda v: v if v == 0 else None),), kwargs)
        return super().same_channels(node, args, kwargs)

    def unary(self, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Apply an elementwise operation to the constants."""
        if any(isinstance(argument, Node) for argument in node.args[1:]):
            slope = self._tensor(node, 1)
            return (
                self._rectified(args[0], slope) if "prelu" in ops.op_name(node) and slope is not None else args[0] * 0
            )
        return self._mapped(args[0], lambda value: _result(node, [_scalar(value), *args[1:]], kwargs))

    def binary(self, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
        """Apply an operation of two tensors, or of one and a number, to the constants."""
        left, right = args[:2]
        if isinstance(left, Tensor) and isinstance(right, Tensor):
            return super().binary(node, args, kwargs)
        if isinstance(left, Tensor):
            return self._mapped(left, lambda value: _result(node, [_scalar(value), right], kwargs))
        return self._mapped(right, lambda value: _result(node, [_scalar(left), _scalar(value)], kwargs))

    def reduction(self, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Keep constants through means and extrema; of sums 0 alone."""
        labels = args[0]
        if ops.op_name(node) not in _KEEP_CONSTANTS:
            labels = self._mapped(labels, lambda value: value if value == 0 else None)
        return super().reduction(node, [labels, *args[1:]], kwargs)

    def pad(self, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Keep constants that the padding agrees with."""
        filling = args[2] if len(args) > 2 and isinstance(args[2], int | float) else 0.0
        plane_axes = max(args[0].dim() - 2, 0)
        labels = args[0]
        if any(args[1][: 2 * plane_axes]):
            labels = self._mapped(labels, lambda value: value if value == filling else None)
        if any(args[1][2 * plane_axes :]):
            self.read[node] = self._channel_values(labels)
            if filling != 0:
                return self.opaque_output(node, args, kwargs)
        return super().pad(node, [labels, *args[1:]], kwargs)

    def opaque_output(self, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Note what a linear layer reads; whatever comes out varies."""
        if ops.op_name(node) == "aten.linear.default" and isinstance(args[0], Tensor) and args[0].dim() == 2:
            self.read[node] = self._channel_values(args[0])
        return super().opaque_output(node, args, kwargs)

    def merged(self, labels: Sequence[int]) -> int:
        """Return the one constant that a plane holds."""
        return labels[0] if len(labels) == 1 else VARIABLE

    def joined(self, node: Node, left: int, right: int) -> int:
        """Return what an operation makes of two constants; 0 stays 0 whatever it is multiplied by."""
        if ops.op_name(node) == "aten.mul.Tensor" and ZERO in (left, right):
            return ZERO
        if VARIABLE in (left, right):
            return VARIABLE
        return self._label(_result(node, [_scalar(self._values[left]), _scalar(self._values[right])], node.kwargs))

    def _normed(self, node: Node, labels: Tensor) -> Tensor:
        values = self._channel_values(labels)
        if ops.op_name(node) != _BATCH_NORM:
            return torch.tensor(VARIABLE).expand(labels.shape)
        gamma, beta, mean, variance = (self._tensor(node, place) for place in range(1, 5))
        eps = node.args[6]
        assert mean is not None
        assert variance is not None
        assert isinstance(eps, float)
        gain = torch.ones_like(mean) if gamma is None else gamma
        shift = torch.zeros_like(mean) if beta is None else beta
        factor = gain / torch.sqrt(variance + eps)
        found = [
            None if value is None else float((value - mean[c]) * factor[c] + shift[c]) for c, value in enumerate(values)
        ]
        return self._spread(found, list(labels.shape))

    def _rectified(self, labels: Tensor, slope: Tensor) -> Tensor:
        """Apply a PReLU, whose slope may differ from channel to channel."""
        values = self._channel_values(labels)
        slopes = slope.flatten().expand(len(values)).tolist() if slope.numel() == 1 else slope.flatten().tolist()
        found = [None if v is None else max(v, 0.0) + s * min(v, 0.0) for v, s in zip(values, slopes, strict=True)]
        return self._spread(found, list(labels.shape))

    def _mapped(self, labels: Tensor, change: Callable[[float], float | None]) -> Tensor:
        """Return labels of the constants that a function makes of these."""
        narrow = [slice(0, 1) if stride == 0 and size else slice(None) for stride, size in _axes(labels)]
        present, places = torch.unique(labels[tuple(narrow)], return_inverse=True)
        made = [
            VARIABLE if label == VARIABLE else self._label(change(self._values[label])) for label in present.tolist()
        ]
        return torch.tensor(made, dtype=torch.int64)[places].expand(labels.shape)

    def _channel_values(self, labels: Tensor) -> Values:
        """Return the constant of each channel; one that rows of the batch disagree on varies."""
        found: Values = []
        for rows in self.channels(labels):
            label = rows[0] if len(set(rows)) == 1 else VARIABLE
            found.append(None if label == VARIABLE else self._values[label])
        return found

    def _spread(self, values: Values, shape: list[int]) -> Tensor:
        labels = torch.tensor([self._label(value) for value in values], dtype=torch.int64)
        return labels.view(1, -1, *[1] * (len(shape) - 2)).expand(shape)

    def _label(self, value: float | None) -> int:
        if value is None or not math.isfinite(value):
            return VARIABLE
        if value not in self._number:
            self._number[value] = len(self._values)
            self._values.append(value)
        return self._number[value]

    def _tensor(self, node: Node, place: int) -> Tensor | None:
        path = parameter_path(node, place)
        if path is None:
            return None
        tensor: Tensor = self.fetch_attr(path)
        return tensor.detach().double().cpu()


def pads(convolution: Node) -> bool:
    """Tell whether a convolution call pads its input with zeros."""
    padding = convolution.args[4] if len(convolution.args) > 4 else 0
    if isinstance(padding, str):
        kernel = example_shape(convolution.args[1].meta["val"])[2:]  # type: ignore[union-attr]
        return padding != "valid" and any(size > 1 for size in kernel)
    return any(padding) if isinstance(padding, tuple | list) else bool(padding)


def _filtered(values: Values, weight: Tensor, bias: Tensor | None, filters: int, *, transposed: bool) -> Values:
    """Return what filters put out all of whose inputs are constant, and None for the others.

    Args:
        weight: [filters, inputs / groups, …kernel]; of a transposed convolution only inputs of 0 are given.
    """
    groups = filters // weight.shape[1] if transposed else len(values) // weight.shape[1]
    constants = torch.tensor([math.nan if value is None else value for value in values], dtype=torch.float64)
    base = torch.zeros(filters, dtype=torch.float64) if bias is None else bias
    if transposed:
        known = torch.zeros(filters, dtype=torch.float64)
        known = known + constants.view(groups, -1).sum(1).repeat_interleave(filters // groups)
        return [None if math.isnan(value) else float(base[i]) for i, value in enumerate(known.tolist())]
    inputs = constants.view(groups, 1, -1).expand(groups, filters // groups, -1).reshape(filters, -1)
    sums = (weight.flatten(2).sum(2) * inputs).sum(1) + base
    return [None if math.isnan(value) else value for value in sums.tolist()]


def _pools_padding(node: Node) -> bool:
    """Tell whether an average pooling counts zeros around the plane."""
    padding = node.args[3] if len(node.args) > 3 else 0
    counts = node.args[5] if len(node.args) > 5 else True
    ceil = bool(node.args[4]) if len(node.args) > 4 else False
    return ceil or (bool(counts) and (any(padding) if isinstance(padding, tuple | list) else bool(padding)))


def _result(node: Node, args: Sequence[Any], kwargs: Mapping[str, Any]) -> float | None:
    """Return what an operation gives for a number; None where it gives none."""
    assert callable(node.target)
    try:
        return float(node.target(*args, **kwargs))
    except (RuntimeError, TypeError, ValueError):
        return None


def _scalar(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def _axes(labels: Tensor) -> list[tuple[int, int]]:
    return list(zip(labels.stride(), labels.shape, strict=True))
