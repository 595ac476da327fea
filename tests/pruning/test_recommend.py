"""The pruning recommendation: indices, classes, constants, savings; checked by cutting and by plain counts."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparsity_audit.engine.describe_graph import describe_graph
from sparsity_audit.graph.feature_graph import build_graph
from sparsity_audit.graph.instrument import observe
from sparsity_audit.measures.ledger import Ledger
from sparsity_audit.pruning.bounds import norm_bounds
from sparsity_audit.pruning.recommend import recommend
from sparsity_audit.schema.plan import PlannedLayer, PruningPlan
from sparsity_audit.schema.report import LayerReport, NormalisationInfo
from sparsity_audit.stats.feature_stats import FeatureStats

SHAPE = (3, 6, 6)
IMAGES = 40


def plan_of(net: nn.Module, *, data: bool = True, pixels: float | None = None) -> PruningPlan | None:
    """Return the plan; with ``pixels``, for images from 0 to that many deviations, half of it being their mean."""
    net.eval()
    graph = build_graph(net, SHAPE)
    stats = None
    if data:
        stats = FeatureStats(np.concatenate([np.full(layer.filters, layer.fires) for layer in graph.layers]))
        with torch.no_grad():
            high, low = observe(graph)(images())[1].numpy()
        stats.update(high, low)
    layers = describe_graph(graph, net.state_dict(), stats).layers
    bounds = None
    if pixels is not None:
        info = NormalisationInfo(mean=[pixels / 2] * 3, std=[1.0] * 3, pixel_scale=1.0, source="option")
        bounds = norm_bounds(graph, info, pixels)
    return recommend(layers, Ledger(graph.layers), "0" * 64, IMAGES if data else None, bounds)


def images() -> Tensor:
    return torch.randn(IMAGES, *SHAPE, generator=torch.Generator().manual_seed(0))


def layers_of(plan: PruningPlan | None) -> dict[str, PlannedLayer]:
    assert plan is not None
    return {layer.key: layer for layer in plan.layers}


class Chain(nn.Module):
    """Two convolutions, each with norm and an activation of choice, no padding."""

    def __init__(self, gamma: list[float], beta: list[float], act: type[nn.Module] = nn.ReLU) -> None:
        super().__init__()
        torch.manual_seed(0)
        filters = len(gamma)
        self.one, self.bn1 = nn.Conv2d(3, filters, 3, bias=False), nn.BatchNorm2d(filters)
        self.two, self.bn2 = nn.Conv2d(filters, 4, 3, bias=False), nn.BatchNorm2d(4)
        self.bn1.weight.data, self.bn1.bias.data = torch.tensor(gamma), torch.tensor(beta)
        self.act = act()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn2(self.two(self.act(self.bn1(self.one(x))))))


GAMMA = [0.0, 0.0, 5e-4, 1.0, 1.0, -5e-4]
BETA = [-1.0, 0.5, -1.0, -90.0, 0.2, 0.5]


def test_every_class_of_filter() -> None:
    plan = plan_of(Chain(GAMMA, BETA))
    layer = layers_of(plan)["one"]
    assert layer.removed == [0, 1, 2, 3, 5]
    assert layer.classes == {"lossless": [0, 1], "silent": [2, 3], "small": [5]}
    assert layer.constants == {1: 0.5, 5: 0.5}
    assert layer.kept_for_shape is None
    assert plan is not None
    assert (plan.criterion, plan.images) == ("union", IMAGES)


def test_bounds_make_lossless_what_no_image_can_wake() -> None:
    """|γ x̂| ≤ 90 for every image, so that β = -90 is never reached; with enough contrast it may be."""
    near = layers_of(plan_of(Chain(GAMMA, BETA), pixels=8.0))["one"]
    assert near.classes == {"lossless": [0, 1, 2, 3], "silent": [], "small": [5]}
    assert near.evidence.startswith("lossless: 0 or constant whatever the image")
    assert near.constants == {1: 0.5, 5: 0.5}
    far = layers_of(plan_of(Chain(GAMMA, BETA), pixels=8e4))["one"]
    assert far.classes == {"lossless": [0, 1], "silent": [2, 3], "small": [5]}
    assert far.evidence.startswith("lossless: γ is exactly 0; silent")


def test_a_constant_that_no_input_is_known_to_give_stays_and_is_told() -> None:
    """Softplus of a β of 0.5, held by a kernel of zeros at another value, which bounds tell and nothing else."""
    net = Chain([1.0, 0.0, 1.0], [0.5, 0.5, 0.1], nn.Softplus)
    net.one.weight.data[0] = 0.0
    net.bn1.running_mean[0] = 1.0  # type: ignore[index]
    layer = layers_of(plan_of(net))["one"]
    assert layer.removed == [1]
    assert "1 more silent or constant, yet kept" in layer.evidence
    assert layers_of(plan_of(net, pixels=8.0))["one"].removed == [0, 1]


def test_removing_by_the_plan_changes_only_what_the_small_ones_may() -> None:
    """Cut by hand: filters gone, their constants added to the consumer's bias (there is no padding)."""
    for gamma, tolerance in ((GAMMA[:5], 1e-5), (GAMMA, 2e-2)):
        net = Chain(gamma, BETA[: len(gamma)]).eval()
        layer = layers_of(plan_of(net))["one"]
        kept = [i for i in range(len(gamma)) if i not in layer.removed]
        with torch.no_grad():
            x = F.conv2d(images(), net.one.weight[kept])
            norm = net.bn1
            x = F.relu(
                F.batch_norm(x, norm.running_mean[kept], norm.running_var[kept], norm.weight[kept], norm.bias[kept])  # type: ignore[index]
            )
            bias = sum(value * net.two.weight[:, i].sum((1, 2)) for i, value in layer.constants.items())
            found = F.relu(net.bn2(F.conv2d(x, net.two.weight[:, kept], bias)))  # type: ignore[arg-type]
            torch.testing.assert_close(found, net(images()), rtol=0, atol=tolerance)


