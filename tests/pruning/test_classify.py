"""Classes and held values of dead filters: planted at the edge, and held in the eager network by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sparsity_audit.engine.describe_graph import describe_graph
from sparsity_audit.graph.feature_graph import build_graph
from sparsity_audit.graph.instrument import observe
from sparsity_audit.pruning.bounds import NormBounds, norm_bounds
from sparsity_audit.pruning.classify import (
    Activation,
    DeadFilter,
    activation_of,
    classify_layer,
    holds_of,
    unheld,
)
from sparsity_audit.schema.report import LayerReport, NormalisationInfo
from sparsity_audit.stats.feature_stats import FeatureStats

FUNCTIONS: dict[str | None, Activation] = {
    None: lambda x: x,
    "relu": lambda x: np.maximum(x, 0.0),
    "relu6": lambda x: np.clip(x, 0.0, 6.0),
    "leaky_relu": lambda x: np.where(x > 0, x, x / 100),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
}
INFO = NormalisationInfo(mean=[0.5] * 3, std=[0.25] * 3, pixel_scale=255.0, source="option")


def report(
    gamma: list[float | None] | None,
    beta: list[float | None] | None,
    nonlinearity: str | None = "relu",
    *,
    inactive: list[int] | None = None,
    constant: dict[int, tuple[float, float]] | None = None,
) -> LayerReport:
    """Return a layer; the filters of ``constant`` were seen between two values, inactive ones at 0, others up to 9."""
    filters = len(gamma or beta or [*(inactive or []), *(constant or {})])
    seen = {
        **dict.fromkeys(range(filters), (0.0, 9.0)),
        **dict.fromkeys(inactive or [], (0.0, 0.0)),
        **(constant or {}),
    }
    return LayerReport(
        key="conv",
        norm="bn",
        nonlinearity=nonlinearity,
        filters=filters,
        scale=None if gamma is None else [i for i, g in enumerate(gamma) if g is not None and abs(g) < 1e-3],
        activation=inactive or [],
        constant=sorted(constant or {}),
        constant_candidates=[],
        params=1,
        macs=1,
        lost={},
        selectivity=None,
        universality=None,
        firing_rate=None,
        gamma=gamma,
        beta=beta,
        minimum=[seen[i][0] for i in range(filters)],
        maximum=[seen[i][1] for i in range(filters)],
        nonfinite_images=0,
    )


def within(least: list[float], most: list[float]) -> NormBounds:
    unknown = np.full(len(least), np.nan)
    return NormBounds(np.array(least), np.array(most), unknown, unknown)


def classified(
    layer: LayerReport, bounds: NormBounds | None = None, kind: str | None = "batch_norm"
) -> list[DeadFilter]:
    return classify_layer(layer, bounds, activation=FUNCTIONS[layer.nonlinearity], norm_kind=kind)


def kinds(found: list[DeadFilter]) -> dict[int, str]:
    return {dead.index: dead.kind for dead in found}


def test_a_gamma_of_exactly_0_is_lossless_whatever_follows() -> None:
    for name, function in FUNCTIONS.items():
        found = classified(report([0.0, -0.0, 1.0], [0.5, -2.0, 0.0], name))
        assert kinds(found) == {0: "lossless", 1: "lossless"}
        assert [dead.held for dead in found] == [0.5, -2.0]
        assert [dead.leaves for dead in found] == pytest.approx(function(np.array([0.5, -2.0])).tolist())


def test_just_below_and_just_above_the_edge() -> None:
    """B = 8: |γ| B is a hair below -β, at it, or a hair above; with γ of both signs."""
    beta = -8e-4
    above, below = math.nextafter(1e-4, 1), math.nextafter(1e-4, 0)
    layer = report([below, -below, 1e-4, above, -above], [beta] * 5)
    expected = {0: "lossless", 1: "lossless", 2: "lossless", 3: "small", 4: "small"}
    assert kinds(classified(layer, within([-8.0] * 5, [8.0] * 5))) == expected
    assert all(dead.held == beta and dead.leaves == 0.0 for dead in classified(layer, within([-8.0] * 5, [8.0] * 5)))


def test_only_the_side_that_could_fire_counts() -> None:
    layer = report([1e-4, -1e-4, 1e-4, -1e-4], [-8e-4] * 4)
    found = classified(layer, within([-99.0, -7.0, -7.0, -99.0], [7.0, 99.0, 99.0, 7.0]))
    assert kinds(found) == {0: "lossless", 1: "lossless", 2: "small", 3: "small"}


@pytest.mark.parametrize(
    ("name", "expected"), [("relu", "lossless"), ("relu6", "lossless"), ("leaky_relu", "small"), (None, "small")]
)
def test_below_0_is_lossless_before_a_rectifier_alone(name: str | None, expected: str) -> None:
    layer = report([1e-4, 1.0], [-1.0, 0.0], name)
    assert kinds(classified(layer, within([-8.0, -8.0], [8.0, 8.0]))) == {0: expected}


@pytest.mark.parametrize("beta", [0.75, -0.75, 1.0, 3e-38])
@pytest.mark.parametrize("name", list(FUNCTIONS))
def test_what_float32_rounds_off_is_constant(beta: float, name: str | None) -> None:
    """With |γ| B at a quarter of β's last bit γ x̂ + β is β in float32, and little more is not."""
    ulp = float(np.nextafter(np.float32(abs(beta)), np.float32(np.inf))) - float(np.float32(abs(beta)))
    layer = report([ulp / 4 / 8, -ulp / 4 / 8, ulp / 4 / 7.9], [float(np.float32(beta))] * 3, name)
    rectified = beta < 0 and name in ("relu", "relu6")
    expected = {0: "lossless", 1: "lossless", 2: "lossless" if rectified else "small"}
    assert kinds(classified(layer, within([-8.0] * 3, [8.0] * 3))) == expected
    assert np.float32(beta) + np.float32(ulp / 4) == np.float32(beta)


