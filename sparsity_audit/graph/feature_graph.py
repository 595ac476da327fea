"""The feature graph: every feature layer of a model, what feeds it, where its activations are measured."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn
from torch.fx import Node

from sparsity_audit.graph.capture import Captured, capture
from sparsity_audit.graph.chain import follow, nonlinearity_name
from sparsity_audit.graph.label_run import example_shape
from sparsity_audit.graph.ops import NORMS, is_convolution, is_transposed, op_name
from sparsity_audit.graph.provenance import Producers, Provenance


@dataclass(frozen=True)
class FeatureLayer:
    """All filters of one convolution call.

    ``first`` numbers its filter 0 among all filters of the graph, which are numbered in order of the calls.
    """

    key: str
    first: int
    filters: int
    weight: str | None
    """Parameter path of the convolution's weight; None where it is computed while the model runs."""
    weight_shape: tuple[int, ...]
    groups: int
    transposed: bool
    positions: int
    """MACs per weight element and image: elements of the output plane (of the input plane where transposed)."""
    reads: tuple[Producers, ...]
    """For each input channel, the filters it comes from."""
    norm: str | None
    norm_kind: str | None
    gamma: str | None
    """Parameter path of γ; None without a norm, or where the norm has none."""
    beta: str | None
    nonlinearity: str | None
    """The nonlinearity that the measured tensor comes out of; None where it comes out of norm or convolution."""
    call: Node
    measured: Node

    @property
    def fires(self) -> bool:
        """Firing rate and universality are defined: a nonlinearity comes last."""
        return self.nonlinearity is not None

    @property
    def span(self) -> slice:
        """The layer's place among all filters of the graph."""
        return slice(self.first, self.first + self.filters)


@dataclass(frozen=True)
class LooseNorm:
    """A normalisation that follows no convolution alone."""

    key: str
    position: str
    features: int
    gamma: str | None
    beta: str | None


@dataclass(frozen=True)
class FeatureGraph:
    """Feature layers in order of their calls, and the program they were found in."""

    captured: Captured
    layers: tuple[FeatureLayer, ...]
    norms: tuple[LooseNorm, ...]
    opaque: dict[str, str]
    """Operations not understood: what they read is held to be needed."""

    @property
    def filters(self) -> int:
        """Number of filters of all feature layers."""
        return sum(layer.filters for layer in self.layers)

    @property
    def fires(self) -> NDArray[np.bool_]:
        """[filters] of which firing rate and universality are defined."""
        return np.repeat([layer.fires for layer in self.layers], [layer.filters for layer in self.layers]).astype(bool)


def build_graph(model: nn.Module, input_shape: tuple[int, int, int], *, static_batch: int = 100) -> FeatureGraph:
    """Capture ``model`` for images of ``input_shape`` = (channels, height, width) and find its feature layers.

    Raises:
        GraphError: the model can't be captured.
    """
    captured = capture(model, input_shape, static_batch=static_batch)
    calls = [node for node in captured.program.graph.nodes if is_convolution(node)]
    first: dict[Node, int] = {}
    total = 0
    for call in calls:
        first[call] = total
        total += example_shape(call.meta["val"])[1]
    provenance = Provenance(captured.program, first)
    claimed: set[Node] = set()
    keys: dict[str, int] = {}
    layers = []
    for call in calls:
        layer, norm = _feature_layer(call, first[call], tuple(provenance.read[call]), keys, captured.example_batch)
        layers.append(layer)
        claimed |= {norm} if norm is not None else set()
    norms = tuple(
        _loose_norm(node) for node in captured.program.graph.nodes if op_name(node) in NORMS and node not in claimed
    )
    return FeatureGraph(captured, tuple(layers), norms, provenance.opaque)


