"""What is said to be constant is so in a plain run of the held original; what ought to come through does."""

from __future__ import annotations

import math
from functools import cache

import pytest
import torch
import torch.nn.functional as F
from cut_joins import JOINS
from cut_nets import (
    BETWEEN,
    BREAKING,
    PINNING,
    SHAPE,
    HeldRun,
    Make,
    Side,
    Wired,
    between,
    conv,
    images,
    norm,
    prepared,
    random_holds,
    read_by,
)
from cut_sharing import SHARING
from torch import Tensor, nn

from sparsity_audit.graph.feature_graph import FeatureGraph, build_graph
from sparsity_audit.graph.ops import op_name
from sparsity_audit.pruning.constants import ChannelConstants, Values
from sparsity_audit.pruning.holds import Holds, held_node

ROWS: dict[str, dict[str, Make]] = {
    "between": {name: lambda make=make: between(make) for name, make in {**BETWEEN, **BREAKING}.items()}
    | {name: lambda make=make, width=width: between(make, width) for name, (make, width, _) in PINNING.items()},
    "joins": JOINS,
    "sharing": SHARING,
}
HELD = {0: 0.0, 1: -0.5, 2: 0.3, 3: 0.7, 4: -2.0}


@cache
def side(kind: str) -> FeatureGraph:
    torch.manual_seed(0)
    return build_graph(prepared(Side(ROWS[kind])), SHAPE)


def constants(graph: FeatureGraph, holds: Holds) -> ChannelConstants:
    layers = {layer.key: layer for layer in graph.layers}
    return ChannelConstants(graph.captured.program, {held_node(layers[key]): held for key, held in holds.items()})


def seen(graph: FeatureGraph, holds: Holds) -> dict[str, Values]:
    """Return what each call reads in a plain run on random images, by name: constants, and None for what varies."""
    run = HeldRun(graph, holds)
    with torch.no_grad():
        run.run(3 * images(4))
    found = {}
    for node, tensor in run.read.items():
        if tensor.dim() > 1:
            planes = tensor.transpose(0, 1).flatten(1)
            low, high = planes.amin(1).tolist(), planes.amax(1).tolist()
            found[node.name] = [
                (a + b) / 2 if b - a <= 1e-12 * max(1.0, abs(a)) else None for a, b in zip(low, high, strict=True)
            ]
    return found


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("kind", ROWS)
def test_no_constant_that_is_none(kind: str, seed: int) -> None:
    graph = side(kind)
    holds = random_holds(graph, seed)
    plain, compared = seen(graph, holds), 0
    for node, values in constants(graph, holds).read.items():
        for ours, theirs in zip(values, plain[node.name], strict=True):
            if ours is not None:
                assert theirs is not None, node
                assert math.isclose(ours, theirs, rel_tol=1e-9, abs_tol=1e-12), node
                compared += 1
    assert compared > 100


def read_last(net: nn.Module, holds: Holds | None = None) -> Values:
    """Return what the call named ``r`` reads, where c's filters are held."""
    graph = build_graph(prepared(net), SHAPE)
    holds = {"c": HELD} if holds is None else holds
    read = constants(graph, holds).read
    found = next(values for node, values in read.items() if node.args[1].target == "r.weight")  # type: ignore[union-attr]
    plain = seen(graph, holds)[next(node.name for node in read if node.args[1].target == "r.weight")]  # type: ignore[union-attr]
    assert all(
        math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12) for a, b in zip(found, plain, strict=True) if a is not None
    )  # type: ignore[arg-type]
    return found


@cache
def read_behind() -> dict[str, Values]:
    """Return what each reader behind something reads, where its first filters are held."""
    graph = side("between")
    read = constants(graph, {f"rows.{name}.c": HELD for name in ROWS["between"]}).read
    return {str(node.args[1].target): values for node, values in read.items()}  # type: ignore[union-attr]


@pytest.mark.parametrize("name", BETWEEN)
def test_every_constant_comes_through(name: str) -> None:
    found = read_behind()[f"rows.{name}.r.weight"]
    assert [i for i, value in enumerate(found) if value is not None] == list(HELD)


@pytest.mark.parametrize("name", ["avg_pool", "avg_pool_ceil", "avg_pool_divisor", "zero_pad"])
def test_zero_alone_comes_through_an_average_over_zeros(name: str) -> None:
    assert read_behind()[f"rows.{name}.r.weight"] == [0.0, *[None] * 7]


def test_the_constant_that_a_padding_adds_comes_through_it() -> None:
    assert read_behind()["rows.constant_pad.r.weight"] == [None, None, 0.3, *[None] * 5]


def test_activations_by_hand() -> None:
    found = {name: read_behind()[f"rows.{name}.r.weight"] for name in ("relu", "leaky", "silu", "hardswish")}
    assert found["relu"][:5] == [0.0, 0.0, 0.3, 0.7, 0.0]
    assert found["leaky"][1] == pytest.approx(-0.005)
    assert found["silu"][1] == pytest.approx(-0.5 / (1 + math.exp(0.5)))
    assert found["hardswish"][4] == pytest.approx(-2 * 1 / 6)
    slopes = nn.PReLU(8)
    slopes.weight.data = torch.arange(8) / 8.0
    assert read_last(between(lambda: slopes))[4] == pytest.approx(-2.0 * 0.5)


