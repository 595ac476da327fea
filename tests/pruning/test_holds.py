"""Held filters: the program computes what the eager network does once their channels are overwritten by hand."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparsity_audit.graph.feature_graph import FeatureGraph, build_graph
from sparsity_audit.pruning.holds import Holds, held_node, hold

SHAPE = (3, 8, 8)
FILTERS = 6
HELD = {1: -0.5, 4: 0.7, 5: 0.0}
PRECISIONS = [torch.float32, torch.float64]


def conv(channels: int = 3, **options: object) -> nn.Conv2d:
    return nn.Conv2d(channels, FILTERS, 3, **{"padding": 1, "bias": False, **options})  # type: ignore[arg-type]


def norm() -> nn.BatchNorm2d:
    return nn.BatchNorm2d(FILTERS)


ROWS = {
    "norm-relu": ([conv, norm, nn.ReLU], 1),
    "norm-silu": ([conv, norm, nn.SiLU], 1),
    "norm-last": ([conv, norm], 1),
    "relu-norm": ([conv, nn.ReLU, norm], 2),
    "dropout-pool": ([conv, norm, nn.Dropout2d, lambda: nn.MaxPool2d(2), nn.ReLU], 1),
    "two-norms": ([conv, norm, norm, nn.ReLU], 1),
    "no-affine": ([conv, lambda: nn.BatchNorm2d(FILTERS, affine=False), nn.ReLU], 1),
    "group-norm": ([conv, lambda: nn.GroupNorm(2, FILTERS), nn.ReLU], 1),
    "bias": ([lambda: conv(bias=True), nn.ReLU], 0),
    "depthwise": ([lambda: nn.Conv2d(3, FILTERS, 3, groups=3), norm, nn.ReLU6], 1),
    "transposed": ([lambda: nn.ConvTranspose2d(3, FILTERS, 3, stride=2), norm, nn.ReLU], 1),
}
"""Steps in a row, and after which one filters are held."""


class Overwrite(nn.Module):
    """Runs a module, and overwrites channels of what it puts out."""

    def __init__(self, module: nn.Module, values: dict[int, float]) -> None:
        super().__init__()
        self.module = module
        self.values = values

    def forward(self, x: Tensor) -> Tensor:
        x = self.module(x).clone()
        for channel, value in self.values.items():
            x[:, channel] = value
        return x


class Rows(nn.Module):
    """All rows side by side: one capture for them."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = nn.ModuleDict({name: nn.Sequential(*[make() for make in row[0]]) for name, row in ROWS.items()})

    def forward(self, x: Tensor) -> list[Tensor]:
        return [row(x) for row in self.rows.values()]


class Twice(nn.Module):
    """A convolution and its norm called twice, a residual sum."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.bn = conv(), norm()
        self.body, self.body_bn = conv(FILTERS), norm()

    def forward(self, x: Tensor, second: dict[int, float] | None = None) -> Tensor:
        x = F.relu(self.bn(self.stem(x)))
        once = F.relu(self.body_bn(self.body(x)))
        again = self.body_bn(self.body(once))
        return F.relu((Overwrite(nn.Identity(), second)(again) if second else again) + x).mean((2, 3))


class FixedBatch(nn.Module):
    """Takes batches of five images and no others."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = conv(), norm()

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x))).view(5, -1)