def test_unknown_bounds_prove_nothing_but_an_exact_0() -> None:
    layer = report([0.0, 1e-20, 1e-20, None], [-1.0, -1.0, 1.0, -1.0])
    infinite = np.full(4, np.inf)
    unknown = NormBounds(-infinite, infinite, -infinite, infinite)
    for bounds in (None, unknown):
        assert kinds(classified(layer, bounds)) == {0: "lossless", 1: "small", 2: "small"}


def test_norms_of_live_statistics_are_never_lossless() -> None:
    layer = report([0.0, 1e-4, 1.0], [-1.0, 0.5, -90.0], inactive=[0, 2])
    bounds = within([-8.0] * 3, [8.0] * 3)
    assert kinds(classified(layer, bounds, "instance_norm")) == {0: "silent", 1: "small", 2: "silent"}
    assert kinds(classified(layer, bounds, "group_norm")) == {0: "small", 1: "small", 2: "small"}
    assert kinds(classified(layer, bounds)) == {0: "lossless", 1: "small", 2: "lossless"}


def test_silent_filters_are_held_where_they_give_exactly_nothing() -> None:
    beta: list[float | None] = [-3.0, 0.4, -90.0]
    for name, held in {
        "relu": [-3.0, 0.0, -90.0],
        "relu6": [-3.0, 0.0, -90.0],
        None: [0.0] * 3,
        "leaky_relu": [0.0] * 3,
    }.items():
        found = classified(report([1.0] * 3, beta, name, inactive=[0, 1, 2]))
        assert kinds(found) == {0: "silent", 1: "silent", 2: "silent"}
        assert [dead.held for dead in found] == held, name
        assert [dead.leaves for dead in found] == [0.0] * 3
    gates = report([1.0] * 3, beta, "sigmoid", inactive=[0, 1, 2])
    found = classified(gates)
    assert [(dead.index, dead.held) for dead in found] == [(2, -90.0)]  # sigmoid(-3) is far from 0
    assert unheld(gates, found) == [0, 1]


def test_constant_filters_are_held_at_what_was_seen() -> None:
    constant = {0: (0.25, 0.25 + 1e-6), 1: (-0.5, -0.5), 2: (6.0, 6.0)}
    middle = (0.25 + (0.25 + 1e-6)) / 2
    beta: list[float | None] = [0.2, 0.3, 7.0]
    for name, held in {
        None: [middle, -0.5, 6.0],
        "leaky_relu": [middle, None, 6.0],
        "relu6": [middle, None, 7.0],
    }.items():
        layer = report([1.0] * 3, beta, name, constant=constant)
        found = classified(layer)
        assert [dead.held for dead in found] == [value for value in held if value is not None], name
        assert unheld(layer, found) == [i for i, value in enumerate(held) if value is None]
        assert all(dead.kind == "silent" for dead in found)
        assert [dead.leaves for dead in found] == [[middle, -0.5, 6.0][dead.index] for dead in found]


def test_beta_stands_for_the_constant_of_another_nonlinearity_where_it_gives_it() -> None:
    value = 1 / (1 + math.exp(-0.3))
    near, far = (value, value + 0.9e-6), (value + 5e-6, value + 5e-6)
    layer = report([1e-9, 1e-9, 1.0], [0.3] * 3, "sigmoid", constant={0: near, 1: far, 2: far})
    found = classified(layer)
    assert kinds(found) == {0: "silent", 1: "small"}
    assert [dead.held for dead in found] == [0.3, 0.3]
    assert [dead.leaves for dead in found] == pytest.approx([value, value])
    assert unheld(layer, found) == [2]


def test_without_a_norm_a_filter_can_be_silent_only() -> None:
    layer = report(None, None, "relu", inactive=[0], constant={1: (2.0, 2.0), 2: (0.0, 9.0)})
    layer = layer.model_copy(update={"constant": [1], "norm": None})
    found = classified(layer, kind=None)
    assert found == [DeadFilter(0, "silent", 0.0, 0.0), DeadFilter(1, "silent", 2.0, 2.0)]