@pytest.mark.parametrize(
    ("joined", "wanted"),
    [
        (lambda a, b: a + b, [0.0, 0.3, None, 1.4, None]),
        (lambda a, b: a - 2 * b, [0.0, -0.6, None, -0.7, None]),
        (lambda a, b: torch.sub(a, b, alpha=2), [0.0, -0.6, None, -0.7, None]),
        (lambda a, b: a * b, [0.0, 0.0, None, 0.49, 0.0]),
        (lambda a, b: torch.maximum(a, b) / 2, [0.0, 0.15, None, 0.35, None]),
        (lambda a, b: 1 - (a + b) * 2, [1.0, 0.4, None, -1.8, None]),
        (lambda a, b: (a + b) / b.shape[0], [None] * 5),  # of a batch of any size
        (lambda a, b: (a + b) * b.mean((2, 3), keepdim=True), [0.0, 0.09, None, 0.98, None]),
        (lambda a, b: a * torch.sigmoid(b), [0.0, 0.0, None, 0.7 / (1 + math.exp(-0.7)), 0.0]),
    ],
)
def test_two_tensors_that_meet(joined: object, wanted: Values) -> None:
    def wiring(m: nn.Module, x: Tensor) -> Tensor:
        return m.r(joined(F.relu(m.b(m.c(x))), F.relu(m.b2(m.c2(x)))))  # type: ignore[operator]

    net = Wired(wiring, c=conv(), b=norm(), c2=conv(), b2=norm(), r=conv(8, 6))
    found = read_last(net, {"c": HELD, "c2": {0: 0.0, 1: 0.3, 3: 0.7}})[:5]
    assert [None if value is None else pytest.approx(value, abs=1e-12) for value in wanted] == found


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"padding": 0}, [True, True, False, False]),
        ({}, [False, True, False, False]),
        ({"padding": "same"}, [False, True, False, False]),
        ({"padding_mode": "circular"}, [True, True, False, False]),
    ],
)
def test_a_filter_is_constant_where_its_whole_group_is(options: dict[str, object], wanted: list[bool]) -> None:
    convolution = conv(8, 4, groups=4, bias=True, **options)
    net = read_by(lambda m, y: m.r(m.g(y)), g=convolution, r=conv(4, 6))
    found = read_last(net, {"c": {0: 0.5, 1: 0.0, 2: -1.0, 3: 0.0, 4: 0.4, 6: 0.0}})
    assert [value is not None for value in found] == wanted
    assert found[1] == pytest.approx(convolution.bias[1].item(), rel=1e-5)
    if wanted[0]:
        assert found[0] == pytest.approx((convolution.bias[0] + 0.5 * convolution.weight[0, 0].sum()).item(), rel=1e-5)


def test_of_a_transposed_convolution_only_zeros_make_constants() -> None:
    up = nn.ConvTranspose2d(8, 8, 3, stride=2, groups=8)
    net = read_by(lambda m, y: m.r(m.d(y)), d=up, r=conv(8, 6))
    found = read_last(net, {"c": {0: 0.5, 1: 0.0, 2: -1.0}})
    assert [value is not None for value in found] == [False, True, True, *[False] * 5]
    assert found[1] == pytest.approx(up.bias[1].item())


class Computing(nn.Module):
    """Has weights that it computes: nothing that it puts out is known, whatever it reads."""

    def __init__(self, use: str) -> None:
        super().__init__()
        self.use, self.w, self.p = use, nn.Parameter(torch.randn(8, 8, 1, 1)), nn.Parameter(torch.rand(8))

    def forward(self, x: Tensor) -> Tensor:
        if self.use == "weight":
            return F.conv2d(x, self.w.exp())
        if self.use == "bias":
            return F.conv2d(x, self.w, self.p.exp())
        if self.use == "turned":
            return F.conv2d(x, self.w.transpose(0, 1))
        if self.use == "slopes":
            return F.prelu(x, self.p.exp())
        return F.batch_norm(x, self.p - 1, self.p + 1, self.p.exp() if self.use == "gain" else None, self.p)


@pytest.mark.parametrize("use", ["weight", "bias", "turned", "slopes", "gain", "norm"])
def test_numbers_that_are_computed_are_not_known(use: str) -> None:
    found = read_last(between(lambda: Computing(use)), {"c": dict.fromkeys(range(8), 0.5)})
    assert found == [None] * 8


def test_indices_of_a_pooling_are_no_constants() -> None:
    net = read_by(lambda m, y: m.r(F.max_pool2d(y, 2, return_indices=True)[1].to(y.dtype)), r=conv(8, 6))
    assert read_last(net) == [None] * 8


def test_what_draws_lots_is_no_constant() -> None:
    assert read_last(between(lambda: Wired(lambda _m, x: F.rrelu(x, training=True)))) == [None] * 8


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_is_no_constant(bad: float) -> None:
    graph = build_graph(prepared(between(nn.ReLU)), SHAPE)
    read = constants(graph, {"c": {0: bad, 1: 0.5}}).read
    assert next(
        values for node, values in read.items() if op_name(node).startswith("aten.conv") and len(values) == 8
    ) == [
        None,
        0.5,
        *[None] * 6,
    ]