class Casting(nn.Module):
    """Casts to float32 on the way in, after the norm, and of numbers that it makes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = conv(), norm()
        self.register_buffer("counts", torch.arange(FILTERS))

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(self.conv(x.float())).to(torch.float32)
        third = torch.full((FILTERS,), 1 / 3, dtype=torch.float32, device=x.device)
        return (x * third.view(1, -1, 1, 1)).mean((2, 3)) + self.counts  # type: ignore[operator]


def prepared(net: nn.Module) -> tuple[nn.Module, FeatureGraph]:
    """Return the network with statistics and γ, β that differ from filter to filter, and its graph."""
    torch.manual_seed(3)
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean, part.running_var = torch.randn(FILTERS) / 5, torch.rand(FILTERS) + 0.2
        if isinstance(part, nn.BatchNorm2d | nn.GroupNorm) and part.weight is not None:
            nn.init.normal_(part.weight)
            nn.init.normal_(part.bias)
    net.eval()
    return net, build_graph(net, SHAPE, static_batch=5)


def images(count: int = 5) -> Tensor:
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def rows() -> tuple[nn.Module, FeatureGraph]:
    return prepared(Rows())


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_channels_are_overwritten_where_the_norm_puts_out(
    rows: tuple[nn.Module, FeatureGraph], dtype: torch.dtype
) -> None:
    net, graph = rows
    oracle = copy.deepcopy(net).to(dtype)
    for name, (_, place) in ROWS.items():
        row = oracle.rows[name]  # type: ignore[index, union-attr]
        row[place] = Overwrite(row[place], HELD)
    holds: Holds = {layer.key: HELD for layer in graph.layers}
    with torch.inference_mode():
        found, none = hold(graph, holds, dtype).module(images().to(dtype))
        wanted = oracle(images().to(dtype))
    assert none == ()
    for name, ours, theirs in zip(ROWS, found, wanted, strict=True):
        assert ours.dtype == dtype
        assert torch.equal(ours, theirs), name


def test_nothing_held_changes_no_bit(rows: tuple[nn.Module, FeatureGraph]) -> None:
    net, graph = rows
    with torch.inference_mode():
        found, _ = hold(graph, {}).module(images())
        assert all(torch.equal(ours, theirs) for ours, theirs in zip(found, net(images()), strict=True))


def test_only_the_named_call_of_a_shared_weight() -> None:
    net, graph = prepared(Twice())
    with torch.inference_mode():
        found = hold(graph, {"body@2": HELD})(images())[0]
        assert found is not None
        assert torch.equal(found, net(images(), HELD))
        assert not torch.equal(found, net(images()))


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_what_a_held_filter_puts_out_does_not_leak(bad: float) -> None:
    net, graph = prepared(Twice())
    whole = hold(graph, {"stem": {2: 0.3}})(images())[0]
    net.stem.weight.data[2] = bad
    held = hold(graph, {"stem": {2: 0.3}})(images())[0]
    assert held is not None
    assert whole is not None
    assert torch.equal(held, whole)
    assert not net(images()).isfinite().all()


def test_weights_are_the_models_own_in_float32_and_the_model_stays() -> None:
    net, graph = prepared(Twice())
    before = {name: value.clone() for name, value in net.state_dict().items()}
    single, double = hold(graph, {"stem": HELD}), hold(graph, {"stem": HELD}, torch.float64)
    single(images())
    double(images().double())
    assert all(value.dtype == before[name].dtype for name, value in net.state_dict().items())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    own = {value.data_ptr() for value in net.state_dict().values()}
    shared = {value.data_ptr() for name, value in single.module.state_dict().items() if not name.startswith("held.")}
    assert shared
    assert shared <= own
    copies = {value.data_ptr() for value in double.module.state_dict().values() if value.is_floating_point()}
    assert copies
    assert not copies & own
    assert graph.captured.program(images()).equal(net(images()))


def test_float64_is_not_rounded_on_the_way() -> None:
    net, graph = prepared(Casting())
    x = images().double() / 3
    weight, bn = net.conv.weight.detach().double(), net.bn
    mean, var, gamma, beta = (part.detach().double() for part in (bn.running_mean, bn.running_var, bn.weight, bn.bias))
    normed = F.batch_norm(F.conv2d(x, weight, padding=1), mean, var, gamma, beta)
    normed[:, 4] = 0.1
    found = hold(graph, {"conv": {4: 0.1}}, torch.float64)(x)[0]
    assert found is not None
    torch.testing.assert_close(found, normed.mean((2, 3)) / 3 + torch.arange(FILTERS), rtol=1e-14, atol=1e-14)


def test_a_batch_that_the_program_fixes_is_filled_up() -> None:
    net, graph = prepared(FixedBatch())
    oracle = copy.deepcopy(net)
    oracle.bn = Overwrite(oracle.bn, HELD)  # type: ignore[arg-type]
    held = hold(graph, {"conv": HELD})
    assert held.batch == 5
    found = held(images(3))[0]
    assert found is not None
    assert torch.equal(found, oracle(images(5))[:3])


def test_held_node_is_the_norms_first_output(rows: tuple[nn.Module, FeatureGraph]) -> None:
    _, graph = rows
    nodes = [held_node(layer) for layer in graph.layers]
    assert len(set(nodes)) == len(graph.layers)
    assert all(node.meta["val"].shape[1] == FILTERS for node in nodes)
    assert nodes[list(ROWS).index("bias")] is graph.layers[list(ROWS).index("bias")].call


@pytest.mark.parametrize(
    ("holds", "said"),
    [
        ({"conv": {0: 0.0}, "nowhere": {0: 0.0}}, "nowhere"),
        ({"conv": {FILTERS: 0.0}}, "conv has 6 filters, none numbered 6"),
        ({"conv": {-1: 0.0}}, "none numbered -1"),
    ],
)
def test_what_the_graph_does_not_have(holds: Holds, said: str) -> None:
    _, graph = prepared(FixedBatch())
    with pytest.raises(ValueError, match=said):
        hold(graph, holds)
