"""Putting observers into the graph itself, where hooks would miss functional calls and reused modules."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.fx import Graph, GraphModule, Node
from torch.fx.node import map_arg

from sparsity_audit.graph.feature_graph import FeatureGraph, FeatureLayer
from sparsity_audit.graph.observers import plane_extreme


def plane_extrema(activation: Tensor) -> Tensor:
    """Return [2, batch, channels]: the largest and the smallest value of each plane; NaN where one holds NaN.

    Args:
        activation: [batch, channels, …plane]; no plane at all is a plane of one element.
    """
    return torch.stack([plane_extreme(activation, torch.amax), plane_extreme(activation, torch.amin)])


@dataclass(frozen=True)
class Observed:
    """A model that returns what it always returned, and the plane extrema of every feature layer."""

    module: GraphModule
    batch: int | None
    layout: torch.memory_format = torch.contiguous_format

    def __call__(self, images: Tensor) -> tuple[Tensor | None, Tensor]:
        """Run on images [batch, channels, height, width].

        Returns:
            The model's first output tensor (None where it returns none), and the extrema of all filters,
            [2, batch, filters], layers side by side in order of their calls.
        """
        count = len(images)
        images = whole_batch(images, self.batch)
        if images.dim() == 4:
            images = images.contiguous(memory_format=self.layout)
        output, extrema = self.module(images)
        of_images = [_per_image(layer, len(images))[:, :count] for layer in extrema]
        logits = _first_tensor(output)
        joined = torch.cat(of_images, dim=2) if of_images else torch.empty(2, count, 0)
        return (None if logits is None else logits[:count]), joined


def whole_batch(images: Tensor, batch: int | None) -> Tensor:
    """Return images [batch, …], filled up by copies of the first, for a program that fixes its batch size."""
    if batch is None or len(images) >= batch:
        return images
    return torch.cat([images, images[:1].expand(batch - len(images), *images.shape[1:])])


def observe(graph: FeatureGraph, device: str = "cpu", layers: Sequence[FeatureLayer] | None = None) -> Observed:
    """Return the captured program, unfused, with an observer at every feature layer.

    Weights are shared on the CPU. With ``layers`` only those are observed, and what they don't need is not run:
    there is no output then.
    """
    source = graph.captured.program
    chosen = graph.layers if layers is None else layers
    measured = {layer.measured for layer in chosen}
    observed = Graph()  # of plain calling convention: the exported one rebuilds the model's own structure
    copied: dict[Node, Node] = {}
    extrema: dict[Node, Node] = {}
    *calls, output = source.graph.nodes
    for node in calls:
        copied[node] = observed.node_copy(node, copied.__getitem__)
        if node in measured:  # at once: an activation that waited for the end of the pass would be kept in memory
            extrema[node] = observed.call_function(plane_extrema, (copied[node],))
    answer = map_arg(output.args[0], copied.__getitem__) if layers is None else None
    observed.output((answer, tuple(extrema[layer.measured] for layer in chosen)))
    observed.eliminate_dead_code()
    program = GraphModule(source, observed)
    if device != "cpu":
        program = copy.deepcopy(program).to(device)
    return Observed(program, graph.captured.batch)


def _per_image(extrema: Tensor, images: int) -> Tensor:
    """Return [2, images, filters] of a layer that saw each image in several rows, folded into the batch."""
    if extrema.shape[1] == images:
        return extrema
    rows = extrema.reshape(2, images, -1, extrema.shape[2])
    return torch.stack([rows[0].amax(1), rows[1].amin(1)])


def _first_tensor(output: object) -> Tensor | None:
    """Return the logits of a model that may return a tuple, a list or a dict of outputs."""
    if isinstance(output, Tensor):
        return output
    parts = output.values() if isinstance(output, dict) else output if isinstance(output, tuple | list) else ()
    return next((found for part in parts if (found := _first_tensor(part)) is not None), None)
