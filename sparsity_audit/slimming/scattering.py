"""Whether a layer that computes fewer filters and scatters them among constants is faster: by trying it."""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping
from typing import Literal

import torch
from torch import nn
from torch.fx import Node

from sparsity_audit.graph.feature_graph import FeatureLayer
from sparsity_audit.graph.label_run import example_shape
from sparsity_audit.models.slim import adjust, scatter
from sparsity_audit.pruning.structure import MayScatter
from sparsity_audit.slimming.latency import Spread, paired_seconds

Policy = Literal["measured", "always", "never"]
BATCH = 8
"""Images of the trial."""
ROUNDS, SECONDS = 30, 0.5


def scatter_policy(policy: Policy, modules: Mapping[str, nn.Module]) -> MayScatter:
    """Return what decides whether filters leave their convolution though their channel stays.

    Args:
        modules: the network's, by path.
    """
    if policy != "measured":
        return lambda _layer, _gone: policy == "always"
    cache: dict[tuple[str, int], bool] = {}

    def measured(layer: FeatureLayer, gone: int) -> bool:
        key = (layer.key, gone)
        if key not in cache:
            cache[key] = _is_faster(layer, gone, modules)
        return cache[key]

    return measured


def recorded(layers: Mapping[str, object]) -> MayScatter:
    """Return the decision that was taken before: layers that scatter, by key."""
    return lambda layer, _gone: layer.key in layers


@torch.inference_mode()
def _is_faster(layer: FeatureLayer, gone: int, modules: Mapping[str, nn.Module]) -> bool:
    """Time convolution and norm as they are, and with fewer filters; three rounds in four must be won."""
    assert layer.weight is not None
    convolution = modules[layer.weight.rpartition(".")[0]]
    norm = modules.get(layer.norm) if layer.norm is not None else None
    source = layer.call.args[0]
    assert isinstance(source, Node)
    images = torch.randn(BATCH, *example_shape(source.meta["val"])[1:])
    full = [convolution, *([] if norm is None else [norm])]
    slim = [narrowed(part, layer.filters, gone) for part in full]
    scatter(slim[-1], torch.arange(layer.filters - gone), torch.zeros(layer.filters))
    whole, narrow = (functools.partial(nn.Sequential(*parts), images) for parts in (full, slim))
    before, after = paired_seconds(whole, narrow, ROUNDS, seconds_budget=SECONDS)
    return Spread.of([new / old for old, new in zip(before, after, strict=True)]).upper < 1


def narrowed(part: nn.Module, filters: int, gone: int) -> nn.Module:
    """Return a copy of a convolution or norm without its last filters."""
    part = copy.deepcopy(part)
    for name, tensor in [*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)]:
        if tensor.dim() and len(tensor) == filters:
            cut = tensor.data[: filters - gone].clone()
            setattr(part, name, nn.Parameter(cut) if isinstance(tensor, nn.Parameter) else cut)
    adjust(part, {})
    return part
