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

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Node

from sparsity_audit.graph import ops
from sparsity_audit.graph.feature_graph import FeatureGraph
from sparsity_audit.graph.label_run import LabelRun, example_shape
from sparsity_audit.graph.parameters import channel_parameter, module_path, parameter_path, short_name, tensors_in
from sparsity_audit.pruning.owners import BATCH_NORM, Owners
from sparsity_audit.pruning.partition import FIXED, NOTHING, PARAMETER, Items, Partition
from sparsity_audit.pruning.positions import keeps_channels

OWN_OUTPUT = "it is the network's own output"
_MIXING = {name.split(".")[1] for name in ops.REDUCTIONS | ops.LINEAR}


@dataclass(frozen=True)
class Reader:
    """A call that reads channels one by one, with weights of its own for each: a convolution or a linear layer."""

    node: Node
    items: Items


class ChannelClasses(LabelRun):
    """Runs a feature graph on items.

    Attributes:
        outputs: items of each convolution call's filters.
        features: items of what each linear layer puts out.
        readers: convolutions that are not depthwise, and linear layers, with the items of what they read.
        affine: items of the features of each norm, and of each nonlinearity with parameters of its own.
        shortcuts: for each padding of channels that its module can do by an index, what it reads and gives.
        pinned: classes that must stay as they are, and why.
        owners: the modules that have the parameters of these calls.
    """

    padding, parameter, unknown = NOTHING, PARAMETER, FIXED

    def __init__(self, graph: FeatureGraph, modules: Mapping[str, nn.Module], indexed: frozenset[str]) -> None:
        """Run the graph.

        Args:
            modules: the network's modules by path; what has a module of an unknown kind cannot be cut.
            indexed: paths of modules that pad channels, and can do so by an index.
        """
        super().__init__(graph.captured.program)
        self._partition = Partition()
        filters = self._partition.new(graph.filters)
        self._filters = {layer.call: filters[layer.span] for layer in graph.layers}
        paddings = Counter(_padding_module(node) for node in graph.captured.program.graph.nodes)
        self._indexed = {path for path in indexed if paddings[path] == 1}
        self.outputs: dict[Node, Items] = {}
        self.features: dict[Node, Items] = {}
        self.readers: list[Reader] = []
        self.affine: dict[Node, Items] = {}
        self.shortcuts: dict[Node, tuple[Items, Items]] = {}
        self.trace()
        self._couple_shared()
        self.owners = Owners(graph.captured.program, modules, {*self.outputs, *self.features, *self.affine})
        self._pin_what_cannot_be_cut()

    @property
    def pinned(self) -> dict[int, str]:
        """Classes that must stay as they are, and why."""
        return self._partition.pinned

    def find(self, item: int) -> int:
        """Return the class of an item."""
        return self._partition.find(item)

    def classes(self, items: Iterable[int]) -> list[int]:
        """Return the classes of items."""
        return [self.find(item) for item in items]

    def is_free(self, item: int) -> bool:
        """Tell whether the channels of an item's class could be left out."""
        return self.why_pinned(item) is None

    def why_pinned(self, item: int) -> str | None:
        """Return why a class has to stay; None where nothing speaks for it."""
        return self._partition.why_pinned(item)

    def convolution(self, node: Node, args: Sequence[Any], _kwargs: dict[str, Any]) -> Tensor:
        """Give each filter an item; a depthwise filter goes with the channel that it reads."""
        shape, items, read = example_shape(node.meta["val"]), self._filters[node], self._channels_of(args[0])
        weight = example_shape(node.args[1].meta["val"])  # type: ignore[union-attr]
        groups = shape[1] // weight[1] if ops.is_transposed(node) else len(read) // weight[1]
        if groups == len(read) and groups > 1:
            for place, item in enumerate(items):
                source = max(read[place // (len(items) // len(read))], FIXED)  # a channel spread over many has to stay
                self._partition.couple(item, source, "a depthwise convolution")
        else:
            self.readers.append(Reader(node, read))
            if groups > 1 and ops.is_transposed(node):
                self._partition.pin([*read, *items], "a transposed convolution with groups reads or makes it")
        self.outputs[node] = items
        return self._spread(items, shape)

    def linear(self, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Read features one by one, and give items to what comes out; only of a tensor [batch, features]."""
        if args[0].dim() != 2:
            return self.opaque_output(node, args, kwargs)
        self.readers.append(Reader(node, self._channels_of(args[0])))
        shape = example_shape(node.meta["val"])
        self.features[node] = self._partition.new(shape[1])
        return self._spread(self.features[node], shape)

    def same_channels(self, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Note the features of a norm; one that takes statistics of live channels cannot lose any."""
        if ops.op_name(node) in ops.NORMS:
            items = self._channels_of(args[0])
            if ops.op_name(node) != BATCH_NORM:
                self._partition.pin(items, f"{ops.NORMS[ops.op_name(node)]} takes statistics of the images themselves")
            else:
                self._note_affine(node, items)
        return super().same_channels(node, args, kwargs)

    def strided_channels(self, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Let through a pooling that gives every channel; one that gives every n-th tells them by position."""
        pooled = super().strided_channels(node, args, kwargs)
        if not isinstance(pooled, Tensor) or pooled.shape[1] != args[0].shape[1]:
            self._pin_all(args[0], f"{short_name(node)} takes every n-th channel")
        return pooled

    def unary(self, node: Node, args: Sequence[Any], _kwargs: dict[str, Any]) -> Any:
        """Note a nonlinearity that has parameters for each channel."""
        if any(isinstance(argument, Node) for argument in node.args[1:]):
            self._note_affine(node, self._channels_of(args[0]))
        return args[0]

    def binary(self, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
        """Couple what meets; a single channel that is spread over many goes with none of them."""
        shape = example_shape(node.meta["val"])
        return super().binary(node, [self._unless_spread(node, labels, shape) for labels in args[:2]], kwargs)

    def movement(self, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Let through what moves within planes; what tells channels by position pins them."""
        if ops.op_name(node) == "aten.expand.default":
            args = [self._unless_spread(node, args[0], example_shape(node.meta["val"])), *args[1:]]
        moved = super().movement(node, args, kwargs)
        if not isinstance(args[0], Tensor) or not keeps_channels(args[0], moved):
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
            self._pin_all(args[0], f"{short_name(node)} joins along another axis than the channels'")
        return super().concatenation(node, args, kwargs)

    def pad(self, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Give the output of a padding that can be done by an index items of its own; pin what another one reads."""
        plane_axes = max(args[0].dim() - 2, 0)
        if not any(args[1][2 * plane_axes :]):
            return super().pad(node, args, kwargs)
        read = self._channels_of(args[0])
        if _padding_module(node) not in self._indexed:
            self._partition.pin(read, f"{short_name(node)} adds channels at fixed positions")
            return super().opaque_output(node, (), kwargs)
        shape = example_shape(node.meta["val"])
        given = self._partition.new(shape[1])
        self.shortcuts[node] = (read, given)
        return self._spread(given, shape)

    def opaque_output(self, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Pin what is read by an operation that is not understood, or reads several channels together."""
        name = short_name(node)
        why = "reads it together with other channels" if name in _MIXING else "is not understood"
        self._pin_all((*args, *kwargs.values()), f"{name} {why}")
        return super().opaque_output(node, args, kwargs)

    def output(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Pin what the network answers with."""
        self._pin_all(args, OWN_OUTPUT)
        return super().output(target, args, kwargs)

    def merged(self, labels: Sequence[int]) -> int:
        """Make one class of all that a plane holds: its channel stands or falls with each of them."""
        first, *others = labels
        for other in others:
            first = self._partition.couple(first, other, "one plane")
        return self.find(first)

    def joined(self, node: Node, left: int, right: int) -> int:
        """Make one class of two channels that meet."""
        return self._partition.couple(left, right, short_name(node))

    def _note_affine(self, node: Node, items: Items) -> None:
        if channel_parameter(node) is not None:
            self.affine[node] = items
        elif any(max(example_shape(source.meta["val"]), default=1) > 1 for source in node.all_input_nodes[1:]):
            self._partition.pin(items, f"the numbers of {short_name(node)} are computed while the network runs")

    def _couple_shared(self) -> None:
        """Couple the calls of one weight, filter by filter and channel by channel: it is cut once for all."""
        inputs = {reader.node: reader.items for reader in self.readers}
        for table in (self.outputs, self.features, inputs, self.affine):
            first: dict[str, Items] = {}
            for node, items in table.items():
                path = channel_parameter(node) if table is self.affine else parameter_path(node, 1)
                if path is not None:
                    for one, other in zip(first.setdefault(path, items), items, strict=True):
                        self._partition.couple(one, other, f"the other call of {path}")

    def _pin_what_cannot_be_cut(self) -> None:
        inputs = {reader.node: reader.items for reader in self.readers}
        for table in (self.outputs, self.features, self.affine):
            for node, items in table.items():
                why = self.owners.why_not(node)
                if why is not None:
                    self._partition.pin([*items, *inputs.get(node, [])], why)

    def _unless_spread(self, node: Node, labels: Any, shape: list[int]) -> Any:
        """Return labels; nothing in place of a single channel that is spread over many, which has to stay."""
        axis = labels.dim() - len(shape) + 1 if isinstance(labels, Tensor) else 0
        if not isinstance(labels, Tensor) or len(shape) < 2 or shape[1] == 1 or (axis >= 0 and labels.shape[axis] > 1):
            return labels
        self._pin_all(labels, f"{short_name(node)} spreads it over other channels")
        return torch.tensor(NOTHING).expand(labels.shape)

    def _pin_all(self, labels: Any, why: str) -> None:
        for tensor in tensors_in(labels):
            if tensor.dtype == torch.int64:
                self._partition.pin(torch.unique(tensor).tolist(), why)

    def _spread(self, items: Items, shape: list[int]) -> Tensor:
        labels = torch.tensor(self.classes(items))
        return labels.view(1, -1, *[1] * (len(shape) - 2)).expand(shape)

    def _channels_of(self, labels: Tensor) -> Items:
        """Return the items of a tensor's channels; rows of a batch that differ make one class."""
        return [self.merged(list(dict.fromkeys(rows))) for rows in self.channels(labels)]


def _padding_module(node: Node) -> str | None:
    """Return the path of the module that a padding belongs to, whichever of its calls it is."""
    pads = ops.op_name(node) in ("aten.pad.default", "aten.constant_pad_nd.default")
    return module_path(node).partition("@")[0] if pads else None
