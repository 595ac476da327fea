"""Section 4 of the paper, written out: the head of every network on every data set, and where training starts."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sparsity_audit.models.init import initialise
from sparsity_audit.models.registry import build_network, zoo_names
from sparsity_audit.schema.spec import InitSpec, NetworkSpec

SIDES = {10: 32, 100: 32, 200: 64, 1000: 224}
"""Pixels of the images of CIFAR-10, CIFAR-100, TinyImageNet and ImageNet, by their classes."""


def build(name: str, classes: int, **keys: object) -> nn.Module:
    return build_network(NetworkSpec(name=name, **keys), 3, classes)


def linears(module: nn.Module) -> list[tuple[int, int]]:
    return [(part.in_features, part.out_features) for part in module.modules() if isinstance(part, nn.Linear)]


def logits_shape(module: nn.Module, side: int) -> tuple[int, ...]:
    return tuple(module.eval()(torch.zeros(2, 3, side, side)).shape)


BASICNET = {10: [256, 10], 100: [256, 100], 200: [512, 256, 200], 1000: [4096, 2048, 1000]}
VGG = {10: [512, 10], 100: [512, 100], 200: [512, 256, 200], 1000: [4096, 4096, 1000]}
VGG19 = {**VGG, 10: [10], 100: [100]}
HEADS = {"basicnet": BASICNET, "vgg11": VGG, "vgg13": VGG, "vgg16": VGG, "vgg19": VGG19}
SEEN = {"basicnet": {1000: 512 * 6 * 6}, "vgg": {1000: 512 * 7 * 7}}
"""Inputs of the first fully connected layer where it is not the 512 features of global average pooling."""


@pytest.mark.parametrize("classes", SIDES)
@pytest.mark.parametrize("name", HEADS)
def test_every_head_of_section_4(name: str, classes: int) -> None:
    with torch.device("meta"):
        net = build(name, classes)
        assert logits_shape(net, SIDES[classes]) == (2, classes)
    nodes = HEADS[name][classes]
    first = SEEN[name[:3] if name.startswith("vgg") else name].get(classes, 512)
    assert linears(net) == list(zip([first, *nodes], nodes, strict=False))


@pytest.mark.parametrize("classes", SIDES)
@pytest.mark.parametrize("name", ["resnet20", "resnet32", "resnet44", "resnet56", "resnet110"])
def test_cifar_resnets_end_in_one_layer_on_64_averages(name: str, classes: int) -> None:
    with torch.device("meta"):
        net = build(name, classes)
        assert linears(net) == [(64, classes)]
        assert logits_shape(net, 32) == (2, classes)


@pytest.mark.parametrize("classes", SIDES)
@pytest.mark.parametrize("name", HEADS)
def test_batch_norm_and_relu_stand_between_fully_connected_layers(name: str, classes: int) -> None:
    """But for Simonyan and Zisserman's own head on ImageNet, which has dropout and no norm."""
    with torch.device("meta"):
        head = build(name, classes).get_submodule("head")
    between = ["ReLU", "Dropout"] if name.startswith("vgg") and classes == 1000 else ["BatchNorm1d", "ReLU"]
    hidden = len(HEADS[name][classes]) - 1
    assert [type(part).__name__ for part in head.children()] == ["Linear", *between] * hidden + ["Linear"]


def test_planes_are_averaged_as_section_4_says() -> None:
    """Over the whole plane; on ImageNet under BasicNet with kernel 5 and stride 4, which leaves 6 x 6 of 28 x 28."""
    plane = torch.rand(1, 1, 28, 28)
    starts = range(0, 24, 4)
    means = [[plane[0, 0, row : row + 5, column : column + 5].mean() for column in starts] for row in starts]
    with torch.device("meta"):
        pools = {classes: build("basicnet", classes).get_submodule("final_pool") for classes in SIDES}
    assert torch.allclose(pools[1000](plane)[0, 0], torch.tensor(means))
    for classes in (10, 100, 200):
        assert torch.allclose(pools[classes](plane), plane.mean(dim=(2, 3), keepdim=True))


FILTERS = [128, 128, 256, 256, 512, 512]


