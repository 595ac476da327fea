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
from sparsity_audit.pruning.owners import BATCH_NORM

VARIABLE, ZERO = 0, 1
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
        shape, transposed = example_shape(node.meta["val"]), ops.is_transposed(node)
        if pads(node) or transposed:  # nothing but 0 is the same at the border
            values = [value if value == 0 else None for value in values]
        width = example_shape(node.args[1].meta["val"])[1]  # type: ignore[union-attr]
        groups = _grouped(values, shape[1] // width if transposed else len(values) // width)
        if all(None in group for group in groups):
            return torch.tensor(VARIABLE).expand(shape)
        weight, bias = self._given(node, 1, 0.0, 0), self._given(node, 2, 0.0, shape[1])
        if weight is None or bias is None:
            return torch.tensor(VARIABLE).expand(shape)
        return self._spread(_filtered(groups, None if transposed else weight, bias), shape)

    def same_channels(self, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Carry constants through batch norms and pooling."""
        name = ops.op_name(node)
        if name in ops.NORMS:
            result = list(super().same_channels(node, args, kwargs))
            result[0] = self._normed(node, args[0])
            return tuple(result) if isinstance(node.meta["val"], tuple | list) else result[0]
        spread = super().same_channels(node, (self._pooled(node, args[0]), *args[1:]), kwargs)
        return (spread[0], *map(_varying, spread[1:])) if isinstance(spread, tuple) else spread

    def strided_channels(self, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Carry constants through a pooling that takes the channels for an axis of the plane."""
        return super().strided_channels(node, (self._pooled(node, args[0]), *args[1:]), kwargs)

    def unary(self, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Apply an elementwise operation to the constants."""
        if "prelu" in ops.op_name(node):
            return self._rectified(node, args[0])
        if any(isinstance(argument, Node) or argument is True for argument in node.args[1:]):  # True: it draws lots
            return _varying(args[0])
        return self._mapped(args[0], lambda value: result_of(node, [scalar(value), *args[1:]], kwargs))

    def binary(self, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
        """Apply an operation of two tensors, or of one and a number, to the constants."""
        left, right = args[:2]
        if isinstance(left, Tensor) and isinstance(right, Tensor):
            return super().binary(node, args, kwargs)
        if all(isinstance(argument, Node) for argument in node.args[:2]):  # a number that hangs on the batch's size
            return _varying(left if isinstance(left, Tensor) else right)
        if isinstance(left, Tensor):
            return self._mapped(left, lambda value: result_of(node, [scalar(value), right], kwargs))
        return self._mapped(right, lambda value: result_of(node, [scalar(left), scalar(value)], kwargs))

    def reduction(self, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Keep constants through means and extrema; of sums 0 alone."""
        labels = args[0]
        if ops.op_name(node) not in _KEEP_CONSTANTS:
            labels = self._mapped(labels, _zero_alone)
        return super().reduction(node, [labels, *args[1:]], kwargs)

    def pad(self, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Keep constants that the padding agrees with."""
        mode, filling = _padding(node, args)
        plane_axes = max(args[0].dim() - 2, 0)
        labels = args[0]
        if mode == "constant" and any(args[1][: 2 * plane_axes]):
            labels = self._mapped(labels, lambda value: value if value == filling else None)
        if any(args[1][2 * plane_axes :]):
            self.read[node] = self._channel_values(labels)
            if filling != 0 or mode != "constant":
                return self.opaque_output(node, args, kwargs)
        return super().pad(node, [labels, *args[1:]], kwargs)

    def linear(self, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Note what is read; whatever comes out varies."""
        if args[0].dim() == 2:
            self.read[node] = self._channel_values(args[0])
        return super().linear(node, args, kwargs)

    def merged(self, labels: Sequence[int]) -> int:
        """Return the one constant that a plane holds."""
        return labels[0] if len(labels) == 1 else VARIABLE

    def joined(self, node: Node, left: int, right: int) -> int:
        """Return what an operation makes of two constants; 0 stays 0 whatever it is multiplied by."""
        if ops.op_name(node) == "aten.mul.Tensor" and ZERO in (left, right):
            return ZERO
        if VARIABLE in (left, right):
            return VARIABLE
        return self._label(result_of(node, [scalar(self._values[left]), scalar(self._values[right])], node.kwargs))

    def _normed(self, node: Node, labels: Tensor) -> Tensor:
        values = self._channel_values(labels)
        fillings = (1.0, 0.0, 0.0, 1.0)
        gain, shift, mean, variance = (
            self._given(node, 1 + place, filling, len(values)) for place, filling in enumerate(fillings)
        )
        if ops.op_name(node) != BATCH_NORM or gain is None or shift is None or mean is None or variance is None:
            return _varying(labels)
        eps = node.args[6]
        assert isinstance(eps, float)
        inputs = torch.tensor([math.nan if value is None else value for value in values], dtype=torch.float64)
        found = (inputs - mean) * (gain / torch.sqrt(variance + eps)) + shift
        return self._spread([None if math.isnan(value) else value for value in found.tolist()], list(labels.shape))

    def _rectified(self, node: Node, labels: Tensor) -> Tensor:
        """Apply a PReLU, whose slope may differ from channel to channel."""
        values = self._channel_values(labels)
        path = parameter_path(node, 1)
        if path is None:
            return _varying(labels)
        slopes = self.fetch_attr(path).detach().double().flatten()
        slopes = slopes.expand(len(values)).tolist() if slopes.numel() == 1 else slopes.tolist()
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

    def _pooled(self, node: Node, labels: Tensor) -> Tensor:
        """Return labels of what a pooling leaves constant: of an average over zeros, too, 0 alone."""
        averages = "avg_pool" in ops.op_name(node) and not ops.op_name(node).startswith("aten.adaptive")
        return self._mapped(labels, _zero_alone) if averages and not _averages_the_plane(node) else labels

    def _given(self, node: Node, place: int, filling: float, size: int) -> Tensor | None:
        """Return a parameter of a call, float64; ``filling`` where the call has none, None where it is computed."""
        argument = node.args[place] if len(node.args) > place else None
        if argument is None:
            return torch.full((size,), filling, dtype=torch.float64)
        if not isinstance(argument, Node) or argument.op != "get_attr":
            return None
        tensor: Tensor = self.fetch_attr(str(argument.target))
        return tensor.detach().double().cpu()


def pads(convolution: Node) -> bool:
    """Tell whether a convolution call pads its input with zeros."""
    padding = convolution.args[4] if len(convolution.args) > 4 else 0
    if isinstance(padding, str):
        kernel = example_shape(convolution.args[1].meta["val"])[2:]  # type: ignore[union-attr]
        return padding != "valid" and any(size > 1 for size in kernel)
    return any(padding) if isinstance(padding, tuple | list) else bool(padding)


def _grouped(values: Values, groups: int) -> list[Values]:
    size = len(values) // groups
    return [values[start : start + size] for start in range(0, len(values), size)]


def _filtered(groups: list[Values], weight: Tensor | None, bias: Tensor) -> Values:
    """Return what filters put out all of whose inputs are constant, and None for the others.

    Args:
        groups: of a convolution, the constants that each reads.
        weight: [filters, inputs / groups, …kernel]; None where only inputs of 0 are given.
        bias: [filters].
    """
    inputs = torch.tensor([[math.nan if v is None else v for v in group] for group in groups], dtype=torch.float64)
    spread = inputs.repeat_interleave(len(bias) // len(groups), dim=0)
    kernels = torch.ones(()) if weight is None else weight.flatten(2).sum(2)
    sums = (kernels * spread).sum(1) + bias
    return [None if math.isnan(value) else value for value in sums.tolist()]


def _zero_alone(value: float) -> float | None:
    return value if value == 0 else None


def _averages_the_plane(pooling: Node) -> bool:
    """Tell whether an average pooling divides by the number of elements of the plane that it adds up."""
    given: list[Any] = list(pooling.args[3:7])
    defaults: list[Any] = [0, False, True, None]
    padding, ceil, counts, divisor = given + defaults[len(given) :]
    padded = any(padding) if isinstance(padding, tuple | list) else bool(padding)
    return divisor is None and not ceil and not (counts and padded)


def _padding(node: Node, args: Sequence[Any]) -> tuple[str, float]:
    """Return how a padding fills what it adds, and with which number where that is constant."""
    given: list[Any] = ["constant"] if ops.op_name(node) == "aten.constant_pad_nd.default" else []
    given += args[2:]
    defaults: list[Any] = ["constant", None]
    mode, filling = given + defaults[len(given) :]
    return mode, filling or 0.0


def result_of(node: Node, args: Sequence[Any], kwargs: Mapping[str, Any]) -> float | None:
    """Return what an operation gives for a number; None where it gives none."""
    assert callable(node.target)
    try:
        return float(node.target(*args, **kwargs))
    except (RuntimeError, TypeError, ValueError):
        return None


def _varying(labels: Tensor) -> Tensor:
    return torch.tensor(VARIABLE).expand(labels.shape)


def scalar(value: float) -> Tensor:
    """Return a number as an operation takes it."""
    return torch.tensor(value, dtype=torch.float64)


def _axes(labels: Tensor) -> list[tuple[int, int]]:
    return list(zip(labels.stride(), labels.shape, strict=True))
