"""Which layers can leave filters out of their convolution though the channels stay, and what is put there instead."""

from __future__ import annotations

from torch import nn
from torch.fx import Node

from sparsity_audit.graph import ops
from sparsity_audit.graph.chain import follow
from sparsity_audit.graph.feature_graph import FeatureLayer
from sparsity_audit.graph.parameters import module_path
from sparsity_audit.models.slim import Scatter
from sparsity_audit.pruning.channels import ChannelClasses
from sparsity_audit.pruning.constants import result_of, scalar
from sparsity_audit.pruning.holds import held_node


def can_scatter(layer: FeatureLayer, classes: ChannelClasses) -> bool:
    """Tell whether a layer's norm, or else its convolution, can put what it computes among constants.

    Both have to be cut for it, so their parameters must be theirs alone; and between them nothing may have parameters
    for each channel.
    """
    norm = follow(layer.call).norm
    if layer.groups > 1 or layer.transposed or classes.owners.why_not(layer.call) or classes.owners.shared(layer.call):
        return False
    if norm is not None and (norm not in classes.affine or classes.owners.why_not(norm) or classes.owners.shared(norm)):
        return False
    between = norm.args[0] if norm is not None else layer.call
    while isinstance(between, Node) and between is not layer.call:
        if between in classes.affine:
            return False
        between = between.args[0]
    return _last_steps(layer, classes.owners.owner(norm or layer.call)) is not None


def _last_steps(layer: FeatureLayer, owner: nn.Module | None) -> list[Node] | None:
    """Return what the module that would scatter does after the held tensor, as some norms apply a nonlinearity.

    None where that is more than elementwise operations in a row; putting filters among constants comes after them.
    """
    last = held_node(layer)
    source = follow(layer.call).norm or layer.call
    inside = module_path(source)
    steps: list[Node] = []
    while True:
        within = [user for user in last.users if _is_within(user, inside)]
        if not within or (isinstance(owner, Scatter) and ops.op_name(within[0]) == "aten.index_copy.default"):
            return steps
        if len(last.users) > 1 or not _is_elementwise(within[0]):
            return None
        last = within[0]
        steps.append(last)


def left_behind(layer: FeatureLayer, owner: nn.Module, value: float) -> float:
    """Return what stands in place of a filter where its norm, or else its convolution, puts out."""
    for step in _last_steps(layer, owner) or []:
        found = result_of(step, [scalar(value), *step.args[1:]], step.kwargs)
        assert found is not None
        value = found
    return value


def _is_within(node: Node, path: str) -> bool:
    """Tell whether a call is made inside a module."""
    return any(str(place) == path for place, _ in (node.meta.get("nn_module_stack") or {}).values())


def _is_elementwise(node: Node) -> bool:
    known = ops.NONLINEARITIES.keys() | ops.ELEMENTWISE | ops.IDENTITIES | ops.BINARY
    first, *others = node.args
    return ops.op_name(node) in known and isinstance(first, Node) and not any(isinstance(a, Node) for a in others)
