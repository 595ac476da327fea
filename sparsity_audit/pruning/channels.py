"""Which channels of which tensors can only go together.

Every filter's output channel is an *item*. The program is run on labels that are items: where two channels meet
element by element (a residual sum, a gate, a depthwise convolution) they become one class, since a slim tensor must
have both or neither. A class is *pinned* where something reads its channels by position (a channel shuffle, a fixed
padding, an operation not understood, the logits); what it is pinned by is kept, to be told.

Torch-Pruning's DependencyGraph answers a like question by following autograd's graph of one forward pass. It is not
used: it has no notion of a channel that is constant instead of unneeded, it fails on channels beside a padded shortcut
(the public CIFAR ResNets), couples channels that only a permutation relates and so removes live filters, and refuses a
whole network for one operation. What it would save is this file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Node

from sparsity_audit.graph import ops
from sparsity_audit.graph.feature_graph import FeatureGraph
from sparsity_audit.graph.label_run import LabelRun, example_shape
from sparsity_audit.graph.parameters import (
    channel_parameter,
    is_parameter,
    module_path,
    parameter_path,
    short_name,
    tensors_in,
)

NOTHING, FIXED = 0, 1
"""Labels of what padding adds and parameters hold, and of channels that no filter of the graph produces."""
_FIRST_ITEM = 2

Items = Sequence[int]
"""The classes of a tensor's channels, in order."""


@dataclass(frozen=True)
class Reader:
    """A call that reads channels one by one, with weights of its own for each: a convolution or a linear layer."""

    node: Node
    items: Items


