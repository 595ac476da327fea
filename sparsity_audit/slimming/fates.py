"""What became of each filter in a cut, layer by layer."""

from __future__ import annotations

from dataclasses import dataclass

from sparsity_audit.graph.feature_graph import FeatureGraph
from sparsity_audit.pruning.channels import ChannelClasses
from sparsity_audit.pruning.structure import Cut


@dataclass(frozen=True)
class Fates:
    """Filters of one layer that a slim network treats in another way than the original; indices, ascending."""

    removed: list[int]
    """Not computed any more."""
    derived: list[int]
    """Of these, those that were not held."""
    scattered: list[int]
    """Of these, those that leave a constant in the channel they had."""
    carriers: list[int]
    """Computed as a constant."""


def fates(graph: FeatureGraph, classes: ChannelClasses, cut: Cut) -> dict[str, Fates]:
    """Return what becomes of the filters of each layer, by layer key."""
    found = {}
    for layer in graph.layers:
        items = classes.classes(classes.outputs[layer.call])
        held = cut.holds.get(layer.key, {})
        scattered = sorted(cut.scattered.get(layer.key, []))
        gone = [i for i, item in enumerate(items) if item in cut.gone]
        found[layer.key] = Fates(
            removed=sorted({*gone, *scattered}),
            derived=[i for i in gone if i not in held],
            scattered=scattered,
            carriers=[i for i, item in enumerate(items) if item in cut.carriers and i in held],
        )
    return found
