"""Dead, constant and healthy filters planted in public networks: the audit finds each, and no others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from eager_filters import RECTIFIERS, EagerFilters, eager_filters
from torch import Tensor, nn

from sparsity_audit import Corpus, audit
from sparsity_audit.schema.report import LayerReport
from sparsity_audit.schema.spec import Normalisation

MEAN, STD = 0.45, 0.25
IMAGES, SIDE = 16, 64
FAST = ("resnet18", "squeezenet1_1")
SLOW = (
    *("vgg16_bn", "mobilenet_v2", "densenet121", "googlenet", "shufflenet_v2_x1_0", "efficientnet_b0"),
    *("convnext_tiny", "regnet_y_400mf"),
)
DEAD, CONSTANT = (0, 3), (1,)
"""Which filters of every layer are planted as what; of layers with less than eight filters none is."""

Filters = set[tuple[str, int]]


@dataclass(frozen=True)
class Planted:
    """Filters by layer key and index."""

    dead: Filters
    constant: Filters


def network(name: str) -> nn.Module:
    """Return a torchvision network with random weights and no γ near 0."""
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(0)
    options = {"init_weights": False} if name in ("googlenet", "vgg16_bn") else {}
    model: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=10, **options).eval()
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.weight.data.uniform_(0.5, 1.5)
            part.bias.data.uniform_(-0.2, 0.2)
    return model


def plant(model: nn.Module, images: Tensor) -> Planted:
    """Plant in the norm of every layer, in the convolution itself where it has none, and return what and where."""
    dead: Filters = set()
    constant: Filters = set()
    for layer in eager_filters(model, images[:2]):
        if len(layer.high) < 8 or (layer.norm is None and not layer.bias):
            continue
        target = model.get_submodule(layer.norm if layer.norm is not None else layer.key)
        if layer.nonlinearity in ("sigmoid", "hardsigmoid"):
            continue  # a gate's 0 is ½
        weight, bias = target.weight.data, target.bias.data  # type: ignore[union-attr]
        weight[[*DEAD, *CONSTANT]] = 0
        bias[list(DEAD)] = -0.5 if layer.nonlinearity in RECTIFIERS else 0.0
        bias[list(CONSTANT)] = 0.3
        dead |= {(layer.key, i) for i in DEAD}
        constant |= {(layer.key, i) for i in CONSTANT}
    return Planted(dead, constant)


def calibrate(model: nn.Module, images: Tensor) -> None:
    """Give norms the statistics of these images, and convolutions biases, so that healthy filters vary around β or 0.

    Otherwise some of a random network's filters would be silent on so few images.
    """

    def centre(part: nn.Module, _args: object, output: Tensor) -> Tensor:
        healthy = part.weight.flatten(1).any(1)  # type: ignore[operator, union-attr]
        offset = torch.where(healthy, output.mean((0, 2, 3)), 0.0)
        part.bias.data -= offset  # type: ignore[operator, union-attr]
        return output - offset.view(-1, 1, 1)

    norms = [part for part in model.modules() if isinstance(part, nn.BatchNorm2d)]
    convolutions = [part for part in model.modules() if isinstance(part, nn.Conv2d) and part.bias is not None]
    hooks = [part.register_forward_hook(centre) for part in convolutions]
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    with torch.no_grad():
        model(images)
    for norm in norms:
        norm.eval()
    for hook in hooks:
        hook.remove()


def found(layers: list[LayerReport], criterion: str) -> Filters:
    return {(layer.key, i) for layer in layers for i in getattr(layer, criterion) or ()}


def scale_by_hand(model: nn.Module, layers: list[EagerFilters]) -> Filters:
    state = model.state_dict()
    gammas = {layer.key: state[f"{layer.norm}.weight"].abs() for layer in layers if layer.norm is not None}
    return {(key, i) for key, gamma in gammas.items() for i in torch.nonzero(gamma < 1e-3).flatten().tolist()}


def check(name: str) -> dict[str, int]:
    """Plant, audit and compare; return the numbers for a table."""
    pixels = np.random.default_rng(0).integers(0, 256, (IMAGES, SIDE, SIDE, 3), np.uint8)
    images = ((torch.from_numpy(pixels).float() / 255 - MEAN) / STD).permute(0, 3, 1, 2).contiguous()
    model = network(name)
    planted = plant(model, images)
    calibrate(model, images)
    oracle = eager_filters(model, images)
    normalisation = Normalisation(mean=[MEAN] * 3, std=[STD] * 3)
    corpus = Corpus.from_arrays(pixels, np.arange(IMAGES) % 10, normalisation=normalisation)
    layers = audit(model, corpus, batch_size=6).models[0].layers

    assert [(layer.key, layer.filters) for layer in layers] == [(each.key, len(each.high)) for each in oracle]
    inactive = {(each.key, i) for each in oracle for i in each.inactive()}
    constant = {(each.key, i) for each in oracle for i in each.constant()}
    assert found(layers, "activation") == inactive
    assert found(layers, "constant") == constant
    assert found(layers, "scale") == scale_by_hand(model, oracle)
    assert planted.dead <= inactive
    assert planted.constant <= constant
    # What was not planted is dead or constant only where one channel that is feeds a filter alone.
    depthwise = {each.key for each in oracle if each.depthwise}
    assert {key for key, _ in (inactive - planted.dead) | (constant - planted.constant)} <= depthwise
    derived = len(inactive | constant) - len(planted.dead | planted.constant)
    filters = sum(len(each.high) for each in oracle)
    return {"filters": filters, "dead": len(planted.dead), "constant": len(planted.constant), "derived": derived}


@pytest.mark.parametrize("name", FAST)
def test_planted_filters(name: str) -> None:
    assert check(name)["dead"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_planted_filters_of_larger_networks(name: str) -> None:
    assert check(name)["dead"] > 0