def test_savings_are_what_the_cut_network_lacks() -> None:
    plan = plan_of(Chain(GAMMA, BETA))
    assert plan is not None
    assert plan.params_before == 6 * 27 + 4 * 6 * 9
    assert plan.params_after == 1 * 27 + 4 * 1 * 9
    assert plan.macs_before == 6 * 27 * 16 + 4 * 6 * 9 * 4
    assert plan.macs_after == 1 * 27 * 16 + 4 * 1 * 9 * 4
    layers = layers_of(plan)
    assert (layers["one"].params_saved, layers["two"].params_saved) == (5 * 27, 4 * 5 * 9)
    assert (layers["two"].removed, layers["two"].evidence) == ([], "reads channels that go")


def test_weights_alone_give_a_plan_by_scale() -> None:
    plan = plan_of(Chain(GAMMA, BETA), data=False)
    assert plan is not None
    assert (plan.criterion, plan.images) == ("scale", None)
    layer = layers_of(plan)["one"]
    assert layer.removed == [0, 1, 2, 5]
    assert layer.classes == {"lossless": [0, 1], "silent": [], "small": [2, 5]}


def test_a_layer_is_never_emptied() -> None:
    plan = plan_of(Chain([0.0, -5e-4, 2e-4], [-1.0, -1.0, -1.0]))
    layer = layers_of(plan)["one"]
    assert (layer.removed, layer.kept_for_shape) == ([0, 2], 1)
    assert layer.params_saved == 2 * 27


def test_nothing_dead_is_no_plan() -> None:
    assert plan_of(Chain([1.0, 1.0], [0.5, 0.5])) is None


