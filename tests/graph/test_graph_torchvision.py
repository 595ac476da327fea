"""torchvision's classification models: every convolution call found, outputs as the eager model's."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sparsity_audit.graph.feature_graph import build_graph
from sparsity_audit.graph.instrument import observe

SHAPE = (3, 64, 64)
FAST = {"resnet18": 9, "shufflenet_v2_x0_5": 37, "squeezenet1_1": 26, "mobilenet_v3_small": 41}
"""With how many of their layers end in a nonlinearity before the filters meet others, counted in their papers'
tables: resnet18 the stem and the first of two in each of 8 blocks; shufflenet all but the depthwise ones;
squeezenet all; mobilenet_v3_small all but the 11 projections."""
SLOW = ("densenet121", "googlenet", "efficientnet_b0", "regnet_y_400mf", "convnext_tiny", "vgg16_bn")
OPAQUE = {"convnext_tiny": {"aten.layer_norm.default"}}


def assert_same_as_eager(name: str) -> int:
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(0)
    options = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
    model: nn.Module = torchvision.models.get_model(name, weights=None, **options).eval()
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.weight.data.uniform_(0.5, 1.5)
            part.bias.data.normal_(0, 0.2)
            part.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
    graph = build_graph(model, SHAPE)
    filters: list[int] = []

    def count(_module: nn.Module, _args: object, output: Tensor) -> None:
        filters.append(output.shape[1])

    for part in model.modules():
        if isinstance(part, nn.modules.conv._ConvNd):
            part.register_forward_hook(count)
    x = torch.randn(3, *SHAPE)
    with torch.no_grad():
        expected = model(x)
        found, extrema = observe(graph)(x)
    assert found is not None
    assert float((found - expected).abs().max()) <= 1e-5 * max(1.0, float(expected.abs().max()))
    assert [layer.filters for layer in graph.layers] == filters
    assert extrema.shape == (2, 3, sum(filters))
    assert set(graph.opaque) == OPAQUE.get(name, set())
    assert not (extrema[0] < extrema[1]).any()
    return sum(layer.fires for layer in graph.layers)


@pytest.mark.parametrize("name", FAST)
def test_every_convolution_call(name: str) -> None:
    assert assert_same_as_eager(name) == FAST[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_every_convolution_call_of_larger_models(name: str) -> None:
    assert_same_as_eager(name)
