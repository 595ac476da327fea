"""The fast form of a captured program: batch norms folded into convolutions, sums and nonlinearities in place.

Folding changes results by rounding only. ``FoldedNorm.rounding`` bounds by how much a filter's activation may be
off, so that a filter that stands that near to a threshold can be decided by a pass of the unfused program.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.fx import Graph, GraphModule, Node
from torch.fx.node import map_arg

from sparsity_audit.graph.feature_graph import FeatureGraph
from sparsity_audit.graph.observers import RECTIFIERS, PlaneObserver
from sparsity_audit.graph.ops import is_convolution, is_transposed, op_name

BATCH_NORM = "aten._native_batch_norm_legit_no_training.default"
ROUNDING = 64 * 2.0**-23
"""Relative error allowed for: 64 roundings of float32, in units of the largest term of an activation's sum."""
REACH = 30.0
"""|x̂| that the bound reckons with: deviations of the normalised input from its mean."""

_aten = torch.ops.aten
IN_PLACE = {
    "aten.relu.default": _aten.relu_.default,
    "aten.hardtanh.default": _aten.hardtanh_.default,
    "aten.leaky_relu.default": _aten.leaky_relu_.default,
    "aten.silu.default": _aten.silu_.default,
    "aten.hardswish.default": _aten.hardswish_.default,
    "aten.add.Tensor": _aten.add_.Tensor,
}
VIEWS = frozenset({"aten.view.default", "aten._unsafe_view.default"})
"""What may have no view to give in another memory layout than the one it was captured in."""
FRESH = frozenset({"aten.add.Tensor", "aten.add_.Tensor", BATCH_NORM})
"""Operations besides convolutions whose result is memory of its own, which no other tensor looks into."""


@dataclass(frozen=True)
class FoldedNorm:
    """A batch norm folded into the convolution before it."""

    weight: Tensor
    bias: Tensor
    rounding: Tensor
    """[filters] bound on how far rounding may move an activation."""


class Affine(NamedTuple):
    """γ and β of a norm; None where it has none."""

    gamma: Tensor | None
    beta: Tensor | None


