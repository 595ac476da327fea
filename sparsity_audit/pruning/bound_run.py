"""Running a captured program on bounds in place of activations."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Interpreter, Node

from sparsity_audit.graph import ops
from sparsity_audit.graph.fuse import BATCH_NORM, VIEWS
from sparsity_audit.graph.label_run import example_shape
from sparsity_audit.pruning.constants import pads
from sparsity_audit.pruning.intervals import (
    UNKNOWN,
    Bounds,
    combined,
    convolved,
    exactly,
    mapped,
    normalised,
    product,
    rounded,
    scaled,
)

Handler = Callable[[Node, Sequence[Any], dict[str, Any]], Any]


class BoundRun(Interpreter):
    """Runs a captured program on bounds in place of activations; parameters are what they are.

    Attributes:
        norms: bounds [channels] on the normalised input and on the output of each batch norm with running statistics.
    """

    def __init__(self, program: GraphModule) -> None:
        super().__init__(program, garbage_collect_values=True)
        self.norms: dict[Node, tuple[Bounds, Bounds]] = {}

    @torch.no_grad()
    def trace(self, images: Bounds) -> dict[Node, tuple[Bounds, Bounds]]:
        """Run the whole program on bounds [channels] on the images, and return ``norms``."""
        (images_node,) = (node for node in self.module.graph.nodes if node.op == "placeholder")  # type: ignore[union-attr]
        self.run(_over_planes(images, _shape(images_node)), enable_io_processing=False)
        return self.norms

    def run_node(self, n: Node) -> Any:
        """Give a node its bounds; what is not understood is not bounded."""
        if n.op != "call_function":
            return super().run_node(n)
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        try:
            return _fitted(self._handler(n)(n, args, kwargs), n)
        except (
            AttributeError,
            IndexError,
            RuntimeError,
            TypeError,
            ValueError,
        ):  # a use that its handler didn't foresee
            return _fitted(_unknown(n, args, kwargs), n)

    def _handler(self, node: Node) -> Handler:
        name = ops.op_name(node)
        if node.target is operator.getitem:
            return lambda _node, args, _kwargs: args[0][args[1]]
        if name.startswith("aten.sym_size"):
            return lambda node, args, _kwargs: _shape(node.args[0])[args[1]]
        if not name:  # arithmetic on sizes
            return _as_it_is
        if name in ops.CONVOLUTIONS:
            return _convolution
        if name == BATCH_NORM:
            return self._batch_norm
        if name in ops.SPATIAL:
            return _strided_channels if ops.pools_channels(node) else _spatial
        if name in ops.NONLINEARITIES or name in ops.ELEMENTWISE:
            return _elementwise
        if name in ops.MOVEMENTS or name in _MOVING:
            return self._movement
        return _HANDLERS.get(name, _identity if name in ops.IDENTITIES else _unknown)

    def _batch_norm(self, node: Node, args: Sequence[Any], _kwargs: dict[str, Any]) -> list[Any]:
        mean, variance = exactly(args[3]).low, exactly(args[4]).low
        gain = torch.ones_like(mean) if args[1] is None else exactly(args[1]).low
        shift = torch.zeros_like(mean) if args[2] is None else exactly(args[2]).low
        inner = normalised(_by_channel(args[0], len(mean)), mean, torch.sqrt(variance + args[6])).known()
        outer = scaled(inner, gain, shift).known()
        self.norms[node] = inner, outer
        shape = example_shape(node.meta["val"][0])
        return [_over_planes(outer, shape).fitted(shape), None, None]

    def _movement(self, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Move both ends as the operation moves elements; an index has to be known."""
        if any(isinstance(self.env[other], Bounds) for other in node.all_input_nodes[1:]):
            return _unknown(node, args, kwargs)
        if not isinstance(args[0], Bounds):
            return _as_it_is(node, args, kwargs)
        whole = args[0].expanded(_shape(node.args[0]))
        # Expanded bounds may have no view of the shape asked for; a copy of them serves as well.
        move: Any = torch.Tensor.reshape if ops.op_name(node) in VIEWS else node.target
        low, high = (move(end, *args[1:], **kwargs) for end in (whole.low, whole.high))
        return Bounds(low, high) if isinstance(low, Tensor) else [Bounds(*ends) for ends in zip(low, high, strict=True)]


