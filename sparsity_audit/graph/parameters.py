"""What a call of a graph is called, and which parameters of the network it has."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.fx import Node

from sparsity_audit.graph import ops
from sparsity_audit.graph.label_run import example_shape


def is_parameter(node: Node) -> bool:
    """Tell whether a node is a parameter or buffer, perhaps in another shape."""
    return _source(node).op == "get_attr"


def parameter_path(node: Node, place: int) -> str | None:
    """Return the path of the parameter at a place among a call's arguments; None where there stands none."""
    argument = node.args[place] if len(node.args) > place else None
    source = _source(argument) if isinstance(argument, Node) else None
    return str(source.target) if source is not None and source.op == "get_attr" else None


def channel_parameter(node: Node) -> str | None:
    """Return the path of the first parameter or statistic of a norm or a PReLU that has a value for each channel."""
    for place in range(1, len(node.args)):
        path = parameter_path(node, place)
        if path is not None:
            argument = node.args[place]
            assert isinstance(argument, Node)
            return path if max(example_shape(argument.meta["val"]), default=1) > 1 else None
    return None


def tensors_in(value: Any) -> list[Tensor]:
    """Return the tensors of a call's arguments, or of a network's answer."""
    if isinstance(value, Tensor):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, tuple | list) else ()
    return [tensor for part in parts for tensor in tensors_in(part)]


def short_name(node: Node) -> str:
    """Return an operation's name as people know it."""
    return ops.op_name(node).removeprefix("aten.").partition(".")[0] or str(node.target)


def module_path(node: Node) -> str:
    """Return the path of the innermost module that makes a call, as the trace recorded it."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    return str(stack[-1][0]) if stack else ""


def _source(node: Node) -> Node:
    while ops.op_name(node) in ops.MOVEMENTS | ops.IDENTITIES and isinstance(node.args[0], Node):
        node = node.args[0]
    return node
