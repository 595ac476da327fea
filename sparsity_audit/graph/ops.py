"""What each ATen operation of an exported graph does to channels, as far as an audit needs to know.

Names are those after ``run_decompositions({})``, where functional, module and in-place forms look alike.
An operation that stands in no table is *opaque*: whatever it reads is held to be needed.
"""

from __future__ import annotations

import re

from torch.fx import Node

CONVOLUTIONS = frozenset(
    f"aten.{name}"
    for name in (
        "conv1d.default conv2d.default conv3d.default conv1d.padding conv2d.padding conv3d.padding "
        "conv_transpose1d.default conv_transpose2d.input conv_transpose3d.input"
    ).split()
)

NORMS = {
    "aten._native_batch_norm_legit_no_training.default": "batch_norm",
    "aten._native_batch_norm_legit.no_stats": "batch_norm",
    "aten.group_norm.default": "group_norm",
    "aten.instance_norm.default": "instance_norm",
}
"""Normalisations that scale each channel by a γ of its own."""

NONLINEARITIES = {
    f"aten.{operation}.default": name
    for operation, name in {
        "relu": "relu",
        "relu6": "relu6",
        "hardtanh": "hardtanh",
        "clamp": "clamp",
        "clamp_min": "clamp",
        "threshold": "threshold",
        "leaky_relu": "leaky_relu",
        "_prelu_kernel": "prelu",
        "prelu": "prelu",
        "silu": "silu",
        "gelu": "gelu",
        "hardswish": "hardswish",
        "hardsigmoid": "hardsigmoid",
        "sigmoid": "sigmoid",
        "tanh": "tanh",
        "elu": "elu",
        "selu": "selu",
        "celu": "celu",
        "softplus": "softplus",
        "mish": "mish",
        "rrelu": "rrelu",
        "log_sigmoid": "log_sigmoid",
    }.items()
}

IDENTITIES = frozenset(
    f"aten.{name}"
    for name in (
        "clone.default alias.default detach.default contiguous.default dropout.default feature_dropout.default "
        "_to_copy.default to.dtype to.device lift_fresh_copy.default"
    ).split()
)

ELEMENTWISE = frozenset(
    f"aten.{name}"
    for name in (
        "neg.default abs.default exp.default sqrt.default rsqrt.default square.default log.default sign.default "
        "pow.Tensor_Scalar clamp_max.default add.Scalar sub.Scalar rsub.Scalar mul.Scalar "
        "div.Scalar softshrink.default hardshrink.default floor.default round.default"
    ).split()
)
"""One tensor in, the same shape out, each element from its own."""

BINARY = frozenset(
    f"aten.{name}" for name in "add.Tensor sub.Tensor mul.Tensor div.Tensor maximum.default minimum.default".split()
)

SPATIAL = frozenset(
    f"aten.{name}"
    for name in (
        "max_pool1d.default max_pool2d.default max_pool3d.default avg_pool1d.default avg_pool2d.default "
        "avg_pool3d.default adaptive_avg_pool1d.default adaptive_avg_pool2d.default adaptive_avg_pool3d.default "
        "adaptive_max_pool1d.default adaptive_max_pool2d.default max_pool2d_with_indices.default "
        "upsample_nearest1d.default upsample_nearest2d.default upsample_nearest2d.vec upsample_bilinear2d.default "
        "upsample_bilinear2d.vec upsample_bicubic2d.default upsample_bicubic2d.vec"
    ).split()
)
"""Batch and channel stay, the plane changes; every output of a channel comes from that channel alone."""

REDUCTIONS = frozenset(
    f"aten.{name}" for name in "mean.dim sum.dim_IntList amax.default amin.default max.dim min.dim".split()
)

MOVEMENTS = frozenset(
    f"aten.{name}"
    for name in (
        "view.default reshape.default _unsafe_view.default permute.default transpose.int slice.Tensor "
        "select.int unsqueeze.default squeeze.dim squeeze.dims squeeze.default expand.default flatten.using_ints "
        "split.Tensor split_with_sizes.default chunk.default unbind.int stack.default t.default roll.default "
        "flip.default pixel_shuffle.default pixel_unshuffle.default narrow.default repeat.default "
        "repeat_interleave.self_int channel_shuffle.default unflatten.int movedim.int"
    ).split()
)
"""Elements are moved or repeated, never changed: the operation itself can be run on a tensor of labels."""

INDEXING = frozenset({"aten.index.Tensor", "aten.index_select.default"})
"""Movements by an index tensor, which must be known."""

LINEAR = frozenset(f"aten.{name}" for name in "linear.default addmm.default mm.default matmul.default".split())

SIGMOIDS = frozenset({"aten.sigmoid.default", "aten.hardsigmoid.default"})

PER_IMAGE = (
    CONVOLUTIONS
    | frozenset(NORMS)
    | frozenset(NONLINEARITIES)
    | IDENTITIES
    | ELEMENTWISE
    | BINARY
    | SPATIAL
    | {"aten.linear.default", "aten.addmm.default", "aten.layer_norm.default"}
) - {"aten._native_batch_norm_legit.no_stats"}
"""Operations that treat each entry of the first axis, the batch, by itself."""


def op_name(node: Node) -> str:
    """Return the operation of a call as ``aten.relu.default``; empty for anything but an operator call."""
    return str(node.target) if node.op == "call_function" and hasattr(node.target, "_schema") else ""


def is_convolution(node: Node) -> bool:
    """Tell whether the node calls a convolution, transposed ones included."""
    return op_name(node) in CONVOLUTIONS


def is_transposed(node: Node) -> bool:
    """Tell whether the node calls a transposed convolution, whose weight has its input channels first."""
    return op_name(node).startswith("aten.conv_transpose")


def pools_channels(node: Node) -> bool:
    """Tell whether the node pools along the channel axis, too.

    So it is where a pooling over k axes gets a tensor of k + 1: it takes the batch for channels and the channels
    for the first of its axes.
    """
    axes = re.match(r"aten\.\w+_pool(\d)d", op_name(node))
    source = node.args[0] if node.args else None
    return axes is not None and isinstance(source, Node) and source.meta["val"].dim() == int(axes[1]) + 1