def _as_it_is(node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    assert callable(node.target)
    return node.target(*args, **kwargs)


def _unknown(node: Node, _args: Sequence[Any], _kwargs: dict[str, Any]) -> Any:
    value = node.meta.get("val")
    if isinstance(value, tuple | list):
        return [UNKNOWN if isinstance(part, Tensor) else None for part in value]
    return UNKNOWN if isinstance(value, Tensor) else None


def _fitted(found: Any, node: Node) -> Any:
    return found.fitted(_shape(node)) if isinstance(found, Bounds) else found


def _identity(node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    if not isinstance(args[0], Bounds):
        return _as_it_is(node, args, kwargs)
    return args[0] if node.meta["val"].dtype in (torch.float32, torch.float64) else UNKNOWN


def _convolution(node: Node, args: Sequence[Any], _kwargs: dict[str, Any]) -> Bounds:
    shape, read = _shape(node), _shape(node.args[0])
    weight, bias = exactly(args[1]).low, None if len(args) < 3 or args[2] is None else exactly(args[2]).low
    if len(read) != weight.dim():  # no batch: its channels come first
        return UNKNOWN
    transposed = ops.is_transposed(node)
    groups = shape[1] // weight.shape[1] if transposed else read[1] // weight.shape[1]
    grouped = weight.reshape(groups, weight.shape[0] // groups, weight.shape[1], -1)
    x = _by_channel(args[0], read[1])
    # A transposed convolution leaves out taps where its stride leaves gaps.
    x = x.with_zero() if transposed or pads(node) else x
    return _over_planes(convolved(x, grouped.transpose(1, 2) if transposed else grouped, bias), shape)


def _spatial(node: Node, args: Sequence[Any], _kwargs: dict[str, Any]) -> Any:
    """Every value lies within its channel's plane, or between it and the zeros that an average counts around it."""
    name, value = ops.op_name(node), node.meta["val"]
    if "bicubic" in name or (len(args) > 6 and args[6] is not None and "avg_pool" in name):  # no average
        return _unknown(node, args, {})
    plane = rounded(args[0].over(range(2, args[0].low.dim())))
    if "avg_pool" in name and "adaptive" not in name and any(torch.tensor(part).any() for part in args[3:5]):
        plane = plane.with_zero()
    return [plane, *[None] * (len(value) - 1)] if isinstance(value, tuple | list) else plane


def _strided_channels(node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Pool over channels; a maximum never falls, so that both ends are pooled as they are."""
    if "max_pool" not in ops.op_name(node) or not isinstance(node.meta["val"], Tensor):
        return _unknown(node, args, kwargs)
    whole = args[0].expanded(_shape(node.args[0]))
    return Bounds(_as_it_is(node, [whole.low, *args[1:]], kwargs), _as_it_is(node, [whole.high, *args[1:]], kwargs))


def _elementwise(node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    x, *rest = (exactly(part).low if isinstance(part, Tensor) else part for part in args)
    name = ops.op_name(node)
    jumps = name == "aten.threshold.default" and rest[1] > rest[0]
    has_pole = name == "aten.pow.Tensor_Scalar" and rest[0] < 0
    if any(isinstance(part, Bounds) for part in rest) or jumps or has_pole:
        return UNKNOWN
    turning = _GELU_TANH if kwargs.get("approximate") == "tanh" else _TURNING.get(name, 0.0)
    if not isinstance(x, Bounds):
        return _as_it_is(node, args, kwargs)
    return mapped(x, lambda ends: _as_it_is(node, [ends, *rest], kwargs), turning)


def _binary(node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    if not any(isinstance(part, Bounds) for part in args):
        return _as_it_is(node, args, kwargs)
    left, right = (part if isinstance(part, Bounds) else exactly(part) for part in args[:2])
    name = ops.op_name(node)
    if name == "aten.div.Tensor":
        right = right.known()  # the quotient by what may be 0 is any number
        zero = (right.low <= 0) & (right.high >= 0)
        right = Bounds(right.low.masked_fill(zero, torch.nan), right.high.masked_fill(zero, torch.nan))
    if name == "aten.mul.Tensor":
        return combined(left, right, product)
    return combined(left, right, lambda a, b: _as_it_is(node, [a, b], kwargs))


def _reduction(_node: Node, args: Sequence[Any], _kwargs: dict[str, Any]) -> Any:
    """Bound a mean or an extreme, which lies within what it is taken over."""
    x: Bounds = args[0]
    axes = args[1] if len(args) > 1 and args[1] else list(range(x.low.dim()))
    axes = [axis % x.low.dim() for axis in ([axes] if isinstance(axes, int) else axes)]
    within = rounded(x.over(axes))
    if len(args) > 2 and args[2]:
        return within
    return Bounds(within.low.squeeze(axes), within.high.squeeze(axes))


def _concatenation(node: Node, args: Sequence[Any], _kwargs: dict[str, Any]) -> Bounds:
    parts = [part if isinstance(part, Bounds) else exactly(part) for part in args[0]]
    shapes = [_shape(part) for part in node.args[0]]  # type: ignore[union-attr]
    axis = args[1] % len(shapes[0]) if len(args) > 1 else 0
    varies = [i == axis or any(part.low.size(i) > 1 for part in parts) for i in range(len(shapes[0]))]
    narrow = [[size if varying else 1 for size, varying in zip(shape, varies, strict=True)] for shape in shapes]
    whole = [part.expanded(shape) for part, shape in zip(parts, narrow, strict=True)]
    return Bounds(torch.cat([part.low for part in whole], axis), torch.cat([part.high for part in whole], axis))


_HANDLERS: dict[str, Handler] = {
    **dict.fromkeys(ops.BINARY, _binary),
    **dict.fromkeys(("aten.mean.dim", "aten.amax.default", "aten.amin.default"), _reduction),
    "aten.cat.default": _concatenation,
}
_MOVING = ops.INDEXING | {"aten.constant_pad_nd.default", "aten.pad.default"}
_TURNING = {
    "aten.silu.default": -1.2784645427610738,
    "aten.gelu.default": -0.7517915246935645,
    "aten.hardswish.default": -1.5,
    "aten.mish.default": -1.1924312145185627,
}
"""Where functions fall and then rise; no other has a turning point besides 0."""
_GELU_TANH = -0.7524614220710162


def _shape(node: Any) -> list[int]:
    return example_shape(node.meta["val"])


def _by_channel(x: Bounds, channels: int) -> Bounds:
    """Return bounds [channels] on each channel (axis 1), over batch and plane."""
    within = x.over([axis for axis in range(x.low.dim()) if axis != 1])
    return Bounds(within.low.flatten(), within.high.flatten()).expanded([channels])


def _over_planes(x: Bounds, shape: Sequence[int]) -> Bounds:
    """Return bounds [channels] as those of a tensor of ``shape``, the same all over each plane."""
    channels = [1, -1, *[1] * (len(shape) - 2)]
    return Bounds(x.low.view(channels), x.high.view(channels))
