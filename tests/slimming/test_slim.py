"""Whole networks cut: random ones, the zoo's, torchvision's and timm's; against the held original, in float64."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable

import pytest
import timm
import torch
import torchvision
from random_cuts import SHAPE, RandomCut
from torch import Tensor, nn

from sparsity_audit.graph.feature_graph import FeatureGraph, build_graph
from sparsity_audit.graph.parameters import tensors_in
from sparsity_audit.models.cifar_resnet import CifarResNet
from sparsity_audit.models.slim import resize
from sparsity_audit.pruning.holds import Holds, hold
from sparsity_audit.pruning.structure import CutOptions
from sparsity_audit.slimming.slim import Slim, channel_classes, slim_module

Make = Callable[[], nn.Module]

VALUES = (0.0, -0.5, 0.3, 0.7, -1.1)


def prepared(net: nn.Module, seed: int = 0) -> nn.Module:
    """Return a network in evaluation mode whose norms differ from channel to channel."""
    generator = torch.Generator().manual_seed(seed)
    for part in net.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.weight.data.uniform_(0.5, 1.5, generator=generator)
            part.bias.data.uniform_(-0.3, 0.3, generator=generator)
            part.running_mean.uniform_(-0.2, 0.2, generator=generator)
            part.running_var.uniform_(0.5, 1.5, generator=generator)
    return net.eval()


def drawn(graph: FeatureGraph, draw: random.Random, share: float = 0.4) -> Holds:
    """Return some filters of most layers, at random values."""
    chosen = {
        layer.key: {i: draw.choice(VALUES) for i in range(layer.filters) if draw.random() < share}
        for layer in graph.layers
        if draw.random() < 0.8
    }
    return {key: held for key, held in chosen.items() if held}


def images(shape: tuple[int, ...], count: int = 2) -> Tensor:
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@torch.no_grad()
def assert_exact(graph: FeatureGraph, slim: Slim) -> None:
    """Compare with the original, held in float64 at what the cut rests on."""
    x = images(graph.captured.input_shape)
    wanted = tensors_in(hold(graph, slim.cut.holds, torch.float64).module(x)[0])
    for ours, theirs in zip(tensors_in(slim.exact(x)), wanted, strict=True):
        assert ours.shape == theirs.shape
        assert theirs.isfinite().all()
        assert float((ours - theirs).abs().max()) <= 1e-10 * max(float(theirs.abs().max()), 1e-3)


@torch.no_grad()
def assert_rebuilt(make: Make, slim: Slim, shape: tuple[int, ...]) -> None:
    """The slim tensors and groups make the same network of a fresh one."""
    fresh, tensors = make().eval(), slim.module.state_dict()
    resize(fresh, {name: tuple(value.shape) for name, value in tensors.items()}, slim.groups)
    fresh.load_state_dict(tensors, assign=True)
    x = images(shape).float()
    for one, other in zip(tensors_in(fresh(x)), tensors_in(slim.module(x)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4, equal_nan=True)


def cut_randomly(seed: int) -> None:
    def make() -> nn.Module:
        return prepared(RandomCut(seed), seed)

    net, draw = make(), random.Random(seed)  # noqa: S311
    before = copy.deepcopy(net.state_dict())
    graph = build_graph(net, SHAPE)
    for _ in range(2):
        scatters = draw.random() < 0.5
        options = CutOptions(
            round_to=draw.choice([1, 1, 2, 4]),
            min_width=draw.choice([1, 1, 2, 3]),
            worth={layer.key: {i: draw.random() for i in range(layer.filters)} for layer in graph.layers},
            may_scatter=lambda layer, gone, wanted=scatters: wanted and (layer.first + gone) % 3 != 0,
        )
        slim = slim_module(net, graph, drawn(graph, draw), options)
        assert_exact(graph, slim)
        assert_rebuilt(make, slim, SHAPE)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize("seed", range(12))
def test_random_networks(seed: int) -> None:
    cut_randomly(seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12, 212))
def test_many_random_networks(seed: int) -> None:
    cut_randomly(seed)


def stream(net: CifarResNet, stage: int) -> list[str]:
    """Return the keys of the convolutions that end the blocks of one stage, the one before it included in stage 1."""
    blocks = [net.layer1, net.layer2, net.layer3][stage - 1]
    return ["conv1"] * (stage == 1) + [f"layer{stage}.{place}.conv2" for place in range(len(blocks))]


@pytest.mark.parametrize("side", [32, 20])
def test_channels_of_the_zoos_residual_streams(side: int) -> None:
    def make() -> nn.Module:
        torch.manual_seed(0)
        return prepared(CifarResNet("resnet20", 3, 10))

    net = make()
    assert isinstance(net, CifarResNet)
    graph = build_graph(net, (3, side, side))
    holds: dict[str, dict[int, float]] = {layer.key: {} for layer in graph.layers}
    for key in stream(net, 1):
        holds[key] |= {2: -0.5, 5: 0.0, 9: 0.25 if key == "conv1" else -0.1, 11: 0.1, 13: 0.02}  # by all
        holds[key] |= {7: -0.5} if key != "layer1.1.conv2" else {}  # by all but one
    for key in stream(net, 2):  # 10 meets filter 2 of stage 1, 19 filter 11, 12 filter 4; 0 and 3 meet padding
        holds[key] |= {10: 0.0, 19: -0.25, 0: -1.0, 3: 0.125, 12: -1.0}
    for key in stream(net, 3):  # 26 meets filter 10 of stage 2, 16 filter 0, 40 filter 24; 50 meets padding
        holds[key] |= {26: -0.1, 16: 0.0, 40: -1.0, 50: -1.0}
    slim = slim_module(net, graph, holds)
    assert_exact(graph, slim)
    assert_rebuilt(make, slim, (3, side, side))
    for stage, leaving, kept in ((1, {2, 5, 9, 11, 13}, {7}), (2, {10, 19, 0, 3}, {12}), (3, {26, 16, 50}, {40})):
        for key in stream(net, stage):
            assert set(slim.cut.holds[key]) == leaving
            assert set(slim.cut.held_back.get(key, {})) == (kept if kept <= holds[key].keys() else set())
    module = slim.module
    assert isinstance(module, CifarResNet)
    widths = [module.get_submodule(stream(net, stage)[-1]).out_channels for stage in (1, 2, 3)]
    carriers = [sum(slim.cut.carriers >= {item} for item in set(row)) for row in stream_classes(net, graph)]
    assert widths == [16 - 5 + carriers[0], 32 - 4 + carriers[1], 64 - 3 + carriers[2]]
    shortcut = module.layer2[0].shortcut
    assert shortcut.source.shape == (widths[1],)
    fill = shortcut.fill[shortcut.fill != 0]  # filter 13 of stage 1, that 11 carries, for the live filter 21
    assert fill.tolist() == [pytest.approx(4 * 0.02)]
    assert not module.layer1[0].shortcut.state_dict()


def stream_classes(net: CifarResNet, graph: FeatureGraph) -> list[list[int]]:
    """Return the classes of each stage's channels."""
    classes = channel_classes(net, graph)
    last = {layer.key: layer for layer in graph.layers}
    return [classes.classes(classes.outputs[last[stream(net, stage)[-1]].call]) for stage in (1, 2, 3)]


