"""The fused pass against the oracle by hand: same verdicts, same statistics, whatever was folded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from graph_joined_nets import Folded, Mobile, OptionA, PreActivation, Residual
from graph_nets import SHAPE, AllRows, images, plant
from test_graph_verdicts import assert_layers
from torch import Tensor, nn

from sparsity_audit.graph.fast import FusedPass, observe_fused
from sparsity_audit.graph.feature_graph import FeatureGraph, build_graph
from sparsity_audit.graph.instrument import observe
from sparsity_audit.stats.passes import CorpusPass, Measured

COUNT = 30
LAYOUTS = [torch.contiguous_format, torch.channels_last]


@dataclass
class Images:
    """As much of a corpus as the pass looks at."""

    tensor: Tensor
    labels: np.ndarray | None = None
    name: str = "images"
    split: str = "train"

    def __len__(self) -> int:
        return len(self.tensor)

    def batches(self, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        labels = np.zeros(len(self), np.int64) if self.labels is None else self.labels
        for start in range(0, len(self), size):
            yield self.tensor[start : start + size].numpy(), labels[start : start + size]


def measure(graph: FeatureGraph, tensor: Tensor, batch: int = 8) -> Measured:
    run = CorpusPass(graph, torch.from_numpy, batch, "cpu", pooled_budget=2**30)  # type: ignore[arg-type]
    return run.measure(Images(tensor), None, lambda _label: None)  # type: ignore[arg-type]


@pytest.mark.parametrize("build", [AllRows, Residual, PreActivation, Mobile, Folded, OptionA])
def test_verdicts_are_those_of_the_oracle(build: type[nn.Module]) -> None:
    torch.manual_seed(2)
    net = plant(build())
    with torch.no_grad():
        graph, expected = build_graph(net, SHAPE), net.measured(images(COUNT))  # type: ignore[operator]
    assert_layers(measure(graph, images(COUNT)).stats, list(graph.layers), expected)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_program_answers_as_the_unfused_one(layout: torch.memory_format) -> None:
    torch.manual_seed(3)
    graph = build_graph(plant(OptionA()), SHAPE)
    fused, plain = observe_fused(graph, layout), observe(graph)
    assert len(fused.folded) == len(graph.layers)
    with torch.inference_mode():
        for part in images(COUNT).split(8):
            logits, extrema = fused(part)
            expected, wanted = plain(part)
            assert logits is not None
            assert expected is not None
            torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(extrema[0], wanted[0], rtol=1e-4, atol=1e-5)
        fused.observing(on=False)
        assert fused(images(4))[1].shape == (2, 4, 0)


class NearZero(nn.Module):
    """One filter's largest response is a rounding error away from 0, another's a little further on either side."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.norm(self.conv(x)))


def near_zero(distance: float) -> tuple[nn.Module, Tensor]:
    """Return a network whose filter 2 peaks at ``distance`` from 0 (in deviations), and its images."""
    torch.manual_seed(4)
    net, x = NearZero().eval(), images(COUNT)
    with torch.no_grad():
        net.norm.running_mean.fill_(5.0)
        normalised = net.norm(net.conv(x))
        net.norm.bias[2] = distance - normalised[:, 2].max()
    return net, x


@pytest.mark.parametrize("distance", [-1e-2, -1e-6, -1e-7, 0.0, 1e-7, 1e-6, 1e-2])
def test_filter_near_the_threshold_is_decided_unfused(distance: float) -> None:
    net, x = near_zero(distance)
    graph = build_graph(net, SHAPE)
    with torch.no_grad():
        inactive = (net(x).amax((0, 2, 3)) <= 1e-12).tolist()
    found = measure(graph, x)
    assert found.stats.inactive().tolist() == inactive
    assert found.redone == (abs(distance) < 1e-4)


def test_second_pass_runs_only_what_it_needs() -> None:
    graph = build_graph(plant(OptionA()), SHAPE)
    first = observe(graph, layers=graph.layers[:1])
    convolutions = [node for node in first.module.graph.nodes if "conv2d" in str(node.target)]
    assert len(convolutions) == 1
    logits, extrema = first(images(4))
    assert logits is None
    assert extrema.shape == (2, 4, graph.layers[0].filters)


def test_weights_of_the_model_are_left_alone() -> None:
    net = plant(OptionA())
    before = {name: value.clone() for name, value in net.state_dict().items()}
    graph = build_graph(net, SHAPE)
    measure(graph, images(COUNT))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_constant_channels_keep_their_minimum() -> None:
    """Zero stands for a minimum only from the moment it was reached; a constant above 0 never reaches it."""
    net, x = near_zero(-1e-2)
    with torch.no_grad():
        net.norm.weight[1], net.norm.bias[1] = 0.0, 0.25
        net.norm.bias[3] = 40.0
    stats = measure(build_graph(net, SHAPE), x).stats
    with torch.no_grad():
        low = net(x).amin((0, 2, 3))
    assert low[1] == 0.25
    assert low[3] > 1
    np.testing.assert_allclose(stats.minimum, low.numpy(), rtol=1e-5, atol=1e-6)
    assert stats.constant(1e-6).tolist() == [False, True, False, False]


def test_fused_type_says_what_was_folded() -> None:
    fused = observe_fused(build_graph(near_zero(0.0)[0], SHAPE), torch.channels_last)
    assert isinstance(fused, FusedPass)
    assert [layer.key for layer, _ in fused.layers] == ["conv"]
