"""A network with some filters held at constants: what a slim network has to compute, and is verified against."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Graph, GraphModule, Node
from torch.fx.node import map_aggregate, map_arg

from sparsity_audit.graph.chain import _first_output, follow
from sparsity_audit.graph.feature_graph import FeatureGraph, FeatureLayer
from sparsity_audit.graph.instrument import Observed

Holds = Mapping[str, Mapping[int, float]]
"""Layer key → filter → the value that it is held at, where its norm puts out: before the nonlinearity."""


def held_node(layer: FeatureLayer) -> Node:
    """Return the tensor whose channels are held: the norm's output, the convolution's where no norm follows."""
    norm = follow(layer.call).norm
    return layer.call if norm is None else _first_output(norm)


def hold(graph: FeatureGraph, holds: Holds, dtype: torch.dtype = torch.float32) -> Observed:
    """Return the captured program, unfused, with filters held at constants; it observes nothing.

    Whatever a held filter puts out, NaN included, gives way to its constant; all else is bit for bit what the program
    computes. In float32 the weights are the model's own, which stay as they are; in float64 they are copies.

    Raises:
        ValueError: a layer or a filter that the graph does not have.
    """
    constants = {held_node(layer): _channels(layer, holds[layer.key]) for layer in graph.layers if layer.key in holds}
    if len(constants) != len(holds):
        missing = sorted(holds.keys() - {layer.key for layer in graph.layers})
        raise ValueError(f"no feature layers to hold filters of: {', '.join(missing)}")
    source = graph.captured.program
    held = Graph()  # of plain calling convention, as that of ``observe``
    copied: dict[Node, Node] = {}
    tensors: dict[str, Any] = {}
    *calls, output = source.graph.nodes
    for node in calls:
        copied[node] = call = held.node_copy(node, copied.__getitem__)
        if node.op == "get_attr":
            tensors[str(node.target)] = _cast(attrgetter(str(node.target))(source), dtype)
        elif dtype != torch.float32:
            call.args, call.kwargs = (retyped(part, dtype) for part in (call.args, call.kwargs))
        if node in constants:
            names = [f"held.{node.name}.{name}" for name in ("mask", "value")]
            shape = (1, -1, *[1] * (node.meta["val"].dim() - 2))
            which, values = constants[node]
            tensors |= {names[0]: which.view(shape), names[1]: values.to(dtype).view(shape)}
            mask, value = (held.get_attr(name) for name in names)
            copied[node] = held.call_function(torch.where, (mask, value, call))
    held.output((map_arg(output.args[0], copied.__getitem__), ()))
    return Observed(GraphModule(tensors, held), graph.captured.batch)


def _channels(layer: FeatureLayer, values: Mapping[int, float]) -> tuple[Tensor, Tensor]:
    """Return which of a layer's filters are held, bool [filters], and at what, float64 [filters]."""
    outside = [index for index in values if not 0 <= index < layer.filters]
    if outside:
        raise ValueError(f"{layer.key} has {layer.filters} filters, none numbered {outside[0]}")
    mask = torch.zeros(layer.filters, dtype=torch.bool)
    constants = torch.zeros(layer.filters, dtype=torch.float64)
    for index, value in values.items():
        mask[index], constants[index] = True, value
    return mask, constants


def _cast(value: Any, dtype: torch.dtype) -> Any:
    """Return what a ``get_attr`` gives (a tensor, or a part of the program) with ``dtype`` in place of float32."""
    if dtype == torch.float32:
        return value
    if isinstance(value, nn.Module):
        return copy.deepcopy(value).to(dtype)
    return value.detach().to(dtype) if isinstance(value, Tensor) and value.dtype == torch.float32 else value


def retyped(arguments: Any, dtype: torch.dtype) -> Any:
    """Return arguments of a call with ``dtype`` where they name float32: of a cast, of a tensor that is made."""
    return map_aggregate(arguments, lambda part: dtype if part is torch.float32 else part)
