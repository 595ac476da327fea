"""Known networks of torchvision with a share of every norm's filters planted dead, for what removes filters."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sparsity_audit.graph.feature_graph import FeatureGraph, build_graph
from sparsity_audit.models.registry import TORCHVISION, build_network
from sparsity_audit.schema.spec import NetworkSpec
from sparsity_audit.selftest.networks import CLASSES
from sparsity_audit.selftest.planting import KINDS, calibrate

NETWORKS = (
    *("vgg16_bn", "resnet18", "resnet50", "mobilenet_v2", "densenet121", "googlenet"),
    *("shufflenet_v2_x1_0", "efficientnet_b0", "regnet_y_400mf"),
)
"""Plain, residual, depthwise, concatenated, branching, shuffled, gated and grouped ones."""

FAULTS = ("dead", "constant", "small")
"""Kinds of ``planting.KINDS`` that can be planted here.

In those that are small γ has a random sign, and β is what it was: removing them costs something, if little.
"""

CALIBRATION_IMAGES = 32
KEPT_VARIANCE = 0.25
"""Of what a norm's variance was while all filters were healthy: less would magnify what is planted before it.

A depthwise convolution's norm, or one on a concatenation, else turns a γ of 5e-4 back into a full signal.
"""


@dataclass(frozen=True)
class FaultyNetwork:
    """A network in eval mode, and which of its filters are held at a constant.

    Attributes:
        graph: the module's feature graph; it shares the module's tensors.
        side: height and width of the images, in pixels.
        planted: filters by layer key.
        loose: features by path of those norms that follow no convolution alone, as in DenseNet.
    """

    name: str
    fault: str
    module: nn.Module
    graph: FeatureGraph
    side: int
    planted: dict[str, list[int]]
    loose: dict[str, list[int]]

    @property
    def filters(self) -> int:
        """How many filters are planted; loose features are not counted."""
        return sum(map(len, self.planted.values()))

    @property
    def holds(self) -> dict[str, dict[int, float]]:
        """By layer key and filter: what the norm puts out where γ is 0, which is β."""
        betas = {
            layer.key: self.module.get_parameter(layer.beta).tolist()
            for layer in self.graph.layers
            if layer.beta is not None
        }
        return {key: {i: betas[key][i] for i in filters} for key, filters in self.planted.items()}

    def held(self) -> nn.Module:
        """Return a copy with γ of what was planted at 0 and β kept: no removal comes closer to the network than it."""
        module = copy.deepcopy(self.module)
        gammas = {layer.key: layer.gamma for layer in self.graph.layers}
        places = [(gammas[key], filters) for key, filters in self.planted.items()]
        with torch.no_grad():
            for gamma, filters in places + [(f"{path}.weight", features) for path, features in self.loose.items()]:
                assert gamma is not None
                module.get_parameter(gamma)[filters] = 0
        return module


def noise_images(count: int, side: int, seed: int) -> Tensor:
    """Return normalised noise [count, 3, side, side] with mean 0 and standard deviation 1."""
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


def fresh_network(name: str) -> nn.Module:
    """Return a network of torchvision for ``CLASSES`` classes in eval mode, weights from torch's global generator."""
    return build_network(NetworkSpec(name=TORCHVISION + name), 3, CLASSES).eval()


def plant_faults(
    name: str, fault: str, *, share: float = 0.4, side: int = 64, seed: int = 0, loose: bool = False
) -> FaultyNetwork:
    """Return a network of random weights in which ``share`` of each batch norm's filters are planted.

    Which filters is drawn for every norm by itself, so that the producers of a residual stream seldom agree. Healthy
    filters have γ in 0.5–1.5 and β within ±0.2. The norms get the statistics of noise after planting, so that what
    is healthy stays so however deep the network, and the logits are scaled to a standard deviation of 1, so that
    networks compare. The same arguments give the same network; torch's generator is left as it was.

    Args:
        fault: one of ``FAULTS``.
        loose: plant in those batch norms too that follow no convolution alone.

    Raises:
        UsageError: torchvision has no such network.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = fresh_network(name)
        graph = build_graph(module, (3, side, side))
        _make_healthy(module)
        images = noise_images(CALIBRATION_IMAGES, side, seed)
        calibrate(module, images)
        variances = _variances(module)
        draw = torch.Generator().manual_seed(seed)
        planted = {
            layer.key: _plant(module, layer.gamma, layer.beta, fault, share, draw)
            for layer in graph.layers
            if layer.norm_kind == "batch_norm"
        }
        norms = graph.norms if loose else ()
        features = {norm.key: _plant(module, norm.gamma, norm.beta, fault, share, draw) for norm in norms}
        calibrate(module, images)
        _keep_variance(module, variances)
        _scale_logits(module, images)
    return FaultyNetwork(name, fault, module, graph, side, planted, features)


@torch.no_grad()
def _make_healthy(module: nn.Module) -> None:
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.weight.uniform_(0.5, 1.5)
            norm.bias.uniform_(-0.2, 0.2)


def _variances(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.named_buffers() if name.endswith(".running_var")}


def _keep_variance(module: nn.Module, healthy: dict[str, Tensor]) -> None:
    for name, variance in healthy.items():
        now = module.get_buffer(name)
        now.copy_(torch.maximum(now, KEPT_VARIANCE * variance))


@torch.no_grad()
def _plant(
    module: nn.Module, gamma: str | None, beta: str | None, fault: str, share: float, draw: torch.Generator
) -> list[int]:
    """Plant in one norm and return where; a filter at least stays as it was."""
    assert gamma is not None
    assert beta is not None
    weight, bias = module.get_parameter(gamma), module.get_parameter(beta)
    count = min(round(share * len(weight)), len(weight) - 1)
    places = torch.randperm(len(weight), generator=draw)[:count].sort().values
    signs = 1 - 2.0 * torch.randint(2, (count,), generator=draw)
    weight[places] = signs * KINDS[fault].gamma
    if KINDS[fault].gamma == 0:
        bias[places] = KINDS[fault].beta
    return places.tolist()


@torch.no_grad()
def _scale_logits(module: nn.Module, images: Tensor) -> None:
    """Scale the last linear layer."""
    last = [part for part in module.modules() if isinstance(part, nn.Linear)][-1]
    spread = float(module(images).std())
    assert math.isfinite(spread)
    last.weight.div_(spread)
    last.bias.div_(spread)
