"""What of a network can go when some filters are held at constants: the cut, exact for every input.

A class of channels goes where everything that reads it reads constants: 0, or a number that the reader can take over
in its bias. A convolution that pads its input with zeros can't take a number over, since the border differs: there one
filter of the layer stays as *carrier*, a constant from which the reader makes up for all the others. Where a class has
to stay, because a residual stream carries live channels at the same place, a filter can still leave its own
convolution, and its constant is put back where its norm puts out (*scattered*).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from torch.fx import Node

from sparsity_audit.graph.feature_graph import FeatureGraph, FeatureLayer
from sparsity_audit.graph.label_run import example_shape
from sparsity_audit.graph.ops import is_convolution, is_transposed
from sparsity_audit.graph.parameters import parameter_path, short_name
from sparsity_audit.pruning.channels import ChannelClasses
from sparsity_audit.pruning.constants import ChannelConstants, Values, pads
from sparsity_audit.pruning.groups import keep_groups_even
from sparsity_audit.pruning.holds import Holds, held_node

MayScatter = Callable[[FeatureLayer, int], bool]
"""Tells whether a layer that would compute that many filters less, and scatter the others, should."""


@dataclass(frozen=True)
class CutOptions:
    """What is wanted of a cut besides that it be exact."""

    min_width: int = 1
    """Filters that every layer keeps at least."""
    round_to: int = 1
    """Layers keep a multiple of so many filters, where they have as many."""
    worth: Mapping[str, Mapping[int, float]] = field(default_factory=dict)
    """Of filters that could go; those of the greatest stay where some have to."""
    may_scatter: MayScatter = lambda _layer, _gone: False


@dataclass(frozen=True)
class Cut:
    """What goes, and what the rest needs for it.

    Attributes:
        gone: classes of channels that no tensor has any more.
        carriers: classes that stay to be a constant, of their own value.
        scattered: filters that leave their convolution alone, by layer key.
        holds: the filters that this rests on, and their values; those that stay as they are left out.
        read: what each convolution, linear layer and padding of channels reads, where constant.
        held_back: why a filter that was to go stays, by layer key.
    """

    gone: frozenset[int]
    carriers: frozenset[int]
    scattered: dict[str, list[int]]
    holds: Holds
    read: Mapping[Node, Values]
    held_back: dict[str, dict[int, str]]


def plan_cut(graph: FeatureGraph, classes: ChannelClasses, holds: Holds, options: CutOptions) -> Cut:
    """Return what can go when filters are held at constants.

    A filter that stays after all is not held: what rested on its constancy is looked at again without it, until
    nothing changes.
    """
    wanted = {key: dict(values) for key, values in holds.items() if values}
    reasons: dict[str, dict[int, str]] = {}
    while True:
        cut = _Cutter(graph, classes, wanted, options).cut()
        for key, found in cut.held_back.items():
            reasons.setdefault(key, {}).update(found)
        if cut.holds == wanted:
            return replace(cut, held_back=reasons)
        wanted = {key: dict(values) for key, values in cut.holds.items()}


class _Cutter:
    """One look at what can go, every held filter taken to be constant."""

    def __init__(self, graph: FeatureGraph, classes: ChannelClasses, holds: Holds, options: CutOptions) -> None:
        self.graph, self.classes, self.holds, self.options = graph, classes, holds, options
        self.layers = {layer.key: layer for layer in graph.layers}
        held = {held_node(self.layers[key]): values for key, values in holds.items()}
        self.read = ChannelConstants(graph.captured.program, held).read
        self._calls = Counter(parameter_path(reader.node, 1) for reader in classes.readers)
        self.why: dict[int, str] = {}
        self.gone: set[int] = set()
        self.carriers: set[int] = set()

    def cut(self) -> Cut:
        """Return it."""
        self._take_readable()
        self._choose_carriers()
        self._keep_widths()
        scattered = self._scattered()
        used = {
            key: {i: value for i, value in values.items() if self._is_used(self.layers[key], i, scattered)}
            for key, values in self.holds.items()
        }
        back = {
            key: {i: self._reason(self.layers[key], i) for i in values if i not in used[key]}
            for key, values in self.holds.items()
        }
        return Cut(
            frozenset(self.gone),
            frozenset(self.carriers),
            {key: gone for key, gone in scattered.items() if gone},
            {key: values for key, values in used.items() if values},
            self.read,
            {key: found for key, found in back.items() if found},
        )

    def item(self, layer: FeatureLayer, index: int) -> int:
        """Return the class of a filter's channel."""
        return self.classes.find(self.classes.outputs[layer.call][index])

    def _is_used(self, layer: FeatureLayer, index: int, scattered: Mapping[str, list[int]]) -> bool:
        item = self.item(layer, index)
        return item in self.gone or item in self.carriers or index in scattered[layer.key]

    def _reason(self, layer: FeatureLayer, index: int) -> str:
        item = self.item(layer, index)
        return self.why.get(item) or self.classes.why_pinned(item) or "its channel is needed where others keep it alive"

    def _take_readable(self) -> None:
        """Find the classes that every reader can do without."""
        items = {self.item(layer, i) for layer in self.graph.layers for i in range(layer.filters)}
        self.gone = {item for item in items if self.classes.is_free(item)}
        reads = [(reader.node, reader.items) for reader in self.classes.readers]
        reads += [(node, read) for node, (read, _) in self.classes.shortcuts.items()]
        for node, read in reads:
            for item, value in zip(self.classes.classes(read), self.read[node], strict=True):
                if value is None:
                    self._keep(item, "a layer that reads it finds it alive")
                elif value != 0 and not self._takes_over(node):
                    self._keep(item, f"{short_name(node)} can't take its constant over")
        given = {item for _, outputs in self.classes.shortcuts.values() for item in self.classes.classes(outputs)}
        for item in given - items:
            self.gone.discard(item)
        keep_groups_even(self.classes, self.gone, self._keep)

    def _takes_over(self, node: Node) -> bool:
        """Tell whether a reader can make up for a constant other than 0: by its bias, or from a carrier."""
        if not is_convolution(node):
            return node in self.classes.shortcuts or self._calls[parameter_path(node, 1)] == 1
        if is_transposed(node) or self._calls[parameter_path(node, 1)] > 1:
            return False
        return not (pads(node) and _grouped(node, len(self.read[node])))

    def _keep(self, item: int, why: str) -> None:
        if item in self.gone:
            self.gone.discard(item)
            self.why.setdefault(item, why)

    def _choose_carriers(self) -> None:
        """Let one constant stay for each padded reader of constants other than 0: the one that most readers share."""
        wanted: dict[Node, dict[int, float]] = {}
        for reader in self.classes.readers:
            found = {
                item: value
                for item, value in zip(self.classes.classes(reader.items), self.read[reader.node], strict=True)
                if item in self.gone and value and is_convolution(reader.node) and pads(reader.node)
            }
            if found:
                wanted[reader.node] = found
        shared = Counter(item for found in wanted.values() for item in found)
        for found in sorted(wanted.values(), key=len):
            if not self.carriers & found.keys():
                best = max(found, key=lambda item: (shared[item], abs(found[item]), -item))
                self.carriers.add(best)
                self.gone.discard(best)
                self.why[best] = "it carries the constants of its layer under zero padding"

    def _keep_widths(self) -> None:
        """Let filters stay until every layer has the least width, and a multiple of what is asked for."""
        changed = True
        while changed:
            changed = False
            for layer in self.graph.layers:
                changed |= self._keep_width(layer)
            if changed:
                keep_groups_even(self.classes, self.gone, self._keep)

    def _keep_width(self, layer: FeatureLayer) -> bool:
        gone = [i for i in range(layer.filters) if self.item(layer, i) in self.gone]
        width = layer.filters - len(gone)
        wanted = max(width, min(self.options.min_width, layer.filters), 1)
        wanted = min(-(-wanted // self.options.round_to) * self.options.round_to, layer.filters)
        if wanted == width or not gone:
            return False
        worth = self.options.worth.get(layer.key, {})
        for i in sorted(gone, key=lambda i: (-worth.get(i, 0.0), i))[: wanted - width]:
            item = self.item(layer, i)
            self._keep(item, "its layer can't be narrower" if self.options.round_to == 1 else "the width is rounded up")
        return True

    def _scattered(self) -> dict[str, list[int]]:
        """Return the filters that may leave their convolution though their channel stays."""
        found: dict[str, list[int]] = {}
        for key, values in self.holds.items():
            layer = self.layers[key]
            kept = [i for i in range(layer.filters) if self.item(layer, i) not in self.gone]
            left = [i for i in kept if i in values and self.item(layer, i) not in self.carriers]
            left = left[: max(len(kept) - max(self.options.min_width, 1), 0)]
            apart = layer.groups == 1 and layer.weight is not None and not layer.transposed and not self._shared(layer)
            found[key] = left if apart and left and self.options.may_scatter(layer, len(left)) else []
        return found

    def _shared(self, layer: FeatureLayer) -> bool:
        return (
            sum(
                other.weight == layer.weight or (other.norm is not None and other.norm == layer.norm)
                for other in self.graph.layers
            )
            > 1
        )


def _grouped(node: Node, read: int) -> bool:
    return example_shape(node.args[1].meta["val"])[1] != read  # type: ignore[union-attr]
