"""The fused program with some filters taken out: how the paper checked its thresholds (Sec. 2.1)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from sparsity_audit.graph.feature_graph import FeatureGraph
from sparsity_audit.graph.fuse import Fuser
from sparsity_audit.graph.instrument import Observed

Filters = Mapping[str, list[int]]
"""Filters by layer key."""


def silence(graph: FeatureGraph, filters: Filters, layout: torch.memory_format, device: str = "cpu") -> Observed:
    """Return the program, without observers, with the filters' outputs set to 0 where they are measured."""
    masks: dict[str, Tensor] = {}
    for layer in graph.layers:
        if filters.get(layer.key):
            masks[layer.key] = torch.ones(layer.filters)
            masks[layer.key][filters[layer.key]] = 0
    program = Fuser(graph, layout, masks=masks).run([])
    return Observed(program.to(device), graph.captured.batch, layout)


def without_scale(graph: FeatureGraph, filters: Filters, layout: torch.memory_format, device: str = "cpu") -> Observed:
    """Return the program, without observers, with γ of the filters set to 0 and β kept."""
    state: dict[str, Tensor] = {}
    for layer in graph.layers:
        if layer.gamma is not None and filters.get(layer.key):
            gamma = graph.captured.program.get_parameter(layer.gamma).detach().clone()
            gamma[filters[layer.key]] = 0
            state[layer.gamma] = gamma
    program = Fuser(graph, layout, state=state).run([])
    return Observed(program.to(device), graph.captured.batch, layout)
