"""Carriers: constant channels that stay, so that a convolution that pads with zeros can make up for others from them.

Under zero padding a constant is not the same at the border, so a bias can't stand for it; another constant channel,
scaled, can.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sparsity_audit.graph.chain import follow
from sparsity_audit.graph.feature_graph import FeatureGraph, FeatureLayer
from sparsity_audit.graph.parameters import channel_parameter
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


def choose_carriers(wanted: Sequence[Constants], unable: set[int], spare: set[int]) -> Choice:
    """Choose one carrier for each padded convolution, the same for several where that goes.

    Args:
        unable: classes that can't be made a constant.
        spare: classes that would have to stay all the same.
    """
    shared = Counter(item for found in wanted for item in found)
    carriers: set[int] = set()
    impossible: set[int] = set()
    for found in sorted(wanted, key=len):
        enough = max(map(abs, found.values())) / _FACTOR
        strong = [item for item, value in found.items() if abs(value) >= enough and item not in unable]
        if not strong:
            impossible |= found.keys()
        elif carriers.isdisjoint(strong):
            carriers.add(max(strong, key=lambda item: (item in spare, shared[item], abs(found[item]), -item)))
    return Choice(carriers, impossible - carriers)


def idle(carriers: set[int], wanted: Sequence[Constants], gone: set[int]) -> set[int]:
    """Return the carriers that carry nothing, since no other constant beside them goes."""
    busy = {item for found in wanted if gone & found.keys() for item in carriers & found.keys()}
    return carriers - busy


def unable_to_carry(graph: FeatureGraph, classes: ChannelClasses, holds: Holds) -> set[int]:
    """Return the classes with a held filter that can't be made the constant that it is held at.

    It is made so in its norm, else in its convolution's bias. Whatever else has these parameters has to agree.
    """
    norms = {layer.key: follow(layer.call).norm for layer in graph.layers}
    loose = {channel_parameter(node) for node in classes.affine.keys() - set(norms.values())}
    sharing: dict[str | None, list[str]] = {}
    written: dict[str, str | None] = {}
    for layer in graph.layers:
        norm = norms[layer.key]
        written[layer.key] = layer.weight if norm is None else channel_parameter(norm)
        for path in {layer.weight, written[layer.key]}:
            sharing.setdefault(path, []).append(layer.key)

    def fits(layer: FeatureLayer, index: int, value: float) -> bool:
        path = written[layer.key]
        if path in loose or (norms[layer.key] is None and classes.owners.bias_place(layer.call) is None):
            return False
        others = {key for shared in (path, layer.weight) for key in sharing[shared]}
        return all(
            index in holds.get(key, {}) and (written[key] != path or holds[key][index] == value) for key in others
        )

    layers = {layer.key: layer for layer in graph.layers}
    return {
        classes.find(classes.outputs[layers[key].call][i])
        for key, held in holds.items()
        for i, value in held.items()
        if not fits(layers[key], i, value)
    }
