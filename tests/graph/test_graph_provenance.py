"""Which filters each read channel comes from, against networks perturbed filter by filter."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from random_nets import PLANE, RandomNet, reads_by_perturbation
from torch import Tensor, nn

from sparsity_audit.graph.feature_graph import FeatureGraph, build_graph
from sparsity_audit.models.cifar_resnet import BasicBlock

SHAPE = (4, PLANE, PLANE)


def assert_reads(net: nn.Module, shape: tuple[int, int, int] = SHAPE) -> None:
    graph = build_graph(net.eval(), shape)
    expected = reads_by_perturbation(net, shape)
    assert graph.opaque == {}
    assert [[set(channel) for channel in layer.reads] for layer in graph.layers] == expected


@pytest.mark.parametrize("seed", range(4))
def test_random_networks(seed: int) -> None:
    torch.manual_seed(seed)
    assert_reads(RandomNet(seed))


class Between(nn.Module):
    """A first convolution, a function of its output, a second convolution that reads that."""

    def __init__(self, function: Callable[[Tensor], Tensor], reads: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(4, 6, 3, padding=1)
        self.function = function
        self.second = nn.Conv2d(reads, 2, 1)
        self.register_buffer("order", torch.tensor([5, 0, 3, 3]))
        self.other = nn.Conv2d(4, 6, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.function(self.first(x)))


FUNCTIONS: dict[str, tuple[Callable[[Tensor], Tensor], int]] = {
    "flatten": (lambda x: x.flatten(1)[:, :, None, None], 6 * PLANE * PLANE),
    "plane-to-channel": (lambda x: x.permute(0, 2, 1, 3), PLANE),
    "pad-channels": (lambda x: F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 1, 2)), 9),
    "pad-plane": (lambda x: F.pad(x, (1, 2, 0, 1)), 6),
    "reflect": (lambda x: F.pad(x, (1, 1, 1, 1), mode="reflect"), 6),
    "index-list": (lambda x: x[:, [5, 0, 3, 3]], 4),
    "roll-flip": (lambda x: x.roll(2, 1).flip(3), 6),
    "repeat": (lambda x: x.repeat(1, 2, 1, 1), 12),
    "repeat-interleave": (lambda x: x.repeat_interleave(2, 1), 12),
    "chunk": (lambda x: torch.cat(x.chunk(3, 1)[::-1], 1), 6),
    "split-sum": (lambda x: sum(x.split([2, 2, 2], 1)), 2),  # type: ignore[arg-type, return-value]
    "maximum": (lambda x: torch.maximum(x[:, :3], x[:, 3:]), 3),
    "stack": (lambda x: torch.stack([x[:, :3], x[:, 3:]], 2).flatten(1, 2), 6),
    "pixel-shuffle": (lambda x: F.pixel_unshuffle(x, 2), 24),
    "channel-shuffle": (lambda x: F.channel_shuffle(x, 3), 6),
    "one-minus": (lambda x: 1 - x, 6),
    "mean-max": (lambda x: torch.cat([x.mean((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)], 1), 12),
    "every-second-channel": (lambda x: F.max_pool3d(x, (1, 3, 3), stride=(2, 1, 1)), 3),
    "pool-upsample": (lambda x: F.interpolate(F.max_pool2d(x, 2), scale_factor=2, mode="bilinear"), 6),
    "max-of-groups": (lambda x: x.unflatten(1, (3, 2)).flatten(2).transpose(1, 2)[..., None], 2 * PLANE * PLANE),
    "in-place": (lambda x: x[:, :3].clone().add_(x[:, 3:]).relu_(), 3),
    "batch-folded": (lambda x: F.avg_pool2d(x.reshape(-1, 3, PLANE, PLANE), 2).reshape(-1, 6, 2, 2), 6),
    "read-while-folded": (lambda x: x.reshape(-1, 3, PLANE, PLANE), 3),
}


class SideBySide(nn.Module):
    """Every function between two convolutions of its own: one capture for all of them."""

    def __init__(self) -> None:
        super().__init__()
        self.nets = nn.ModuleDict({name: Between(*plan) for name, plan in FUNCTIONS.items()})

    def forward(self, x: Tensor) -> list[Tensor]:
        return [net(x) for net in self.nets.values()]


@functools.cache
def side_by_side() -> tuple[FeatureGraph, list[list[set[int]]]]:
    torch.manual_seed(0)
    net = SideBySide().eval()
    return build_graph(net, SHAPE), reads_by_perturbation(net, SHAPE)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_lies_between_two_convolutions(name: str) -> None:
    graph, expected = side_by_side()
    assert graph.opaque == {}
    [place] = [i for i, layer in enumerate(graph.layers) if layer.key == f"nets.{name}.second"]
    assert [set(channel) for channel in graph.layers[place].reads] == expected[place]


def test_index_that_is_a_buffer() -> None:
    class Gather(Between):
        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x)
            order = self.get_buffer("order")
            return self.second(torch.index_select(x, 1, order) + x[:, order])

    torch.manual_seed(0)
    assert_reads(Gather(lambda x: x, 4))


def test_option_a_shortcuts() -> None:
    torch.manual_seed(0)
    blocks = [BasicBlock(4, 4, 1), BasicBlock(4, 9, 2), BasicBlock(9, 9, 1), BasicBlock(9, 12, 2)]
    assert_reads(nn.Sequential(nn.Conv2d(4, 4, 1), *blocks, nn.Conv2d(12, 1, 1)), (4, 16, 16))


def test_transposed_grouped_and_depthwise() -> None:
    torch.manual_seed(0)
    assert_reads(
        nn.Sequential(
            nn.Conv2d(4, 6, 3, groups=2),
            nn.ConvTranspose2d(6, 4, 2, stride=2, groups=2),
            nn.Conv2d(4, 4, 3, groups=4),
            nn.Conv2d(4, 2, 1),
        ),
        (4, 6, 6),
    )


@pytest.mark.parametrize("gate", ["squeeze-excite", "expanded", "spatial", "one-pixel"])
def test_gate_scales_a_channel_but_does_not_keep_it_alive(gate: str) -> None:
    class Gated(Between):
        def forward(self, x: Tensor) -> Tensor:
            out, gates = self.first(x), torch.sigmoid(self.other(x))
            pooled = F.adaptive_avg_pool2d(gates, 1)
            by_name = {
                "squeeze-excite": out * pooled,
                "expanded": torch.sigmoid(F.adaptive_avg_pool2d(self.other(x), 1)).expand_as(out) * out,
                "spatial": out * torch.sigmoid(self.other(x)[:, :1]),
                "one-pixel": F.adaptive_avg_pool2d(out, 1) * gates[:, :, :1, :1],
            }
            return self.second(by_name[gate])

    torch.manual_seed(0)
    net = Gated(lambda x: x, 6).eval()
    graph = build_graph(net, SHAPE)
    spans = {layer.key: layer.span for layer in graph.layers}
    assert graph.opaque == {}
    wanted = [frozenset({i}) for i in range(spans["first"].start, spans["first"].stop)]
    assert list(graph.layers[-1].reads) == wanted


def test_product_of_two_features_needs_both() -> None:
    class Product(Between):
        def forward(self, x: Tensor) -> Tensor:
            return self.second(self.first(x) * self.other(x))

    torch.manual_seed(0)
    assert_reads(Product(lambda x: x, 6))


def test_operation_not_understood_keeps_what_it_reads() -> None:
    net = Between(lambda x: x.cumsum(1), 6).eval()
    graph = build_graph(net, SHAPE)
    assert set(graph.opaque) == {"aten.cumsum.default"}
    assert all(channel == {-1} for channel in graph.layers[1].reads)


def test_residual_around_an_operation_not_understood_keeps_each_channel_its_own() -> None:
    net = Between(lambda x: x + F.layer_norm(x, [PLANE]), 6).eval()
    graph = build_graph(net, SHAPE)
    assert set(graph.opaque) == {"aten.layer_norm.default"}
    assert [set(channel) for channel in graph.layers[1].reads] == [{-1, i} for i in range(6)]


@pytest.mark.parametrize("kernel", [(2, 1, 1), (3, 1, 1)])
def test_pooling_over_channels_keeps_what_it_reads(kernel: tuple[int, int, int]) -> None:
    graph = build_graph(Between(lambda x: F.relu(F.max_pool3d(x, kernel, stride=1)), 7 - kernel[0]).eval(), SHAPE)
    assert set(graph.opaque) == {"aten.max_pool3d.default"}
    assert all(channel == {-1} for channel in graph.layers[1].reads)
    assert (graph.layers[0].measured, graph.layers[0].nonlinearity) == (graph.layers[0].call, None)


def test_divisor_spread_over_a_tensor_does_not_keep_it_alive() -> None:
    graph = build_graph(Between(lambda x: x / x.pow(2).mean(), 6).eval(), SHAPE)
    assert [set(channel) for channel in graph.layers[1].reads] == [{i} for i in range(6)]
    numerator = build_graph(Between(lambda x: x.pow(2).mean() / (x + 9), 6).eval(), SHAPE)
    assert all(-1 in channel for channel in numerator.layers[1].reads)