@pytest.mark.parametrize("width", [0.05, 0.125, 0.25, 1 / 3, 0.5, 0.77, 1.0, 1.5, 2.0])
@pytest.mark.parametrize(("first", "classes"), [(64, 10), (32, 100), (7, 200)])
def test_basicnet_at_any_width_keeps_its_head(first: int, width: float, classes: int) -> None:
    with torch.device("meta"):
        net = build("basicnet", classes, first=first, width=width)
        assert logits_shape(net, SIDES[classes]) == (2, classes)
    filters = [first, *(round(count * width) for count in FILTERS)]
    kernels = [5, 3, 3, 3, 3, 3, 3]
    found = {name: tuple(conv.weight.shape) for name, conv in net.named_modules() if isinstance(conv, nn.Conv2d)}
    expected = zip(filters, [3, *filters], kernels, strict=False)
    assert list(found.values()) == [(out, into, kernel, kernel) for out, into, kernel in expected]
    nodes = BASICNET[classes]
    assert linears(net) == list(zip([filters[-1], *nodes], nodes, strict=False))


def test_basicnet_has_the_parameters_of_table_2() -> None:
    """64·3·25 + 9·(64·128 + 128·128 + 128·256 + 256·256 + 256·512 + 512·512)."""
    by_hand = 4_800 + 9 * (8_192 + 16_384 + 32_768 + 65_536 + 131_072 + 262_144)
    with torch.device("meta"):
        for classes in SIDES:
            net = build("basicnet", classes)
            convolutions = [conv for conv in net.modules() if isinstance(conv, nn.Conv2d)]
            assert sum(p.numel() for conv in convolutions for p in conv.parameters()) == by_hand == 4_649_664


@pytest.mark.parametrize("name", HEADS)
def test_leaky_relu_has_its_slope_in_every_layer(name: str) -> None:
    """Supplement Table 2: 0.01 and 0.1."""
    with torch.device("meta"):
        plain, leaky = build(name, 200), build(name, 200, activation="leaky_relu", negative_slope=0.1)
        default = build(name, 200, activation="leaky_relu")
    relus = [part for part in plain.modules() if isinstance(part, nn.ReLU)]
    assert len(relus) == sum(isinstance(part, nn.Conv2d) for part in plain.modules()) + 2
    for net, slope in ((leaky, 0.1), (default, 0.01)):
        assert not any(isinstance(part, nn.ReLU) for part in net.modules())
        slopes = [part.negative_slope for part in net.modules() if isinstance(part, nn.LeakyReLU)]
        assert slopes == [slope] * len(relus)


def small(name: str) -> nn.Module:
    return build(name, 200, **({"first": 16, "width": 0.125} if name == "basicnet" else {}))


@pytest.mark.parametrize("name", ["basicnet", "vgg11", "resnet20"])
def test_training_starts_from_glorots_uniform_weights_with_the_gain_of_relu(name: str) -> None:
    torch.manual_seed(3)
    net = small(name)
    initialise(net, InitSpec())
    for part in net.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            outputs, inputs, *kernel = part.weight.shape
            area = kernel[0] * kernel[1] if kernel else 1
            bound = (2 * 6 / (area * (outputs + inputs))) ** 0.5  # gain √2
            values = part.weight.detach().double() / bound
            assert values.abs().max() <= 1.0 + 1e-6
            spread = 4 / values.numel() ** 0.5
            assert abs(values.mean()) < spread  # uniform: mean 0, variance a third
            assert abs(values.square().mean() - 1 / 3) < spread
            assert part.bias is None or not part.bias.any()


@pytest.mark.parametrize(("gamma", "beta"), [(1.0, 0.0), (0.5, -0.1), (0.0, 1.0)])
@pytest.mark.parametrize("name", ["basicnet", "vgg11", "resnet20"])
def test_gamma_and_beta_start_where_the_spec_says(name: str, gamma: float, beta: float) -> None:
    net = small(name)
    initialise(net, InitSpec() if (gamma, beta) == (1.0, 0.0) else InitSpec(gamma=gamma, beta=beta))
    norms = [part for part in net.modules() if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d)]
    assert len(norms) >= 9
    for norm in norms:
        assert torch.equal(norm.weight, torch.full_like(norm.weight, gamma))
        assert torch.equal(norm.bias, torch.full_like(norm.bias, beta))
        assert not norm.running_mean.any()
        assert torch.equal(norm.running_var, torch.ones_like(norm.running_var))


def test_the_seed_decides_where_training_starts() -> None:
    def start(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        net = small("basicnet")
        initialise(net, InitSpec())
        return torch.cat([parameter.detach().flatten() for parameter in net.parameters()])

    assert torch.equal(start(1), start(1))
    assert not torch.equal(start(1), start(2))


def test_the_zoo_has_no_network_that_is_not_tested_here() -> None:
    resnets = {"resnet20", "resnet32", "resnet44", "resnet56", "resnet110"}
    assert set(zoo_names()) == set(HEADS) | resnets
