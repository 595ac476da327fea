"""Carriers: constant channels that stay, so that a convolution that pads with zeros can make up for others from them.

Under zero padding a constant is not the same at the border, so a bias can't stand for it; another constant channel,
scaled, can.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch.fx import Node

from sparsity_audit.graph.chain import follow
from sparsity_audit.graph.feature_graph import FeatureGraph
from sparsity_audit.graph.parameters import channel_parameter, parameter_path
from sparsity_audit.pruning.channels import ChannelClasses
from sparsity_audit.pruning.holds import Holds

Constants = Mapping[int, float]
"""What a padded convolution would have to make up for: classes, and their constants at its input."""

_FACTOR = 1000.0
"""How many times smaller than another constant a carrier may be: it multiplies weights."""


class Choice(NamedTuple):
    """Classes that stay as carriers, and classes that nothing could make up for."""

    carriers: set[int]
    impossible: set[int]


def choose_carriers(wanted: Sequence[Constants], able: frozenset[int]) -> Choice:
    """Choose one carrier for each padded convolution, the same for several where that goes.

    Args:
        able: classes that can be a constant of their own.
    """
    shared = Counter(item for found in wanted for item in found)
    carriers: set[int] = set()
    impossible: set[int] = set()
    for found in sorted(wanted, key=len):
        enough = max(map(abs, found.values())) / _FACTOR
        strong = [item for item, value in found.items() if abs(value) >= enough and item in able]
        if carriers.isdisjoint(strong):
            if strong:
                carriers.add(max(strong, key=lambda item: (shared[item], abs(found[item]), -item)))
            else:
                impossible |= found.keys()
    return Choice(carriers, impossible - carriers)


def idle(carriers: set[int], wanted: Sequence[Constants], gone: set[int]) -> set[int]:
    """Return the carriers that carry nothing, since no other constant beside them goes."""
    busy = {item for found in wanted if gone & found.keys() for item in carriers & found.keys()}
    return carriers - busy


def able_to_carry(graph: FeatureGraph, classes: ChannelClasses, holds: Holds) -> frozenset[int]:
    """Return the classes that can be made a constant: all their filters are held, at one value for one parameter."""
    able: dict[int, bool] = {}
    values: dict[tuple[str, int], float] = {}
    norms = {follow(layer.call).norm for layer in graph.layers}
    loose = {channel_parameter(node) for node in classes.affine.keys() - norms}
    for layer in graph.layers:
        held = holds.get(layer.key, {})
        norm = follow(layer.call).norm
        path = _written(layer.call, norm)
        writable = path not in loose and (norm is not None or classes.owners.bias_place(layer.call) is not None)
        for i, item in enumerate(classes.classes(classes.outputs[layer.call])):
            fits = writable and i in held and values.setdefault((path, i), held[i]) == held[i]
            able[item] = able.get(item, True) and fits
    return frozenset(item for item, fits in able.items() if fits)


def _written(call: Node, norm: Node | None) -> str:
    """Return the parameter that makes a filter constant: of its norm, else of the convolution."""
    return str(channel_parameter(norm) if norm is not None else parameter_path(call, 1))
