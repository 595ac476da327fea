"""Carrying out a cut on a copy of the network, in float64: narrower tensors, constants taken over, nothing else."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.fx import Node

from sparsity_audit.graph.chain import follow
from sparsity_audit.graph.feature_graph import FeatureGraph, FeatureLayer
from sparsity_audit.graph.ops import is_convolution
from sparsity_audit.graph.parameters import channel_parameter, module_path, parameter_path
from sparsity_audit.models.slim import adjust, scatter
from sparsity_audit.pruning.channels import ChannelClasses, Items, Reader
from sparsity_audit.pruning.constants import pads
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
        self.module = copy.deepcopy(module).double()
        self.parts = dict(nn.Module.named_modules(self.module))
        self.graph, self.classes, self.cut = graph, classes, cut
        self.readers = {reader.node: reader for reader in classes.readers}
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
        for reader in {parameter_path(reader.node, 1): reader for reader in self.classes.readers}.values():
            self._cut_linear(reader)
        for node, items in {
            channel_parameter(node): (node, items) for node, items in self.classes.affine.items()
        }.values():
            self._cut_affine(node, items)
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
            _row(convolution, i).zero_()
            bias = convolution.bias
            if isinstance(bias, Tensor):
                bias[i] = value if norm is None else 0.0
            if norm is None:
                assert isinstance(bias, Tensor)
            elif isinstance(norm.weight, Tensor) and isinstance(norm.bias, Tensor):
                norm.weight[i], norm.bias[i] = 0.0, value
            else:
                norm.running_mean[i] = -value * torch.sqrt(norm.running_var[i] + norm.eps)  # type: ignore[index, operator]

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
            carrier = next(c for c, item in enumerate(items) if item in self.cut.carriers and values[c])
            base = values[carrier]
            assert base is not None
            for channel, value in lost.items():
                weight[:, carrier] += weight[:, channel] * (value / base)
        else:
            self._shift(reader.node, self._owner(path), _contribution(weight, lost, len(items)))

    def _shift(self, node: Node, owner: nn.Module, shift: Tensor) -> None:
        """Add a number to each output: in the bias, else in the mean of a norm of its own, else in a new bias."""
        if isinstance(owner.bias, Tensor):
            owner.bias += shift
            return
        norm = follow(node).norm if is_convolution(node) else None
        path = None if norm is None else channel_parameter(norm)
        part = None if path is None else self._owner(path)
        alone = sum(channel_parameter(other) == path for other in self.classes.affine) == 1
        mean = getattr(part, "running_mean", None)
        if alone and isinstance(mean, Tensor):
            mean -= shift
        else:
            owner.register_parameter("bias", nn.Parameter(shift))

    def _cut_convolution(self, layer: FeatureLayer) -> None:
        path = (layer.weight or "").rpartition(".")[0]
        owner = self.parts.get(path)
        if not isinstance(owner, nn.modules.conv._ConvNd):
            return
        rows = self._computed(layer)
        reader = self.readers.get(layer.call)
        weight = owner.weight.data
        if layer.transposed:
            if reader is None:
                weight = weight[self._staying(self.classes.outputs[layer.call])]
            else:
                weight = weight[self._staying(reader.items)][:, rows]
        elif reader is None:
            weight = weight[rows]
        else:
            weight = _grouped_slice(weight, rows, self._staying(reader.items), layer)
        if reader is None:
            multiplier = layer.filters // len(layer.reads)
            self._regroup(path, owner, len(rows) // multiplier)
        owner.weight = nn.Parameter(weight.clone(), requires_grad=owner.weight.requires_grad)
        if owner.bias is not None:
            owner.bias = nn.Parameter(owner.bias.data[rows].clone(), requires_grad=owner.bias.requires_grad)

    def _regroup(self, path: str, owner: nn.modules.conv._ConvNd, groups: int) -> None:
        if groups != owner.groups:
            self.groups[path] = groups

    def _cut_linear(self, reader: Reader) -> None:
        path = parameter_path(reader.node, 1)
        owner = None if path is None else self._owner(path)
        if isinstance(owner, nn.Linear):
            owner.weight = nn.Parameter(owner.weight.data[:, self._staying(reader.items)].clone())

    def _cut_affine(self, node: Node, items: Items) -> None:
        path = channel_parameter(node)
        if path is None:
            return
        owner = self._owner(path)
        layer = next((layer for layer in self.graph.layers if follow(layer.call).norm is node), None)
        kept = self._computed(layer) if layer is not None else self._staying(items)
        if len(kept) == len(items):
            return
        for name, tensor in [*owner.named_parameters(recurse=False), *owner.named_buffers(recurse=False)]:
            if tensor.dim() == 1 and len(tensor) == len(items):
                cut = tensor.data[kept].clone()
                setattr(owner, name, nn.Parameter(cut) if isinstance(tensor, nn.Parameter) else cut)

    def _scatter(self, layer: FeatureLayer) -> None:
        assert layer.weight is not None
        width, rows = self._staying(self.classes.outputs[layer.call]), self._computed(layer)
        place = {i: position for position, i in enumerate(width)}
        fill = torch.zeros(len(width), dtype=torch.float64)
        for i in self.cut.scattered[layer.key]:
            fill[place[i]] = self.cut.holds[layer.key][i]
        scatter(self._norm(layer) or self._owner(layer.weight), torch.tensor([place[i] for i in rows]), fill)

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


def _row(convolution: nn.Module, index: int) -> Tensor:
    """Return the kernels of one filter of a convolution."""
    weight = convolution.weight
    assert isinstance(weight, Tensor)
    if getattr(convolution, "transposed", False):
        return weight[:, index]
    return weight[index]


def _contribution(weight: Tensor, lost: dict[int, float], inputs: int) -> Tensor:
    """Return what constant inputs add to each output of an unpadded convolution or a linear layer, [outputs]."""
    kernels = weight.flatten(2).sum(2) if weight.dim() > 2 else weight
    constants = torch.zeros(inputs, dtype=torch.float64)
    for channel, value in lost.items():
        constants[channel] = value
    groups = inputs // weight.shape[1]
    spread = constants.view(groups, 1, -1).expand(groups, len(weight) // groups, -1).reshape(len(weight), -1)
    return (kernels * spread).sum(1)


def _grouped_slice(weight: Tensor, rows: Sequence[int], columns: Sequence[int], layer: FeatureLayer) -> Tensor:
    """Return the kernels of some filters and input channels; each group has its own positions, equally many."""
    if layer.groups == 1:
        return weight[list(rows)][:, list(columns)]
    per_group, filters = weight.shape[1], layer.filters // layer.groups
    local = [[c % per_group for c in columns if c // per_group == g] for g in range(layer.groups)]
    return torch.stack([weight[i][local[i // filters]] for i in rows])
