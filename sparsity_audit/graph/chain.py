"""Following a convolution's output to the last tensor that depends on each filter alone.

There a filter's activation is measured: after the nonlinearity where norm → nonlinearity follows; at the
normalisation's output where a sum or a concatenation with others comes first.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass

from torch.fx import Node

from sparsity_audit.graph.ops import IDENTITIES, NONLINEARITIES, NORMS, SPATIAL, op_name


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
            node = _first_output(user)
            measured = node
        elif name in NONLINEARITIES and nonlinearity is None:
            nonlinearity = node = measured = user
            if norm is not None:
                break
        elif name in IDENTITIES or name in SPATIAL:
            node = user  # measured stays: a plane that was pooled has lost its minimum
        else:
            break
    fires = nonlinearity is not None and measured is nonlinearity
    return Chain(measured, norm, fires)


def nonlinearity_name(nonlinearity: Node) -> str:
    """Return a nonlinearity's name; ReLU6 reaches the graph as a hardtanh from 0 to 6."""
    name = NONLINEARITIES[op_name(nonlinearity)]
    return "relu6" if name == "hardtanh" and tuple(nonlinearity.args[1:3]) == (0.0, 6.0) else name


def _only_user(node: Node) -> Node | None:
    """Return the only node that reads the values of ``node``; reading its size does not count."""
    users = [user for user in node.users if not op_name(user).startswith("aten.sym_size")]
    return users[0] if len(users) == 1 and users[0].op == "call_function" else None


def _first_output(norm: Node) -> Node:
    """Return the normalised tensor of a norm, which some operations give as the first of several outputs."""
    for user in norm.users:
        if user.target is operator.getitem and user.args[1] == 0:
            return user
    return norm
