"""Putting observers into the graph itself, where hooks would miss functional calls and reused modules."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.fx import Graph, GraphModule, Node

from sparsity_audit.graph.feature_graph import FeatureGraph


def plane_extrema(activation: Tensor) -> Tensor:
    """Return [2, batch, channels]: the largest and the smallest value of each plane; NaN where one holds NaN.

    Args:
        activation: [batch, channels, …plane]; no plane at all is a plane of one element.
    """
    if activation.dim() == 2:
        return torch.stack([activation, activation])
    axes = list(range(2, activation.dim()))
    return torch.stack([activation.amax(axes), activation.amin(axes)])


@dataclass(frozen=True)
class Observed:
    """A model that returns what it always returned, and the plane extrema of every feature layer."""

    module: GraphModule
    batch: int | None

    def __call__(self, images: Tensor) -> tuple[Tensor | None, Tensor]:
        """Run on images [batch, channels, height, width].

        Returns:
            The model's first output tensor (None where it returns none), and the extrema of all filters,
            [2, batch, filters], layers side by side in order of their calls.
        """
        count = len(images)
        if self.batch is not None and count < self.batch:
            images = torch.cat([images, images[:1].expand(self.batch - count, *images.shape[1:])])
        output, extrema = self.module(images)
        joined = torch.cat([layer[:, :count] for layer in extrema], dim=2)
        logits = _first_tensor(output)
        return (None if logits is None else logits[:count]), joined


def observe(graph: FeatureGraph, device: str = "cpu") -> Observed:
    """Return the captured program with an observer at every feature layer; weights are shared on the CPU."""
    source = graph.captured.program
    observed = Graph()  # of plain calling convention: the exported one rebuilds the model's own structure
    copied: dict[Node, Node] = {}
    output = observed.graph_copy(source.graph, copied)
    measured = [copied[layer.measured] for layer in graph.layers]
    extrema = tuple(observed.call_function(plane_extrema, (node,)) for node in measured)
    observed.output((output, extrema))
    program = GraphModule(source, observed)
    if device != "cpu":
        program = copy.deepcopy(program).to(device)
    return Observed(program, graph.captured.batch)


def _first_tensor(output: object) -> Tensor | None:
    """Return the logits of a model that may return a tuple, a list or a dict of outputs."""
    if isinstance(output, Tensor):
        return output
    parts = output.values() if isinstance(output, dict) else output if isinstance(output, tuple | list) else ()
    return next((found for part in parts if (found := _first_tensor(part)) is not None), None)
