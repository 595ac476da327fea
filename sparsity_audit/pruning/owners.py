"""Whose parameters a call has, and whether they can be cut: modules of known kinds alone, used as these use them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Literal

from torch import nn
from torch.fx import GraphModule, Node

from sparsity_audit.graph import ops
from sparsity_audit.graph.chain import follow
from sparsity_audit.graph.parameters import parameter_path

BiasPlace = Literal["own", "norm", "new"]
"""Where a number can be added to each output: the layer's bias, the mean of its own norm, or a bias to be made."""

BATCH_NORM = "aten._native_batch_norm_legit_no_training.default"

_CONVOLUTION = (nn.modules.conv._ConvNd, {"weight": 1, "bias": 2})
_KINDS: dict[str, tuple[type[nn.Module], dict[str, int]]] = {
    **dict.fromkeys(ops.CONVOLUTIONS, _CONVOLUTION),
    "aten.linear.default": (nn.Linear, {"weight": 1, "bias": 2}),
    BATCH_NORM: (nn.modules.batchnorm._BatchNorm, {"weight": 1, "bias": 2, "running_mean": 3, "running_var": 4}),
    "aten.prelu.default": (nn.PReLU, {"weight": 1}),
    "aten._prelu_kernel.default": (nn.PReLU, {"weight": 1}),
}
"""Of each operation whose parameters can be cut: the module that makes it, and at which places its tensors stand."""

_ADDING_A_BIAS = {kind.forward for kind in (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)}
"""Forward passes that add a bias that was not there before."""


class Owners:
    """The modules whose parameters the calls of a program have."""

    def __init__(self, program: GraphModule, modules: Mapping[str, nn.Module], calls: Collection[Node]) -> None:
        """Look through a program.

        Args:
            modules: of the network, by path; one that stands at several paths by all of them.
            calls: those whose parameters are to be cut.
        """
        self._modules, self._calls = modules, frozenset(calls)
        self._users: dict[str, set[Node]] = {}
        for node in program.graph.nodes:
            if node.op == "get_attr":
                self._users.setdefault(str(node.target), set()).update(_readers(node))
        self._holders: dict[int, set[int]] = {}
        for part in modules.values():
            for tensor in (*part._parameters.values(), *part._buffers.values()):
                if tensor is not None:
                    self._holders.setdefault(id(tensor), set()).add(id(part))

    def owner(self, node: Node) -> nn.Module | None:
        """Return the module that has the first parameter of a call; None without any, and where it is computed."""
        _, places = _KINDS.get(ops.op_name(node), (nn.Module, {}))
        paths = (parameter_path(node, place) for place in places.values())
        path = next((path for path in paths if path is not None), None)
        return None if path is None else self._modules.get(path.rpartition(".")[0])

    def why_not(self, node: Node) -> str | None:
        """Return why the parameters of a call can't be cut; None where they can."""
        name = ops.op_name(node)
        kind, places = _KINDS[name]
        owner = self.owner(node)
        if parameter_path(node, 1) is None and name != BATCH_NORM:
            return "a weight that reads or makes it is computed while the network runs"
        if not isinstance(owner, kind):
            return f"its parameters belong to a {type(owner).__name__}, which can't be cut"
        for leaf, place in places.items():
            path, tensor = parameter_path(node, place), getattr(owner, leaf, None)
            if path is None and tensor is None:
                continue
            if tensor is not None and len(self._holders.get(id(tensor), ())) > 1:
                return f"{path} belongs to several modules"
            prefix, _, own_leaf = (path or "").rpartition(".")
            if path is None or own_leaf != leaf or self._modules.get(prefix) is not owner:
                return f"the {type(owner).__name__} with {path or leaf} is called in an unusual way"
            if not self._users.get(path, set()) <= self._calls or not _stands(node, place):
                return f"{path} is used elsewhere, too"
        return None

    def shared(self, node: Node) -> bool:
        """Tell whether other calls have the same parameters."""
        _, places = _KINDS[ops.op_name(node)]
        paths = (parameter_path(node, place) for place in places.values())
        return any(len(self._users[path]) > 1 for path in paths if path is not None)

    def bias_place(self, node: Node) -> BiasPlace | None:
        """Return where a number can be added to each output of a convolution or linear layer."""
        owner = self.owner(node)
        if owner is None or self.shared(node):
            return None
        if getattr(owner, "bias", None) is not None:
            return "own"
        norm = norm_of_its_own(node)
        if norm is not None and self.why_not(norm) is None and not self.shared(norm):
            return "norm"
        return "new" if type(owner).forward in _ADDING_A_BIAS else None


def norm_of_its_own(node: Node) -> Node | None:
    """Return the batch norm with statistics that reads a convolution's output as it is, and alone."""
    norm = follow(node).norm if ops.is_convolution(node) else None
    source = norm.args[0] if norm is not None else None
    while isinstance(source, Node) and source is not node and ops.op_name(source) in ops.IDENTITIES:
        source = source.args[0]
    return norm if source is node and norm is not None and ops.op_name(norm) == BATCH_NORM else None


def _readers(parameter: Node) -> Iterable[Node]:
    """Yield the calls that read a parameter, perhaps in another shape."""
    for user in parameter.users:
        if ops.op_name(user) in ops.MOVEMENTS | ops.IDENTITIES and user.args[0] is parameter:
            yield from _readers(user)
        else:
            yield user


def _stands(node: Node, place: int) -> bool:
    """Tell whether a parameter stands in a call as it is; a PReLU's is given the shape that spreads it."""
    argument = node.args[place]
    return (isinstance(argument, Node) and argument.op == "get_attr") or "prelu" in ops.op_name(node)