class Fuser:
    """Copies a captured program node by node into a faster one, observers included.

    Args:
        masks: factors [filters] on the measured tensors of some layers, by layer key; what they touch is not
            observed.
        state: parameters in place of the program's own, by path.
    """

    def __init__(
        self,
        graph: FeatureGraph,
        layout: torch.memory_format,
        *,
        masks: Mapping[str, Tensor] | None = None,
        state: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.layout = layout
        self.source = graph.captured.program
        self.masks = masks or {}
        own = {**dict(self.source.named_parameters()), **dict(self.source.named_buffers())}
        self.state: dict[str, Tensor] = {**own, **(state or {})}
        self.measured: set[Node] = set()
        self.root = nn.Module()
        self.fused = Graph()
        self.copied: dict[Node, Node] = {}
        self.layers = {layer.measured: layer for layer in graph.layers}
        self.extrema: dict[Node, Node] = {}
        self.observers: dict[Node, PlaneObserver] = {}
        self.rounding: dict[Node, Tensor] = {}
        self.norm_of = {call: norm for call in self.source.graph.nodes if (norm := _foldable(call)) is not None}
        self.folded = set(self.norm_of.values())

    def run(self, measured: Sequence[Node]) -> GraphModule:
        """Return the fused program; its output is (the model's own, extrema of the measured tensors in order)."""
        self.measured = set(measured)
        *calls, output = self.source.graph.nodes
        for node in calls:
            self.copied[node] = self._copy(node)
            layer = self.layers.get(node)
            if layer is not None and layer.key in self.masks:
                self.copied[node] = self._masked(node, self.masks[layer.key])
            elif node in self.measured and node not in self.extrema:
                self._observe(node, self.copied[node], None)
        answer = map_arg(output.args[0], self.copied.__getitem__)
        self.fused.output((answer, tuple(self.extrema[node] for node in measured)))
        return GraphModule(self.root, self.fused)

    def _copy(self, node: Node) -> Node:
        source = node.args[0] if node.args else None
        if node.op == "get_attr":
            return self._attribute(str(node.target), self._tensor(node))
        if node in self.norm_of:
            return self._folded_convolution(node, self.norm_of[node])
        if node in self.folded:
            assert isinstance(source, Node)
            return self.copied[source]
        if node.target is operator.getitem and source in self.folded:
            return self.copied[source]  # type: ignore[index]
        layer = self.layers.get(node)
        if (
            node in self.measured
            and layer is not None
            and layer.nonlinearity in RECTIFIERS
            and isinstance(source, Node)
        ):
            self._observe(node, self.copied[source], layer.nonlinearity)
        return self._call(node)

    def _call(self, node: Node) -> Node:
        """Copy a call, in place where nobody else needs what it overwrites."""
        copied = self.fused.node_copy(node, self.copied.__getitem__)
        if op_name(node) in VIEWS:
            copied.target = _aten.reshape.default
        replacement = IN_PLACE.get(op_name(node))
        if replacement is not None and self._may_overwrite(node):
            copied.target = replacement
        return copied

    def _masked(self, node: Node, mask: Tensor) -> Node:
        """Multiply a measured tensor by a factor for each filter."""
        factor = mask.view(1, -1, *[1] * (node.meta["val"].dim() - 2))
        return self.fused.call_function(torch.mul, (self.copied[node], self._attribute(f"mask.{node.name}", factor)))

    def _may_overwrite(self, node: Node) -> bool:
        source, *others = node.args
        if not isinstance(source, Node) or source in others or len(source.users) != 1:
            return False
        producer = source.args[0] if source.target is operator.getitem else source
        fresh = isinstance(producer, Node) and (is_convolution(producer) or op_name(producer) in FRESH)
        value, result = source.meta.get("val"), node.meta.get("val")
        return fresh and isinstance(value, Tensor) and isinstance(result, Tensor) and value.shape == result.shape

    def _folded_convolution(self, call: Node, norm: Node) -> Node:
        tensors = [*call.args[1:3], *([None] * (3 - len(call.args))), *norm.args[1:5]]
        weight, bias, gamma, beta, mean, variance = (None if node is None else self._tensor(node) for node in tensors)
        eps = norm.args[6]
        assert weight is not None  # _foldable has made sure
        assert mean is not None
        assert variance is not None
        assert isinstance(eps, float)
        folded = fold(weight, bias, Affine(gamma, beta), mean, variance, eps)
        name = f"folded.{call.name}"
        copied = [self._attribute(f"{name}.weight", folded.weight), self._attribute(f"{name}.bias", folded.bias)]
        rest = map_arg(tuple(call.args[3:]), self.copied.__getitem__)
        source = map_arg(call.args[0], self.copied.__getitem__)
        self.rounding[call] = folded.rounding
        return self.fused.call_function(call.target, (source, *copied, *rest))  # type: ignore[arg-type]

    def _observe(self, node: Node, observed: Node, rectifier: str | None) -> None:
        observer = PlaneObserver(RECTIFIERS[rectifier] if rectifier is not None else None)
        name = f"observer_{len(self.observers)}"
        self.root.add_module(name, observer)
        self.observers[node] = observer
        self.extrema[node] = self.fused.call_module(name, (observed,))

    def _tensor(self, node: object) -> Tensor:
        assert isinstance(node, Node)
        target = str(node.target)
        value: Tensor = self.state[target] if target in self.state else operator.attrgetter(target)(self.source)
        return value.detach()

    def _attribute(self, path: str, value: Tensor) -> Node:
        """Keep a tensor in the fused program under a flat name, in the program's layout."""
        name = "tensor_" + path.replace(".", "_")
        if value.dim() == 4:
            value = value.contiguous(memory_format=self.layout)
        self.root.register_buffer(name, value, persistent=False)
        return self.fused.get_attr(name)


def _foldable(call: Node) -> Node | None:
    """Return the batch norm that can be folded into a convolution call; None where there is none."""
    if not is_convolution(call) or is_transposed(call) or call.kwargs or len(call.users) != 1:
        return None
    (norm,) = call.users
    if op_name(norm) != BATCH_NORM or norm.args[0] is not call:
        return None
    tensors = [*call.args[1:3], *norm.args[1:5]]
    known = all(isinstance(tensor, Node) and tensor.op == "get_attr" for tensor in tensors if tensor is not None)
    complete = all(tensor is not None for tensor in norm.args[3:5])
    read = all(user.target is operator.getitem and user.args[1] == 0 for user in norm.users)
    return norm if known and complete and read else None


def fold(weight: Tensor, bias: Tensor | None, affine: Affine, mean: Tensor, variance: Tensor, eps: float) -> FoldedNorm:
    """Fold y = γ (conv(x) + bias − mean) / √(variance + eps) + β into one convolution, in double precision.

    Args:
        weight: [filters, …]; the others: [filters].
    """
    deviation = torch.sqrt(variance.double() + eps)
    gain = torch.ones_like(deviation) if affine.gamma is None else affine.gamma.double()
    shift = torch.zeros_like(deviation) if affine.beta is None else affine.beta.double()
    centre = mean.double() - (0.0 if bias is None else bias.double())
    factor = gain / deviation
    new_weight = weight.double() * factor.reshape(-1, *[1] * (weight.dim() - 1))
    largest = gain.abs() * (REACH + (centre / deviation).abs()) + shift.abs() * (gain != 0)
    return FoldedNorm(new_weight.float(), (shift - centre * factor).float(), ROUNDING * largest)
