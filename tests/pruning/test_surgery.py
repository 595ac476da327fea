"""Slim networks compute what the originals compute whose filters are held, and the originals stay as they are."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import pytest
import torch
from cut_joins import JOINS
from cut_nets import (
    BETWEEN,
    BREAKING,
    PINNING,
    READERS,
    SHAPE,
    Make,
    Side,
    Wired,
    assert_exact,
    between,
    conv,
    images,
    norm,
    pooled,
    prepared,
    random_holds,
    read_by,
    scattering,
    slimmed,
)
from cut_sharing import SHARING
from torch import Tensor, nn

from sparsity_audit.graph.feature_graph import FeatureGraph, build_graph
from sparsity_audit.graph.parameters import tensors_in
from sparsity_audit.models.slim import resize
from sparsity_audit.pruning.structure import CutOptions
from sparsity_audit.slimming.slim import slim_module

LARGER = (3, 13, 10)

ROWS: dict[str, dict[str, Make]] = {
    "padded": {
        name: lambda make=make, width=width: between(make, width)
        for name, (make, width) in {
            **{name: (make, 8) for name, make in {**BETWEEN, **BREAKING}.items()},
            **{name: (make, width) for name, (make, width, _) in PINNING.items()},
        }.items()
    },
    "unpadded": {name: lambda make=make: between(make, padding=0) for name, make in {**BETWEEN, **BREAKING}.items()}
    | {name: lambda make=make: read_by(lambda m, y: m.r(y), r=make()) for name, make in READERS.items()},
    "joins": JOINS,
    "sharing": SHARING,
}
OPTIONS: dict[str, CutOptions] = {
    "plain": CutOptions(),
    "scattered": CutOptions(may_scatter=lambda _layer, _gone: True),
    "rounded": CutOptions(round_to=4, may_scatter=lambda _layer, _gone: True),
    "wide": CutOptions(min_width=3, worth={"rows.residual.c": {1: 2.0, 4: 1.0}}),
}


@cache
def side(kind: str) -> tuple[nn.Module, FeatureGraph]:
    net = made(kind)
    return net, build_graph(net, SHAPE)


def made(kind: str) -> nn.Module:
    torch.manual_seed(0)
    return prepared(Side(ROWS[kind]))


def state(net: nn.Module) -> dict[str, Any]:
    """Return everything of a network that a cut could change."""
    flags = {path: part.training for path, part in nn.Module.named_modules(net)}
    wanted = {name: parameter.requires_grad for name, parameter in nn.Module.named_parameters(net)}
    values = {name: (value.clone(), value.data_ptr()) for name, value in nn.Module.state_dict(net).items()}
    return {"training": flags, "requires_grad": wanted, "values": values}


def assert_same(before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    assert before["training"] == after["training"]
    assert before["requires_grad"] == after["requires_grad"]
    assert before["values"].keys() == after["values"].keys()
    for name, (value, place) in before["values"].items():
        assert torch.equal(value, after["values"][name][0]), name
        assert place == after["values"][name][1], name


def check(kind: str, options: str, seed: int) -> None:
    net, graph = side(kind)
    before = state(net)
    holds = random_holds(graph, seed)
    slim = slim_module(net, graph, holds, OPTIONS[options])
    assert_exact(graph, slim.cut.holds, slim.exact, images(), list(ROWS[kind]) if kind != "sharing" else None)
    kept = {key: set(values) - set(slim.cut.holds.get(key, {})) for key, values in holds.items()}
    assert {key: set(why) for key, why in slim.cut.held_back.items()} == {k: v for k, v in kept.items() if v}
    assert all(slim.cut.holds[key][i] == holds[key][i] for key in slim.cut.holds for i in slim.cut.holds[key])
    assert_same(before, state(net))
    assert_told(slim.module)


def assert_told(slim: nn.Module) -> None:
    """What modules tell of their sizes is what their tensors have, and nothing is a view of something larger."""
    assert all(value.is_contiguous() for value in nn.Module.state_dict(slim).values())
    for part in nn.Module.modules(slim):
        assert not part.training
        if isinstance(part, nn.Conv2d):
            assert part.weight.shape[:2] == (part.out_channels, part.in_channels // part.groups)
        elif isinstance(part, nn.ConvTranspose2d):
            assert part.weight.shape[:2] == (part.in_channels, part.out_channels // part.groups)
        elif isinstance(part, nn.Linear):
            assert part.weight.shape == (part.out_features, part.in_features)
        elif isinstance(part, nn.BatchNorm2d) and part.running_mean is not None:
            assert part.running_mean.shape == (part.num_features,)


@pytest.mark.parametrize(
    ("kind", "options"),
    [(kind, options) for kind in ROWS for options in OPTIONS if kind == "joins" or options in ("plain", "scattered")],
)
def test_slim_is_the_held_original(kind: str, options: str) -> None:
    check(kind, options, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("kind", ROWS)
def test_slim_is_the_held_original_for_many_holds(kind: str, options: str) -> None:
    for seed in range(2, 22):
        check(kind, options, seed)


def test_images_may_have_any_size() -> None:
    net, graph = side("joins")
    slim = slim_module(net, graph, random_holds(graph, 3), OPTIONS["scattered"])
    assert slim.cut.carriers
    assert slim.cut.scattered
    assert_exact(build_graph(net, LARGER), slim.cut.holds, slim.exact, images(shape=LARGER), list(JOINS))


@pytest.mark.parametrize("kind", ["joins", "sharing"])
def test_a_slim_network_is_its_tensors_and_its_groups(kind: str) -> None:
    net, graph = side(kind)
    slim = slim_module(net, graph, random_holds(graph, 4), OPTIONS["scattered"])
    tensors = nn.Module.state_dict(slim.module)
    fresh = made(kind)
    resize(fresh, {name: tuple(value.shape) for name, value in tensors.items()}, slim.groups)
    assert nn.Module.state_dict(fresh).keys() == tensors.keys()
    nn.Module.load_state_dict(fresh, tensors, assign=True)
    with torch.no_grad():
        for ours, theirs in zip(
            tensors_in(fresh(images().float())), tensors_in(slim.module(images().float())), strict=True
        ):
            assert torch.equal(ours, theirs)
    assert slim.groups if kind == "joins" else not slim.groups


def test_a_constant_goes_into_the_bias_of_an_unpadded_reader() -> None:
    net = read_by(lambda m, y: m.r(y), r=conv(8, 6, padding=0, bias=True))
    slim = slimmed(net, {"c": {2: 0.5, 5: -1.0, 7: 2.0}}).exact
    weight, bias = net.r.weight.double(), net.r.bias.double()
    torch.testing.assert_close(slim.r.bias, bias + 0.5 * weight[:, 2].sum((1, 2)) + 2.0 * weight[:, 7].sum((1, 2)))
    assert torch.equal(slim.r.weight, weight[:, [0, 1, 3, 4, 6]])
    assert torch.equal(slim.c.weight, net.c.weight.double()[[0, 1, 3, 4, 6]])
    assert torch.equal(slim.b.running_var, net.b.running_var.double()[[0, 1, 3, 4, 6]])


def test_a_constant_goes_into_the_mean_of_the_readers_norm() -> None:
    net = read_by(lambda m, y: m.b2(m.r(y)), r=conv(8, 6, padding=0), b2=norm(6))
    slim = slimmed(net, {"c": {2: 0.5}}).exact
    shift = 0.5 * net.r.weight.double()[:, 2].sum((1, 2))
    torch.testing.assert_close(slim.b2.running_mean, net.b2.running_mean.double() - shift)
    assert slim.r.bias is None


@pytest.mark.parametrize("after", [nn.ReLU, lambda: nn.AvgPool2d(3, 2, 1)], ids=["relu", "pool"])
def test_no_mean_of_a_norm_that_reads_something_else(after: Make) -> None:
    net = read_by(lambda m, y: m.b2(m.a(m.r(y))), r=conv(8, 6, padding=0), a=after(), b2=norm(6))
    slim = slimmed(net, {"c": {2: 0.5}}).exact
    torch.testing.assert_close(slim.r.bias, 0.5 * net.r.weight.double()[:, 2].sum((1, 2)))
    assert torch.equal(slim.b2.running_mean, net.b2.running_mean.double())


def test_a_constant_of_a_plane_goes_into_the_bias_of_a_linear_layer() -> None:
    parts = {"r": nn.Linear(32, 5, bias=False)}
    net = read_by(lambda m, y: m.r(nn.functional.adaptive_avg_pool2d(y, 2).flatten(1))[..., None], 5, **parts)
    slim = slimmed(net, {"c": {3: 0.5}}).exact
    torch.testing.assert_close(slim.r.bias, 0.5 * net.r.weight.double()[:, 12:16].sum(1))
    assert torch.equal(slim.r.weight, net.r.weight.double()[:, [*range(12), *range(16, 32)]])


def test_a_carrier_takes_over_the_kernels_of_the_others() -> None:
    net = read_by(lambda m, y: m.r(y), r=conv(8, 6))
    slim = slimmed(net, {"c": {2: 0.5, 5: -1.0, 7: 2.0}}).exact
    weight = net.r.weight.double()
    torch.testing.assert_close(slim.r.weight[:, 5], weight[:, 7] + 0.25 * weight[:, 2])
    assert torch.equal(slim.r.weight[:, :5], weight[:, [0, 1, 3, 4, 6]])
    assert not slim.c.weight[5].any()
    assert (slim.b.weight[5], slim.b.bias[5]) == (0.0, 2.0)


@pytest.mark.parametrize(
    ("bad", "affine", "scattered"),
    [(torch.nan, True, True), (torch.inf, True, False), (torch.nan, False, False), (torch.inf, False, True)],
)
def test_what_a_dead_filter_held_does_not_leak(bad: float, affine: bool, scattered: bool) -> None:
    parts = {"c": conv(bias=True), "b": nn.BatchNorm2d(8, affine=affine), "r": conv(8, 6), "c2": conv()}
    net = Wired(lambda m, x: m.r(m.b(m.c(x)) + (m.c2(x) if scattered else 0)), **parts)
    prepared(net)
    net.c.weight.data[[1, 4]] = bad
    net.c.bias.data[4] = bad
    net.b.running_var[1] = bad
    net.b.running_mean[4] = bad
    slim = slimmed(net, {"c": {1: 0.5, 4: 0.7}}, may_scatter=scattering)
    assert bool(slim.cut.scattered) == scattered
    assert bool(slim.cut.carriers) != scattered
    assert all(value.isfinite().all() for value in slim.module.state_dict().values())


def test_a_carrier_without_a_norm_or_a_bias_gets_a_bias() -> None:
    net = Wired(lambda m, x: m.r(torch.relu(m.c(x))), c=conv(), r=conv(8, 6))
    slim = slimmed(net, {"c": {1: 0.5, 4: 0.7}}).exact
    assert slim.c.bias.tolist() == [0.0, 0.0, 0.0, 0.7, 0.0, 0.0, 0.0]


def test_flags_and_precisions_stay() -> None:
    def wiring(m: nn.Module, x: Tensor) -> Tensor:
        return m.h(pooled(m.r(torch.relu(m.b(m.c(x)))))) * m.scale.to(x.dtype) + m.counts

    numbers = {"scale": torch.tensor([0.1, 1, 2, 3], dtype=torch.float64), "counts": torch.arange(4)}
    net = Wired(wiring, c=conv(), b=norm(), r=conv(8, 6, padding=0, bias=True), h=nn.Linear(6, 4), **numbers)
    for frozen in (net.c.weight, net.b.bias, net.r.weight, net.r.bias):
        frozen.requires_grad_(False)
    graph = build_graph(prepared(net), SHAPE)
    net.train()
    slim = slim_module(net, graph, {"c": {1: 0.5, 4: 0.7}, "r": {0: 0.3}})
    assert net.training
    assert not slim.module.training
    assert_exact(graph, slim.cut.holds, slim.exact, images())
    ours, theirs = slim.module.state_dict(), net.state_dict()
    assert {name: value.dtype for name, value in ours.items()} == {name: value.dtype for name, value in theirs.items()}
    assert torch.equal(ours["scale"], theirs["scale"])
    flags = {name: parameter.requires_grad for name, parameter in net.named_parameters()}
    assert {name: parameter.requires_grad for name, parameter in slim.module.named_parameters()} == flags


def test_a_slim_network_can_be_cut_again() -> None:
    parts = {"c2": conv(8, 8), "b2": norm(), "r": conv(8, 6)}
    net = read_by(lambda m, y: m.r(m.b2(m.c2(y)) + y), **parts)
    once = slimmed(net, {"c2": {1: 0.5, 4: -0.7}}, may_scatter=scattering)
    twice = slimmed(once.module, {"c2": {0: 0.25, 3: 0.75}, "c": {1: 0.0, 2: 0.3}}, may_scatter=scattering)
    assert twice.cut.scattered == {"c2": [0, 3], "c": [1, 2]}
    assert twice.module.c2.out_channels == 4
    assert twice.module.b2.scatter_index.tolist() == [2, 3, 6, 7]
    assert twice.module.b2.scatter_fill.tolist() == [0.25, 0.5, 0, 0, pytest.approx(-0.7), 0.75, 0, 0]