def test_threshold_of_the_small_class() -> None:
    layer = report([5e-3, 2e-2, None], [0.5, 0.5, 0.5])
    for threshold, expected in ((1e-3, []), (1e-2, [0]), (1e-1, [0, 1])):
        found = classify_layer(layer, activation=FUNCTIONS["relu"], norm_kind="batch_norm", gamma_threshold=threshold)
        assert [(dead.index, dead.kind, dead.held, dead.leaves) for dead in found] == [
            (i, "small", 0.5, 0.5) for i in expected
        ]


def test_without_a_network_everything_is_small() -> None:
    layer = report([0.0, 1e-4, 1.0], [0.5, -0.5, 0.5], None)
    assert classify_layer(layer) == [DeadFilter(0, "small", 0.5, None), DeadFilter(1, "small", -0.5, None)]


def test_holds_of_a_class_and_of_safer_ones() -> None:
    found = {
        "a": [
            DeadFilter(0, "lossless", -1.0, 0.0),
            DeadFilter(2, "silent", 0.5, 0.5),
            DeadFilter(3, "small", 0.1, 0.1),
        ],
        "b": [DeadFilter(1, "small", 0.2, None)],
        "c": [],
    }
    assert holds_of(found) == holds_of(found, "lossless") == {"a": {0: -1.0}}
    assert holds_of(found, "silent") == {"a": {0: -1.0, 2: 0.5}}
    assert holds_of(found, "small") == {"a": {0: -1.0, 2: 0.5, 3: 0.1}, "b": {1: 0.2}}


class Net(nn.Module):
    """Two padded convolutions; the first norm has a filter of every kind, and an activation of choice."""

    def __init__(self, act: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.one, self.bn = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.two = nn.Conv2d(8, 4, 3, padding=1)
        self.bn.weight.data = torch.tensor([0.0, 0.0, 1e-12, 0.5, 1.0, 1.0, 1e-8, 5e-4])
        self.bn.bias.data = torch.tensor([-1.0, 0.5, 0.7, -90.0, 0.2, 0.5, -0.3, 0.5])
        self.one.weight.data[5], self.bn.running_mean[5] = 0.0, 0.3  # type: ignore[index]  # a constant of a healthy γ
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        return self.two(self.act(self.bn(self.one(x))))


def holding(net: Net, values: dict[int, float], images: Tensor) -> Tensor:
    """Return the eager network's answer with filters held behind the first norm."""

    def hold(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        output = output.clone()
        for i, value in values.items():
            output[:, i] = value
        return output

    hook = net.bn.register_forward_hook(hold)
    answer: Tensor = net(images)
    hook.remove()
    return answer


@pytest.mark.parametrize(
    "act",
    [
        nn.ReLU(),
        nn.ReLU6(),
        nn.Identity(),
        nn.LeakyReLU(0.2),
        nn.PReLU(8, -0.5),
        nn.SiLU(),
        nn.GELU("tanh"),
        nn.Softplus(),
    ],
    ids=lambda act: type(act).__name__,
)
@torch.no_grad()
def test_holding_changes_nothing_that_its_class_does_not_allow(act: nn.Module) -> None:
    net = Net(act).eval()
    graph = build_graph(net, (3, 6, 6))
    pixels = torch.randint(0, 256, (30, 3, 6, 6), generator=torch.Generator().manual_seed(0))
    corpus = (pixels / 255 - 0.5) / 0.25
    stats = FeatureStats(graph.fires)
    stats.update(*observe(graph)(corpus)[1].numpy())
    layer = describe_graph(graph, net.state_dict(), stats).layers[0]
    bounds = norm_bounds(graph, INFO, 255.0)
    activation = activation_of(graph.layers[0])
    found = classify_layer(layer, bounds["one"], activation=activation, norm_kind=graph.layers[0].norm_kind)
    expected = {0: "lossless", 1: "lossless", 2: "lossless", 5: "silent", 6: "silent", 7: "small"}
    if isinstance(act, nn.ReLU | nn.ReLU6):
        expected |= {3: "lossless", 6: "lossless"}
    if isinstance(act, nn.SiLU | nn.GELU | nn.Softplus):
        expected |= {3: "silent"}
    assert kinds(found) == expected
    held = torch.tensor([dead.held for dead in found]).view(1, -1, 1, 1)
    planes = torch.zeros(1, 8, 1, 1).index_copy(1, torch.tensor([dead.index for dead in found]), held)
    left = act(planes).flatten()[[dead.index for dead in found]].tolist()
    assert [dead.leaves for dead in found] == pytest.approx(left, abs=1e-6)
    extreme = ((torch.rand(30, 3, 6, 6) > 0.5).float() - 0.5) / 0.25  # black and white: nothing like the corpus
    for kind, images in (("lossless", extreme), ("silent", corpus)):
        values = holds_of({"one": found}, kind)["one"]  # type: ignore[arg-type]
        torch.testing.assert_close(holding(net, values, images), net(images), rtol=0, atol=1e-5)