def _feature_layer(
    call: Node, first: int, reads: tuple[Producers, ...], keys: dict[str, int], images: int
) -> tuple[FeatureLayer, Node | None]:
    chain = follow(call)
    weight = call.args[1]
    assert isinstance(weight, Node)
    shape = tuple(example_shape(weight.meta["val"]))
    output = example_shape(call.meta["val"])
    transposed = is_transposed(call)
    gamma, beta = _affine(chain.norm)
    layer = FeatureLayer(
        key=_unique(_path(call, weight), keys),
        first=first,
        filters=output[1],
        weight=str(weight.target) if weight.op == "get_attr" else None,
        weight_shape=shape,
        groups=_groups(shape, len(reads), output[1], transposed=transposed),
        transposed=transposed,
        positions=_positions(call, images),
        reads=reads,
        norm=_norm_path(chain.norm) if chain.norm is not None else None,
        norm_kind=NORMS[op_name(chain.norm)] if chain.norm is not None else None,
        gamma=gamma,
        beta=beta,
        nonlinearity=nonlinearity_name(chain.measured) if chain.fires else None,
        call=call,
        measured=chain.measured,
    )
    return layer, chain.norm


def _positions(call: Node, images: int) -> int:
    """Return how often each weight element is used for one image; a folded batch has several rows an image."""
    where = call.args[0] if is_transposed(call) else call
    assert isinstance(where, Node)
    rows, _, *plane = example_shape(where.meta["val"])
    return math.prod(plane) * rows // images


def _groups(weight: tuple[int, ...], inputs: int, outputs: int, *, transposed: bool) -> int:
    """Return the number of groups, from the shapes: it stands at different places in different calls."""
    return outputs // weight[1] if transposed else inputs // weight[1]


def _affine(norm: Node | None) -> tuple[str | None, str | None]:
    """Return the parameter paths of a norm's γ and β."""
    if norm is None:
        return None, None
    place = _affine_place(norm)
    parameters = [*norm.args[place : place + 2], None, None]
    gamma, beta = (
        str(parameter.target) if isinstance(parameter, Node) and parameter.op == "get_attr" else None
        for parameter in parameters[:2]
    )
    return gamma, beta


def _affine_place(norm: Node) -> int:
    """Return where γ stands among the arguments; it differs between the operations."""
    return 2 if NORMS[op_name(norm)] == "group_norm" else 1


def _norm_path(norm: Node) -> str:
    """Return the path of a norm's module, by any of its parameters or running statistics."""
    tensors = norm.args[_affine_place(norm) :]
    named = (tensor for tensor in tensors if isinstance(tensor, Node) and tensor.op == "get_attr")
    return _path(norm, next(named, None))


def _path(call: Node, parameter: Node | None) -> str:
    """Return the path of the module that a call belongs to: its parameter's, else as the trace recorded it."""
    if parameter is not None and parameter.op == "get_attr":
        return str(parameter.target).rpartition(".")[0]
    stack = list((call.meta.get("nn_module_stack") or {}).values())
    return str(stack[-1][0]) if stack and stack[-1][0] else call.name


def _unique(key: str, keys: dict[str, int]) -> str:
    """Return the key, numbered from the second call of the same module on: ``conv``, then ``conv@2``."""
    keys[key] = keys.get(key, 0) + 1
    return key if keys[key] == 1 else f"{key}@{keys[key]}"


def _loose_norm(norm: Node) -> LooseNorm:
    source = norm.args[0]
    assert isinstance(source, Node)
    shape = example_shape(source.meta["val"])
    return LooseNorm(_norm_path(norm), _position(source), shape[1], *_affine(norm))


def _position(node: Node) -> str:
    """Say what a loose norm normalises."""
    named = {"aten.cat.default": "concatenation", "aten.linear.default": "linear", "aten.addmm.default": "linear"}
    name = op_name(node)
    if node.op == "placeholder":
        return "input"
    if name in named:
        return named[name]
    if name.startswith("aten.add"):
        return "sum"
    if name in NORMS:
        return "another normalisation"
    if is_convolution(node):
        return "convolution with several consumers"
    source = node.args[0] if node.args else None
    return _position(source) if isinstance(source, Node) else "other"