def plain(name: str) -> nn.Module:
    torch.manual_seed(0)
    options = {"init_weights": False} if name in ("googlenet", "vgg16_bn") else {}
    options |= {"aux_logits": False} if name == "googlenet" else {}
    return prepared(torchvision.models.get_model(name, weights=None, num_classes=10, **options))


def by_timm(name: str) -> nn.Module:
    torch.manual_seed(0)
    return prepared(timm.create_model(name, num_classes=7))


def cut_whole(make: Make, side: int) -> Slim:
    net = make()
    graph = build_graph(net, (3, side, side))
    holds = drawn(graph, random.Random(1))  # noqa: S311
    slim = slim_module(net, graph, holds, CutOptions(may_scatter=lambda _layer, _gone: True))
    assert_exact(graph, slim)
    assert_rebuilt(make, slim, (3, side, side))
    assert slim.cut.scattered or not slim.cut.held_back
    assert sum(map(len, slim.cut.holds.values())) > 0.5 * sum(map(len, holds.values()))
    return slim


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
def test_networks_of_torchvision(name: str) -> None:
    cut_whole(lambda: plain(name), 32)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["vgg16_bn", "resnet50", "densenet121", "googlenet", "shufflenet_v2_x1_0", "efficientnet_b0", "regnet_y_400mf"],
)
def test_more_networks_of_torchvision(name: str) -> None:
    cut_whole(lambda: plain(name), 64)


def test_a_network_of_timm() -> None:
    """Its norms apply the nonlinearity themselves; a filter that is put back holds what comes out of that."""
    slim = cut_whole(lambda: by_timm("mobilenetv3_small_050"), 32)
    assert any(type(part).__name__ == "ScatteredBatchNormAct2d" for part in slim.module.modules())


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    "resnet10t regnety_002 selecsls42 ghostnet_050 repvgg_a0 hrnet_w18_small dla34 res2net50_14w_8s skresnet18 "
    "mixnet_s efficientnet_lite0 cspresnet50 dpn48b resnetv2_50 starnet_s1 rexnet_100 legacy_seresnet18 hgnet_tiny "
    "eca_resnet33ts tresnet_m fasternet_t0 repvit_m0_9 resnest14d gernet_s mobilevit_xxs ese_vovnet19b_dw".split(),
)
def test_more_networks_of_timm(name: str) -> None:
    cut_whole(lambda: by_timm(name), 64)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nf_resnet26", "convnext_atto"])
def test_networks_that_hardly_go_say_why(name: str) -> None:
    net = by_timm(name)
    graph = build_graph(net, (3, 64, 64))
    slim = slim_module(net, graph, drawn(graph, random.Random(1)))  # noqa: S311
    assert_exact(graph, slim)
    reasons = {why for kept in slim.cut.held_back.values() for why in kept.values()}
    assert reasons & {
        "a weight that reads or makes it is computed while the network runs",
        "permute tells channels by their position",
    }
