"""Following a convolution's output to the last tensor that depends on each filter alone.

There a filter's activation is measured: after the nonlinearity where norm → nonlinearity follows; at the
normalisation's output where a sum or a concatenation with others comes first.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass

from torch.fx import Node

from sparsity_audit.graph.ops import IDENTITIES, NONLINEARITIES, NORMS, SPATIAL, op_name, pools_channels


@dataclass(frozen=True)
class Chain:
    """What follows one convolution call before its filters meet others."""

    measured: Node
    norm: Node | None
    fires: bool
    """The measured tensor is a nonlinearity's output, so that firing rate and universality are defined."""


def follow(convolution: Node) -> Chain:
    """Return the chain that starts at a convolution call."""
    measured = convolution
    norm: Node | None = None
    nonlinearity: Node | None = None
    node = convolution
    while (user := _only_user(node)) is not None:
        name = op_name(user)
        if name in NORMS and norm is None and user.args[0] is node:
            norm = user
            node = measured = _first_output(user)
            nonlinearity = None
        elif name in NONLINEARITIES and nonlinearity is None:
            nonlinearity = node = measured = user
            if norm is not None:
                break
        elif name in IDENTITIES or (name in SPATIAL and not pools_channels(user)):
            node = _first_output(user)  # measured stays: a plane that was pooled has lost its minimum
        else:
            break
    return Chain(measured, norm, nonlinearity is not None)


def nonlinearity_name(nonlinearity: Node) -> str:
    """Return a nonlinearity's name; one that cuts at 0, or at 0 and 6, is a ReLU however it is written."""
    name = NONLINEARITIES[op_name(nonlinearity)]
    if name not in ("clamp", "hardtanh"):
        return name
    bounds = [*nonlinearity.args[1:3], None, None][:2]
    return "relu" if bounds == [0, None] else "relu6" if bounds == [0, 6] else name


def _only_user(node: Node) -> Node | None:
    """Return the only node that reads the values of ``node``; reading its size does not count."""
    users = [user for user in node.users if not op_name(user).startswith("aten.sym_size")]
    return users[0] if len(users) == 1 and users[0].op == "call_function" else None


def _first_output(call: Node) -> Node:
    """Return the tensor that matters of a norm or pooling; some operations give it as the first of several."""
    for user in call.users:
        if user.target is operator.getitem and user.args[1] == 0:
            return user
    return call