def test_constants_of_other_nonlinearities() -> None:
    gamma, beta = [0.0, 0.0, 1.0], [7.5, -2.0, 0.0]
    relu6 = layers_of(plan_of(Chain(gamma, beta, nn.ReLU6)))["one"]
    assert (relu6.classes["lossless"], relu6.constants) == ([0, 1], {0: 6.0})
    leaky = layers_of(plan_of(Chain(gamma, beta, nn.LeakyReLU)))["one"]
    assert leaky.classes == {"lossless": [0, 1], "silent": [], "small": []}
    assert leaky.constants[0] == 7.5
    assert abs(leaky.constants[1] + 0.02) < 1e-6
    bare = layers_of(plan_of(Chain(gamma, beta, nn.Identity)))["one"]
    assert (bare.classes["lossless"], bare.constants) == ([0, 1], {0: 7.5, 1: -2.0})


def test_group_norm_couples_its_filters_so_nothing_is_lossless() -> None:
    net = Chain(GAMMA, BETA)
    norm = nn.GroupNorm(2, 6)
    norm.weight.data, norm.bias.data = torch.tensor(GAMMA), torch.tensor(BETA)
    net.bn1 = norm  # type: ignore[assignment]
    layer = layers_of(plan_of(net))["one"]
    assert layer.removed == [0, 1, 2, 3, 5]
    assert layer.classes == {"lossless": [], "silent": [], "small": [0, 1, 2, 3, 5]}
    assert "group" in layer.evidence


class Twice(nn.Module):
    """One convolution called twice, each call with a norm of its own."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 3, 3, padding=1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
        self.bn1.weight.data, self.bn1.bias.data = torch.tensor([0.0, 0.0, 1.0]), torch.tensor([-1.0, -1.0, 0.5])
        self.bn2.weight.data, self.bn2.bias.data = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.5, -1.0, -1.0])

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn2(self.conv(F.relu(self.bn1(self.conv(x))))))


def test_shared_convolution_loses_only_what_all_its_calls_can_miss() -> None:
    layers = layers_of(plan_of(Twice()))
    assert {key: layer.removed for key, layer in layers.items()} == {"conv": [1], "conv@2": [1]}


def test_sum_holds_back_what_only_one_of_its_producers_lets_go() -> None:
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.a, self.bn_a = nn.Conv2d(3, 3, 1, bias=False), nn.BatchNorm2d(3)
            self.b, self.bn_b = nn.Conv2d(3, 3, 1, bias=False), nn.BatchNorm2d(3)
            self.c = nn.Conv2d(3, 5, 1, bias=False)
            self.bn_a.weight.data = torch.tensor([0.0, 0.0, 1.0])
            self.bn_b.weight.data = torch.tensor([0.0, 1.0, 1.0])

        def forward(self, x: Tensor) -> Tensor:
            return self.c(F.relu(self.bn_a(self.a(x)) + self.bn_b(self.b(x))))

    layers = layers_of(plan_of(Sum()))
    assert (layers["a"].removed, layers["b"].removed) == ([0, 1], [0])
    assert (layers["c"].params_saved, layers["c"].held_back) == (5, 5)


def test_without_a_graph_savings_are_unknown() -> None:
    def layer(key: str, gamma: list[float], scale: list[int]) -> LayerReport:
        unknown = dict.fromkeys(
            "nonlinearity activation constant params macs selectivity universality firing_rate maximum minimum "
            "nonfinite_images".split()
        )
        return LayerReport.model_validate(
            {
                **unknown,
                "key": key,
                "norm": key,
                "filters": len(gamma),
                "scale": scale,
                "constant_candidates": [],
                "lost": {},
                "gamma": gamma,
                "beta": [1.0] * len(gamma),
            }
        )

    plan = recommend([layer("bn1", [1.0, 0.0], [1]), layer("bn2", [1.0], [])], None, "0" * 64, None)
    assert plan is not None
    assert (plan.params_before, plan.params_after, plan.macs_after) == (None, None, None)
    [only] = plan.layers
    assert (only.key, only.removed, only.params_saved) == ("bn1", [1], None)
    assert only.classes == {"lossless": [], "silent": [], "small": [1]}
    assert only.constants == {}