class ChannelClasses(LabelRun):
    """Runs a feature graph on items.

    Attributes:
        outputs: items of each convolution call's filters.
        readers: convolutions that are not depthwise, and linear layers, with the items of what they read.
        affine: items of the features of each norm, and of each nonlinearity with parameters of its own.
        shortcuts: for each padding of channels that its module can do by an index, what it reads and gives.
        pinned: classes that must stay as they are, and why.
    """

    padding, parameter, unknown = NOTHING, NOTHING, FIXED

    def __init__(self, graph: FeatureGraph, modules: Mapping[str, nn.Module], indexed: frozenset[str]) -> None:
        """Run the graph.

        Args:
            modules: the network's modules by path; what has a module of an unknown kind cannot be cut.
            indexed: paths of modules that pad channels, and can do so by an index.
        """
        super().__init__(graph.captured.program)
        self._first = {layer.call: layer.first for layer in graph.layers}
        self._parent = list(range(_FIRST_ITEM + graph.filters))
        self._indexed = indexed
        self.outputs: dict[Node, list[int]] = {}
        self.readers: list[Reader] = []
        self.affine: dict[Node, Items] = {}
        self.shortcuts: dict[Node, tuple[Items, Items]] = {}
        self.pinned: dict[int, str] = {}
        self.trace()
        self._couple_shared()
        for layer in graph.layers:
            self._check_owner(modules, layer.weight, nn.modules.conv._ConvNd, self.outputs[layer.call], "convolution")
        for reader in self.readers:
            self._check_owner(modules, parameter_path(reader.node, 1), nn.Module, reader.items, "layer")
        for node, items in self.affine.items():
            self._check_owner(modules, channel_parameter(node), nn.Module, items, "norm")

    def find(self, item: int) -> int:
        """Return the class of an item."""
        while self._parent[item] != item:
            self._parent[item] = self._parent[self._parent[item]]
            item = self._parent[item]
        return item

    def classes(self, items: Iterable[int]) -> list[int]:
        """Return the classes of items."""
        return [self.find(item) for item in items]

    def is_free(self, item: int) -> bool:
        """Tell whether the channels of an item's class could be left out."""
        return self.why_pinned(item) is None

    def why_pinned(self, item: int) -> str | None:
        """Return why a class has to stay; None where nothing speaks for it."""
        root = self.find(item)
        if root < _FIRST_ITEM:
            return "no filter of the graph produces it"
        return self.pinned.get(root)

    def convolution(self, node: Node, args: Sequence[Any], _kwargs: dict[str, Any]) -> Tensor:
        """Give each filter an item; a depthwise filter goes with the channel that it reads."""
        shape = example_shape(node.meta["val"])
        first = self._first[node] + _FIRST_ITEM
        items = list(range(first, first + shape[1]))
        read = self._channels_of(args[0])
        weight = example_shape(node.args[1].meta["val"])  # type: ignore[union-attr]
        groups = shape[1] // weight[1] if ops.is_transposed(node) else len(read) // weight[1]
        if groups == len(read) and groups > 1:
            self._couple_depthwise(read, items)
        else:
            self.readers.append(Reader(node, read))
            if groups > 1 and ops.is_transposed(node):
                self._pin([*read, *items], "a grouped transposed convolution reads it")
        self.outputs[node] = items
        labels = torch.tensor(self.classes(items))
        return labels.view(1, -1, *[1] * (len(shape) - 2)).expand(shape)

    def same_channels(self, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Note the features of a norm; one that takes statistics of live channels cannot lose any."""
        name = ops.op_name(node)
        if name in ops.NORMS:
            items = self._channels_of(args[0])
            self.affine[node] = items
            if name != "aten._native_batch_norm_legit_no_training.default":
                self._pin(items, f"{ops.NORMS[name]} takes statistics of it")
        return super().same_channels(node, args, kwargs)

    def unary(self, node: Node, args: Sequence[Any], _kwargs: dict[str, Any]) -> Any:
        """Note a nonlinearity that has parameters for each channel."""
        if channel_parameter(node) is not None:
            self.affine[node] = self._channels_of(args[0])
        return args[0]

    def binary(self, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
        """Couple what meets; a parameter with a value for each channel is nothing that could be cut."""
        for source, other in ((node.args[0], args[1]), (node.args[1], args[0])):
            if isinstance(source, Node) and isinstance(other, Tensor) and is_parameter(source):
                shape = example_shape(source.meta["val"])
                if len(shape) >= other.dim() - 1 and any(size > 1 for size in shape):
                    self._pin(self._channels_of(other), "it meets a parameter of its own")
        return super().binary(node, args, kwargs)

    def movement(self, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Let through what moves within planes; what tells channels by position pins them."""
        moved = super().movement(node, args, kwargs)
        if not self._keeps_channels(args[0], moved):
            self._pin_all(args[0], f"{short_name(node)} tells channels by their position")
        return moved

    def indexing(self, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Let pass what an index picks, and pin it."""
        self._pin_all(args[0], f"{short_name(node)} tells channels by their position")
        return super().indexing(node, args, kwargs)

    def concatenation(self, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
        """Put channels side by side; along another axis than theirs they have to agree."""
        axis = args[1] % args[0][0].dim() if len(args) > 1 else 0
        if axis != 1:
            for tensor in args[0]:
                self._pin_all(tensor, f"{short_name(node)} joins along another axis")
        return super().concatenation(node, args, kwargs)

    def pad(self, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Give the output of a padding that can be done by an index items of its own; pin what another one reads."""
        plane_axes = max(args[0].dim() - 2, 0)
        if not any(args[1][2 * plane_axes :]):
            return super().pad(node, args, kwargs)
        read = self._channels_of(args[0])
        if module_path(node) not in self._indexed:
            self._pin(read, f"{short_name(node)} adds channels at fixed positions")
            return self.opaque_output(node, (), kwargs)
        shape = example_shape(node.meta["val"])
        given = list(range(len(self._parent), len(self._parent) + shape[1]))
        self._parent.extend(given)
        self.shortcuts[node] = (read, given)
        return torch.tensor(given).view(1, -1, *[1] * plane_axes).expand(shape)

    def opaque_output(self, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Pin what is read by an operation that is not understood; a linear layer reads features one by one."""
        if ops.op_name(node) == "aten.linear.default" and isinstance(args[0], Tensor) and args[0].dim() == 2:
            self.readers.append(Reader(node, self._channels_of(args[0])))
        else:
            for tensor in tensors_in(args):
                self._pin_all(tensor, f"{short_name(node)} is not understood")
        return super().opaque_output(node, args, kwargs)

    def output(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Pin what the network answers with."""
        for tensor in tensors_in(args):
            self._pin_all(tensor, "the network's own output")
        return super().output(target, args, kwargs)

    def merged(self, labels: Sequence[int]) -> int:
        """Make one class of all that a plane holds: its channel stands or falls with each of them."""
        first, *others = labels
        for other in others:
            self._couple(first, other, "a plane holds several channels")
        return self.find(first)

    def joined(self, node: Node, left: int, right: int) -> int:
        """Make one class of two channels that meet; a parameter that is spread over a channel goes with it."""
        if NOTHING in (left, right):
            return self.find(max(left, right))
        return self._couple(left, right, f"{short_name(node)} adds what no filter produces")

    def _couple(self, left: int, right: int, why: str) -> int:
        a, b = sorted((self.find(left), self.find(right)))
        if a == b:
            return a
        if a < _FIRST_ITEM:  # fixed channels are of many tensors: what meets one is pinned, and no class with it
            self.pinned.setdefault(b, why)
            return b
        self._parent[b] = a
        if b in self.pinned:
            self.pinned.setdefault(a, self.pinned[b])
        return a

    def _couple_depthwise(self, read: Items, items: Items) -> None:
        multiplier = len(items) // len(read)
        for place, item in enumerate(items):
            self._couple(item, read[place // multiplier], "a depthwise filter of what no filter produces")

    def _couple_shared(self) -> None:
        """Couple the calls of one weight, filter by filter and channel by channel: it is cut once for all."""
        inputs = {reader.node: reader.items for reader in self.readers}
        for table in (self.outputs, inputs, self.affine):
            first: dict[str, Items] = {}
            for node, items in table.items():
                path = channel_parameter(node) if table is self.affine else parameter_path(node, 1)
                if path is not None:
                    for one, other in zip(first.setdefault(path, items), items, strict=True):
                        self._couple(one, other, "a shared weight reads what no filter produces")

    def _check_owner(
        self, modules: Mapping[str, nn.Module], path: str | None, kind: type, items: Items, what: str
    ) -> None:
        owner = None if path is None else modules.get(path.rpartition(".")[0])
        if not isinstance(owner, kind) or not isinstance(owner, _CUTTABLE):
            self._pin(items, f"the {what} {path or 'without a weight of its own'} is of no known kind")

    def _pin(self, items: Iterable[int], why: str) -> None:
        for item in items:
            if self.find(item) >= _FIRST_ITEM:
                self.pinned.setdefault(self.find(item), why)

    def _pin_all(self, labels: object, why: str) -> None:
        if isinstance(labels, Tensor) and labels.dtype == torch.int64:
            self._pin(torch.unique(labels).tolist(), why)

    def _channels_of(self, labels: Tensor) -> list[int]:
        """Return the items of a tensor's channels; rows of a batch that differ make one class."""
        return [self.merged(list(dict.fromkeys(rows))) for rows in self.channels(labels)]

    def _keeps_channels(self, before: Tensor, after: object) -> bool:
        """Tell whether channels stand in the same order after a movement, each perhaps several times in a row."""
        if not isinstance(after, Tensor) or before.dim() < 2 or after.dim() < 2:
            return False
        one, other = (_sequence(labels) for labels in (before, after))
        if one is None or other is None:
            return False
        return other == one or (len(other) % len(one) == 0 and other == _repeated(one, len(other) // len(one)))


_CUTTABLE = (
    nn.modules.conv._ConvNd,
    nn.modules.batchnorm._NormBase,
    nn.Linear,
    nn.PReLU,
    nn.GroupNorm,
)


def _sequence(labels: Tensor) -> list[int] | None:
    """Return the label of each channel; None where one holds several."""
    narrow = labels[0].flatten(1) if labels.dim() > 2 else labels[0].unsqueeze(1)
    if labels.stride(0) != 0 and len(labels) > 1 and not bool((labels == labels[:1]).all()):
        return None
    first = narrow[:, :1]
    found: list[int] = first.flatten().tolist()
    return found if bool((narrow == first).all()) else None


def _repeated(items: list[int], times: int) -> list[int]:
    return [item for item in items for _ in range(times)]
