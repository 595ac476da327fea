"""What of a network can go when some filters are held at constants: the cut, exact for every input.

A class of channels goes where everything that reads it reads constants: 0, or a number that the reader can take over
in its bias. A convolution that pads its input with zeros can't take a number over, since the border differs: there one
filter of the layer stays as *carrier*, a constant from which the reader makes up for all the others. Where a class has
to stay, because a residual stream carries live channels at the same place, a filter can still leave its own
convolution, and its constant is put back where its norm puts out (*scattered*).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from torch.fx import Node

from sparsity_audit.graph.feature_graph import FeatureGraph, FeatureLayer
from sparsity_audit.graph.label_run import example_shape
from sparsity_audit.graph.ops import is_convolution, is_transposed
from sparsity_audit.graph.parameters import short_name
from sparsity_audit.pruning.carriers import choose_carriers, idle, unable_to_carry
from sparsity_audit.pruning.channels import OWN_OUTPUT, ChannelClasses
from sparsity_audit.pruning.constants import ChannelConstants, Values, pads
from sparsity_audit.pruning.groups import keep_groups_even
from sparsity_audit.pruning.holds import Holds, held_node
from sparsity_audit.pruning.scattering import can_scatter

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
        self.items = {layer.key: classes.classes(classes.outputs[layer.call]) for layer in graph.layers}
        self.why: dict[int, str] = {}
        self.gone: set[int] = set()
        self.carriers: set[int] = set()

    def cut(self) -> Cut:
        """Return it."""
        self._take_readable()
        carried = self._choose_carriers()
        self._keep_widths()
        for item in idle(self.carriers, carried, self.gone):
            self.carriers.discard(item)
            self.why[item] = "under zero padding a constant stays, and there is no other for it to carry"
        scattered = {key: self._scattered(self.layers[key], values) for key, values in self.holds.items()}
        staying = self.gone | self.carriers
        used = {
            key: {i: value for i, value in values.items() if self.items[key][i] in staying or i in scattered[key]}
            for key, values in self.holds.items()
        }
        back = {
            key: {i: self._reason(self.items[key][i]) for i in values if i not in used[key]}
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

    def _reason(self, item: int) -> str:
        return self.why.get(item) or self.classes.why_pinned(item) or "its channel is needed where others keep it alive"

    def _take_readable(self) -> None:
        """Find the classes that every reader can do without."""
        self.gone = {item for items in self.items.values() for item in items if self.classes.is_free(item)}
        reads = [(reader.node, reader.items) for reader in self.classes.readers]
        reads += [(node, read) for node, (read, _) in self.classes.shortcuts.items()]
        for node, read in reads:
            refusal = self._refusal(node)
            for item, value in zip(self.classes.classes(read), self.read[node], strict=True):
                why = "a layer that reads it finds it alive" if value is None else refusal if value else None
                if why is not None:
                    self._keep(item, why)

    def _refusal(self, node: Node) -> str | None:
        """Return why a reader can't make up for a constant other than 0: by its bias, or from a carrier."""
        what = short_name(node)
        if node in self.classes.shortcuts:
            return None
        if is_convolution(node) and is_transposed(node):
            return f"{what} makes more of its constant than a constant"
        if self.classes.owners.shared(node):
            return "a layer that is called several times reads its constant"
        if is_convolution(node) and pads(node):
            grouped = example_shape(node.args[1].meta["val"])[1] != len(self.read[node])  # type: ignore[union-attr]
            return f"{what} reads its constant in groups, under zero padding" if grouped else None
        no_place = self.classes.owners.bias_place(node) is None
        return f"{what} has no bias that could take its constant over" if no_place else None

    def _keep(self, item: int, why: str) -> None:
        if item in self.gone:
            self.gone.discard(item)
            self.why.setdefault(item, why)

    def _choose_carriers(self) -> list[dict[int, float]]:
        """Let one constant stay for each padded reader of constants other than 0, and return what these read."""
        found = [
            {
                item: value
                for item, value in zip(self.classes.classes(reader.items), self.read[reader.node], strict=True)
                if item in self.gone and value
            }
            for reader in self.classes.readers
            if is_convolution(reader.node) and pads(reader.node)
        ]
        wanted = [constants for constants in found if constants]
        unable = unable_to_carry(self.graph, self.classes, self.holds) if wanted else set[int]()
        even = set(self.gone)
        keep_groups_even(self.classes, even, lambda item, _why: even.discard(item))
        self.carriers, impossible = choose_carriers(wanted, unable, self.gone - even)
        for item in impossible:
            self._keep(item, "under zero padding no other constant can make up for it")
        self.gone -= self.carriers
        return wanted

    def _keep_widths(self) -> None:
        """Let filters stay until every layer has the least width, and a multiple of what is asked for."""
        before = -1
        while len(self.gone) != before:
            before = len(self.gone)
            keep_groups_even(self.classes, self.gone, self._keep)
            for layer in self.graph.layers:
                self._keep_width(layer)

    def _keep_width(self, layer: FeatureLayer) -> None:
        gone = [i for i, item in enumerate(self.items[layer.key]) if item in self.gone]
        narrow = self._width(layer, layer.filters - len(gone))
        why = "its layer can't be narrower" if self.options.round_to == 1 else "the width is rounded up"
        for i in self._by_worth(layer, gone)[: narrow - (layer.filters - len(gone))]:
            self._keep(self.items[layer.key][i], why)

    def _width(self, layer: FeatureLayer, least: int) -> int:
        """Return the least number of filters that is allowed, from some number on."""
        wanted = max(least, min(self.options.min_width, layer.filters), 1)
        return min(-(-wanted // self.options.round_to) * self.options.round_to, layer.filters)

    def _by_worth(self, layer: FeatureLayer, filters: list[int]) -> list[int]:
        worth = self.options.worth.get(layer.key, {})
        return sorted(filters, key=lambda i: (-worth.get(i, 0.0), i))

    def _scattered(self, layer: FeatureLayer, held: Mapping[int, float]) -> list[int]:
        """Return the filters that may leave their convolution though their channel stays."""
        items = self.items[layer.key]
        kept = [i for i, item in enumerate(items) if item not in self.gone]
        left = [i for i in kept if i in held and items[i] not in self.carriers]
        left = [i for i in left if self.classes.why_pinned(items[i]) != OWN_OUTPUT]
        narrow = self._width(layer, len(kept) - len(left))
        left = sorted(self._by_worth(layer, left)[max(narrow - (len(kept) - len(left)), 0) :])
        apart = left and can_scatter(layer, self.classes)
        return left if apart and self.options.may_scatter(layer, len(left)) else []
