"""The zoo's networks against the paper's counts and the structures that it names."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision import models

from sparsity_audit.errors import UsageError
from sparsity_audit.models.init import initialise
from sparsity_audit.models.registry import build_network, zoo_names
from sparsity_audit.schema.spec import InitSpec, NetworkSpec


def build(name: str, in_channels: int = 3, classes: int = 10, **keys: object) -> nn.Module:
    return build_network(NetworkSpec(name=name, **keys), in_channels, classes).eval()


def conv_parameters(module: nn.Module) -> int:
    return sum(p.numel() for conv in module.modules() if isinstance(conv, nn.Conv2d) for p in conv.parameters())


def conv_filters(module: nn.Module) -> list[int]:
    return [conv.out_channels for conv in module.modules() if isinstance(conv, nn.Conv2d)]


def linear_nodes(module: nn.Module) -> list[int]:
    return [part.out_features for part in module.modules() if isinstance(part, nn.Linear)]


def test_basicnet_has_the_papers_convolution_parameters_and_filters() -> None:
    net = build("basicnet")
    assert conv_parameters(net) == 4_649_664  # header of Table 2
    assert conv_filters(net) == [64, 128, 128, 256, 256, 512, 512]
    assert sum(conv_filters(net)) == 1856


@pytest.mark.parametrize(
    ("first", "width", "filters"),
    [
        (64, 0.5, [64, 64, 64, 128, 128, 256, 256]),
        (32, 0.25, [32, 32, 32, 64, 64, 128, 128]),
        (8, 0.125, [8, 16, 16, 32, 32, 64, 64]),
        (1, 0.0001, [1, 1, 1, 1, 1, 1, 1]),
    ],
)
def test_basicnet_variants(first: int, width: float, filters: list[int]) -> None:
    net = build("basicnet", in_channels=1, first=first, width=width)
    assert conv_filters(net) == filters
    assert net(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


def test_basicnet_state_dict_keys_read_as_the_paper_counts() -> None:
    keys = set(build("basicnet").state_dict())
    assert {"c1.conv.weight", "c7.norm.running_var", "head.0.weight", "head.3.bias"} <= keys
    assert not any(key.endswith("conv.bias") for key in keys)


@pytest.mark.parametrize(
    ("name", "classes", "nodes"),
    [
        ("basicnet", 10, [256, 10]),
        ("basicnet", 100, [256, 100]),
        ("basicnet", 200, [512, 256, 200]),
        ("basicnet", 1000, [4096, 2048, 1000]),
        ("vgg16", 10, [512, 10]),
        ("vgg11", 100, [512, 100]),
        ("vgg16", 200, [512, 256, 200]),
        ("vgg13", 1000, [4096, 4096, 1000]),
        ("vgg19", 100, [100]),
    ],
)
def test_heads_of_section_4(name: str, classes: int, nodes: list[int]) -> None:
    with torch.device("meta"):
        assert linear_nodes(build(name, classes=classes)) == nodes


def test_a_stated_head_goes_before_the_class_counts() -> None:
    assert linear_nodes(build("vgg11", classes=200, head=[])) == [200]
    assert linear_nodes(build("basicnet", classes=200, head=[32])) == [32, 200]


def test_norm_and_nonlinearity_lie_between_the_fully_connected_layers() -> None:
    head = build("basicnet", classes=200).get_submodule("head")
    kinds = ["Linear", "BatchNorm1d", "ReLU"] * 2 + ["Linear"]
    assert [type(part).__name__ for part in head.children()] == kinds


@pytest.mark.parametrize("name", ["basicnet", "vgg11"])
def test_imagenet_structures_take_imagenet_images(name: str) -> None:
    with torch.device("meta"):
        assert build(name, classes=1000)(torch.zeros(1, 3, 224, 224)).shape == (1, 1000)


@pytest.mark.parametrize("name", ["vgg11", "vgg13", "vgg16", "vgg19"])
def test_vgg_has_torchvisions_convolutions_and_imagenet_head(name: str) -> None:
    with torch.device("meta"):
        ours = build(name, classes=1000)
        theirs = models.get_model(f"{name}_bn", weights=None)
    assert conv_filters(ours) == conv_filters(theirs)
    assert conv_parameters(ours) == sum(part.weight.numel() for part in theirs.modules() if isinstance(part, nn.Conv2d))
    assert linear_nodes(ours) == linear_nodes(theirs)


def test_vgg19_on_cifar_is_network_slimmings() -> None:
    net = build("vgg19")
    assert round(sum(p.numel() for p in net.parameters()) / 1e6, 2) == 20.04  # Liu et al. (2017), Table 1
    pools: list[torch.Size] = []
    net.get_submodule("max_pool").register_forward_hook(lambda *call: pools.append(call[2].shape))
    net(torch.zeros(1, 3, 32, 32))
    assert [shape[-1] for shape in pools] == [16, 8, 4, 2]


@pytest.mark.parametrize(
    ("name", "millions"),  # He et al. (2016), Table 6
    [("resnet20", 0.27), ("resnet32", 0.46), ("resnet44", 0.66), ("resnet56", 0.85), ("resnet110", 1.7)],
)
def test_cifar_resnets_have_the_published_sizes(name: str, millions: float) -> None:
    net = build(name)
    count = sum(p.numel() for p in net.parameters()) / 1e6
    assert round(count, 1 if name == "resnet110" else 2) == millions
    convolutions = [part for part in net.modules() if isinstance(part, nn.Conv2d)]
    assert len(convolutions) + 1 == int(name.removeprefix("resnet"))


def test_option_a_drops_pixels_and_adds_zero_channels_on_both_sides() -> None:
    block = build("resnet20").get_submodule("layer2.0")
    x = torch.randn(1, 16, 6, 6)
    out = block.shortcut(x)  # type: ignore[operator]
    assert out.shape == (1, 32, 3, 3)
    assert torch.equal(out[:, 8:24], x[:, :, [0, 2, 4]][..., [0, 2, 4]])
    assert not out[:, :8].any()
    assert not out[:, 24:].any()


def test_leaky_relu_has_the_slope_of_the_spec_everywhere() -> None:
    net = build("basicnet", activation="leaky_relu", negative_slope=0.1)
    assert not any(isinstance(part, nn.ReLU) for part in net.modules())
    assert {part.negative_slope for part in net.modules() if isinstance(part, nn.LeakyReLU)} == {0.1}


def test_every_zoo_network_learns_from_a_batch() -> None:
    for name in zoo_names():
        side = 8 if name == "basicnet" else 32
        keys = {"first": 4, "width": 0.05} if name == "basicnet" else {}
        net = build(name, in_channels=2, classes=3, **keys).train()
        net(torch.randn(2, 2, side, side)).sum().backward()
        assert all(p.grad is not None for p in net.parameters()), name


def test_torchvision_by_name() -> None:
    with torch.device("meta"):
        net = build("torchvision:googlenet", classes=7).train()
        assert net(torch.zeros(2, 3, 224, 224)).shape == (2, 7)  # plain logits: no auxiliary heads


@pytest.mark.parametrize(
    ("spec", "channels", "message"),
    [
        (NetworkSpec(name="basicnett"), 3, "did you mean 'basicnet'"),
        (NetworkSpec(name="torchvision:resnet19"), 3, "did you mean 'resnet1"),
        (NetworkSpec(name="torchvision:fcn_resnet50"), 3, "unknown network"),
        (NetworkSpec(name="torchvision:resnet18"), 1, "3 input channels, not 1"),
        (NetworkSpec(name="vgg16", width=0.5), 3, "'vgg16' has no width"),
        (NetworkSpec(name="resnet20", head=[3], first=2), 3, "no first and no head"),
        (NetworkSpec(name="resnet20", activation="leaky_relu"), 3, "ReLU only"),
    ],
)
def test_specs_that_cannot_be_built(spec: NetworkSpec, channels: int, message: str) -> None:
    with pytest.raises(UsageError, match=message) as failure:
        build_network(spec, channels, 10)
    assert "\n" not in str(failure.value)


def test_xavier_has_the_bound_of_glorot_with_the_gain_of_relu() -> None:
    net = build("basicnet", first=16, width=0.25)
    initialise(net, InitSpec(gamma=0.5, beta=-0.1))
    for part in net.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            receptive = part.weight[0, 0].numel()
            fans = receptive * (part.weight.shape[0] + part.weight.shape[1])
            bound = 2**0.5 * (6 / fans) ** 0.5
            assert 0.95 * bound < part.weight.abs().max().item() <= bound
            assert part.bias is None or not part.bias.any()
        elif isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            assert set(part.weight.tolist()) == {0.5}
            assert torch.equal(part.bias, torch.full_like(part.bias, -0.1))


def test_default_initialisation_leaves_weights_alone() -> None:
    net = build("basicnet", first=4, width=0.05)
    before = net.get_parameter("c3.conv.weight").clone()
    initialise(net, InitSpec(weights="default", beta=1.0))
    assert torch.equal(net.get_parameter("c3.conv.weight"), before)
    assert set(net.get_parameter("c3.norm.bias").tolist()) == {1.0}
