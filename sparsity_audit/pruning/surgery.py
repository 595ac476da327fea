"""Carrying out a cut on a copy of the network, in float64: narrower tensors, constants taken over, nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.fx import Node

from sparsity_audit.graph.chain import follow
from sparsity_audit.graph.feature_graph import FeatureGraph, FeatureLayer
from sparsity_audit.graph.ops import is_convolution
from sparsity_audit.graph.parameters import channel_parameter, module_path, parameter_path
from sparsity_audit.models.slim import FILL, INDEX, Scatter, adjust, scatter
from sparsity_audit.pruning.channels import ChannelClasses, Reader
from sparsity_audit.pruning.constants import pads
from sparsity_audit.pruning.copying import copied
from sparsity_audit.pruning.owners import norm_of_its_own
from sparsity_audit.pruning.partition import Items
from sparsity_audit.pruning.scattering import left_behind
from sparsity_audit.pruning.structure import Cut


@dataclass(frozen=True)
class Operated:
    """A slim network in float64, and the groups of the convolutions that have fewer now, by module path."""

    module: nn.Module
    groups: dict[str, int]


def operate(module: nn.Module, graph: FeatureGraph, classes: ChannelClasses, cut: Cut) -> Operated:
    """Return a slim copy of ``module``, which stays as it is.

    Args:
        graph: of this module.
        classes: of this graph.
        cut: of these classes.
    """
    return _Surgeon(module, graph, classes, cut).operate()


class _Surgeon:
    def __init__(self, module: nn.Module, graph: FeatureGraph, classes: ChannelClasses, cut: Cut) -> None:
        self.module = nn.Module.eval(copied(module).double())
        self.parts = dict(nn.Module.named_modules(self.module, remove_duplicate=False))
        self.graph, self.classes, self.cut = graph, classes, cut
        self.readers = {reader.node: reader for reader in classes.readers}
        self.layer_of_norm = {follow(layer.call).norm: layer for layer in graph.layers}
        self.groups: dict[str, int] = {}

    @torch.no_grad()
    def operate(self) -> Operated:
        """Fold constants into full tensors first, then cut them."""
        for layer in self.graph.layers:
            self._freeze_carriers(layer)
        for reader in self.classes.readers:
            self._take_over(reader)
        for layer in {layer.weight: layer for layer in self.graph.layers}.values():  # of calls of one weight, one
            self._cut_convolution(layer)
        for node in {parameter_path(node, 1): node for node in self.classes.features}.values():
            self._cut_linear(node)
        for node in {channel_parameter(node): node for node in self.classes.affine}.values():
            self._cut_affine(node)
        for layer in self.graph.layers:
            if layer.key in self.cut.scattered:
                self._scatter(layer)
        for node, (read, given) in self.classes.shortcuts.items():
            self._cut_shortcut(node, read, given)
        adjust(self.module, self.groups)
        return Operated(self.module, self.groups)

    def _stays(self, item: int) -> bool:
        return self.classes.find(item) not in self.cut.gone

    def _staying(self, items: Items) -> list[int]:
        return [i for i, item in enumerate(items) if self._stays(item)]

    def _computed(self, layer: FeatureLayer) -> list[int]:
        """Return the filters that a layer goes on computing."""
        apart = self.cut.scattered.get(layer.key, ())
        return [i for i in self._staying(self.classes.outputs[layer.call]) if i not in apart]

    def _owner(self, path: str) -> nn.Module:
        owner: nn.Module = self.parts[path.rpartition(".")[0]]
        return owner

    def _norm(self, layer: FeatureLayer) -> nn.Module | None:
        norm = follow(layer.call).norm
        path = None if norm is None else channel_parameter(norm)
        return None if path is None else self._owner(path)

    def _freeze_carriers(self, layer: FeatureLayer) -> None:
        """Make a carrier's filter the constant that it was held at, whatever the image."""
        for i, value in self.cut.holds.get(layer.key, {}).items():
            if self.classes.find(self.classes.outputs[layer.call][i]) not in self.cut.carriers:
                continue
            assert layer.weight is not None
            convolution, norm = self._owner(layer.weight), self._norm(layer)
            _kernels(convolution, i, layer).zero_()
            bias = convolution.bias
            if isinstance(bias, Tensor):
                bias[i] = value if norm is None else 0.0
            elif norm is None:
                _give_bias(convolution, value * nn.functional.one_hot(torch.tensor(i), layer.filters).double())
            if norm is not None:
                _freeze(norm, i, value)

    def _take_over(self, reader: Reader) -> None:
        """Let a reader make up for the constants that it will not read any more."""
        values = self.cut.read[reader.node]
        items = self.classes.classes(reader.items)
        lost = {c: v for c, (item, v) in enumerate(zip(items, values, strict=True)) if item in self.cut.gone and v}
        path = parameter_path(reader.node, 1)
        if not lost or path is None:
            return
        weight = self._owner(path).weight
        assert isinstance(weight, Tensor)
        if is_convolution(reader.node) and pads(reader.node):
            constants = {c: v for c, v in enumerate(values) if v and items[c] in self.cut.carriers}
            carrier = max(constants, key=lambda c: abs(constants[c]))
            for channel, value in lost.items():
                weight[:, carrier] += weight[:, channel] * (value / constants[carrier])
        else:
            self._shift(reader.node, self._owner(path), _contribution(weight, lost, len(items)))

    def _shift(self, node: Node, owner: nn.Module, shift: Tensor) -> None:
        """Add a number to each output: in the bias, else in the mean of a norm of its own, else in a new bias."""
        place = self.classes.owners.bias_place(node)
        if place == "own" or isinstance(owner.bias, Tensor):  # a carrier may have given it one
            owner.bias += shift  # type: ignore[operator]
        elif place == "norm":
            path = channel_parameter(norm_of_its_own(node) or node)
            assert path is not None
            self._owner(path).running_mean -= shift  # type: ignore[operator]
        else:
            _give_bias(owner, shift)

    def _cut_convolution(self, layer: FeatureLayer) -> None:
        path = (layer.weight or "").rpartition(".")[0]
        owner, reader, rows = self.parts.get(path), self.readers.get(layer.call), self._computed(layer)
        columns = [] if reader is None else self._staying(reader.items)
        whole = len(rows) == layer.filters and (reader is None or len(columns) == len(reader.items))
        if whole or not isinstance(owner, nn.modules.conv._ConvNd):
            return
        weight = owner.weight.data
        multiplier = layer.filters // len(layer.reads)
        if reader is None and layer.transposed:  # depthwise: its weight has the channels first
            weight = weight[[i // multiplier for i in rows[::multiplier]]]
        elif reader is None:
            weight = weight[rows]
        elif layer.transposed:
            weight = weight[columns][:, rows]
        else:
            weight = _grouped_slice(weight, rows, columns, layer)
        if reader is None:
            self.groups[path] = len(rows) // multiplier
        owner.weight = _parameter(weight, owner.weight)
        if owner.bias is not None:
            owner.bias = _parameter(owner.bias.data[rows], owner.bias)

    def _cut_linear(self, node: Node) -> None:
        path, rows = parameter_path(node, 1), self._staying(self.classes.features[node])
        columns = self._staying(self.readers[node].items)
        owner = None if path is None else self._owner(path)
        if isinstance(owner, nn.Linear) and owner.weight.shape != (len(rows), len(columns)):
            owner.weight = _parameter(owner.weight.data[rows][:, columns], owner.weight)
            if owner.bias is not None:
                owner.bias = _parameter(owner.bias.data[rows], owner.bias)

    def _cut_affine(self, node: Node) -> None:
        items, layer = self.classes.affine[node], self.layer_of_norm.get(node)
        path, kept = channel_parameter(node), self._staying(items) if layer is None else self._computed(layer)
        if path is None or len(kept) == len(items):
            return
        owner = self._owner(path)
        for name in ("weight", "bias", "running_mean", "running_var"):
            tensor = getattr(owner, name, None)
            if isinstance(tensor, Tensor):
                cut = tensor.data[kept]
                setattr(owner, name, _parameter(cut, tensor) if isinstance(tensor, nn.Parameter) else cut)

    def _scatter(self, layer: FeatureLayer) -> None:
        """Put what a layer still computes among the constants of the filters that left it."""
        assert layer.weight is not None
        part = self._norm(layer) or self._owner(layer.weight)
        width, rows = self._staying(self.classes.outputs[layer.call]), self._computed(layer)
        place = {i: position for position, i in enumerate(width)}
        index, fill = torch.tensor([place[i] for i in rows]), torch.zeros(len(width), dtype=torch.float64)
        for i in self.cut.scattered[layer.key]:
            fill[place[i]] = left_behind(layer, part, self.cut.holds[layer.key][i])
        if isinstance(part, Scatter):  # it did so before, after what was measured now
            old = {name: getattr(part, name) for name in (INDEX, FILL)}
            index, fill = old[INDEX][index], old[FILL].index_copy(0, old[INDEX], fill)
        scatter(part, index, fill)

    def _cut_shortcut(self, node: Node, read: Items, given: Items) -> None:
        """Let a shortcut take its channels by an index; channels that are gone give the constant that they were."""
        kept_in, kept_out = self._staying(read), self._staying(given)
        if len(kept_in) == len(read) and len(kept_out) == len(given):
            return
        part = self.parts[module_path(node)]
        amounts = node.args[1]
        assert isinstance(amounts, list | tuple)
        before = int(amounts[-2])  # type: ignore[arg-type]
        place = {channel: position for position, channel in enumerate(kept_in)}
        sources = [channel - before for channel in kept_out]
        values = self.cut.read[node]
        fill = [values[c] or 0.0 if 0 <= c < len(read) and c not in place else 0.0 for c in sources]
        part.register_buffer("source", torch.tensor([place.get(c, len(kept_in)) for c in sources]))
        if any(fill):
            part.register_buffer("fill", torch.tensor(fill, dtype=torch.float64))


def _parameter(data: Tensor, before: Tensor) -> nn.Parameter:
    return nn.Parameter(data.clone(memory_format=torch.contiguous_format), requires_grad=before.requires_grad)


def _give_bias(owner: nn.Module, values: Tensor) -> None:
    owner.register_parameter("bias", nn.Parameter(values))


def _kernels(convolution: nn.Module, index: int, layer: FeatureLayer) -> Tensor:
    """Return the kernels of one filter of a convolution."""
    weight = convolution.weight
    assert isinstance(weight, Tensor)
    if not layer.transposed:
        return weight[index]
    per_group = weight.shape[1]
    inputs = len(weight) // layer.groups
    return weight[index // per_group * inputs : (index // per_group + 1) * inputs, index % per_group]


def _freeze(norm: nn.Module, index: int, value: float) -> None:
    """Make a batch norm put out a constant for a channel of zeros, whatever its statistics were."""
    mean, variance, gamma, beta = norm.running_mean, norm.running_var, norm.weight, norm.bias
    assert isinstance(mean, Tensor)
    assert isinstance(variance, Tensor)
    mean[index], variance[index] = 0.0, 1.0
    if isinstance(gamma, Tensor):
        gamma[index] = 0.0
    if isinstance(beta, Tensor):
        beta[index] = value
    else:
        mean[index] = -value * (1.0 + norm.eps) ** 0.5  # type: ignore[operator]


def _contribution(weight: Tensor, lost: dict[int, float], inputs: int) -> Tensor:
    """Return what constant inputs add to each output of an unpadded convolution or a linear layer, [outputs]."""
    per_group = weight.shape[1]
    filters = len(weight) * per_group // inputs
    added = torch.zeros(len(weight), dtype=torch.float64)
    for group in {channel // per_group for channel in lost}:
        rows = slice(group * filters, (group + 1) * filters)
        own = [channel for channel in lost if channel // per_group == group]
        kernels = weight[rows, [channel % per_group for channel in own]].reshape(filters, len(own), -1).sum(2)
        added[rows] = kernels @ torch.tensor([lost[channel] for channel in own], dtype=torch.float64)
    return added


def _grouped_slice(weight: Tensor, rows: Sequence[int], columns: Sequence[int], layer: FeatureLayer) -> Tensor:
    """Return the kernels of some filters and input channels; each group has its own positions, equally many."""
    if layer.groups == 1:
        return weight[list(rows)][:, list(columns)]
    per_group, filters = weight.shape[1], layer.filters // layer.groups
    local: list[list[int]] = [[] for _ in range(layer.groups)]
    for channel in columns:
        local[channel // per_group].append(channel % per_group)
    return torch.stack([weight[i][local[i // filters]] for i in rows])
