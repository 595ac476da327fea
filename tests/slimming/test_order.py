"""What single filters cost, by hand and filter by filter against the ledger; the order against pairwise comparison."""

from __future__ import annotations

from fractions import Fraction
from functools import cache, cmp_to_key

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparsity_audit.errors import UsageError
from sparsity_audit.graph.feature_graph import FeatureGraph, build_graph
from sparsity_audit.measures.ledger import Ledger, total_lost
from sparsity_audit.models.cifar_resnet import CifarResNet
from sparsity_audit.slimming.order import Candidate, FilterCost, filter_costs, harms, ordered, savings


class Chain(nn.Module):
    """On images of 6 × 6: widths and kernels that can be counted by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(3, 4, 3, padding=1)  # 6 × 6
        self.depth = nn.Conv2d(4, 4, 3, stride=2, padding=1, groups=4)  # 3 × 3
        self.two = nn.Conv2d(4, 6, (1, 2))  # 3 × 2
        self.up = nn.ConvTranspose2d(6, 4, 2, stride=2, groups=2)  # 6 × 4, MACs counted over 3 × 2
        self.last = nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        two = F.relu(self.two(F.relu(self.depth(F.relu(self.one(x))))))
        up = F.relu(self.up(two))
        return self.last(torch.cat([up, up + 1], 1))


def test_costs_counted_by_hand() -> None:
    costs = filter_costs(Ledger(graph_of("chain").layers))
    params = {
        "one": 3 * 9 + 9,  # its kernels, and the depthwise filter that reads it
        "depth": 9 + 6 * 2,
        "two": 4 * 2 + 2 * 4,  # its kernels, and those of the two filters of its group that read it
        "up": 3 * 4 + 2 * 2,  # read twice by each of two filters
        "last": 8,
    }
    macs = {
        "one": 27 * 36 + 9 * 9,
        "depth": 9 * 9 + 12 * 6,
        "two": 8 * 6 + 8 * 6,
        "up": 12 * 6 + 4 * 24,
        "last": 8 * 24,
    }
    assert {key: set(cost.params.tolist()) for key, cost in costs.items()} == {k: {v} for k, v in params.items()}
    assert {key: set(cost.macs.tolist()) for key, cost in costs.items()} == {k: {v} for k, v in macs.items()}
    assert [len(cost.params) for cost in costs.values()] == [4, 4, 6, 4, 2]


class Shared(nn.Module):
    """One weight in calls one after another, and turned round; another whose two calls read the same tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Conv2d(4, 5, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        stem = F.relu(self.stem(x))
        x = F.relu(self.body(self.body(stem)) + stem)
        x = F.relu(F.conv_transpose2d(x, self.body.weight, padding=1))
        return self.head(x), self.head(F.max_pool2d(x, 2))


class Recurring(nn.Module):
    """One weight whose second call reads channels of its first, turned round, and channels of the stem."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        stem = self.stem(x)
        once = self.body(stem)
        return self.body(torch.cat([stem[:, 2:], once.flip(1)[:, :2]], 1))


class Joined(nn.Module):
    """Residual sum, concatenation, shuffle, squeeze-excite, padding of channels, flatten, computed weights."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1, groups=2)
        self.squeeze, self.excite = nn.Conv2d(4, 2, 1), nn.Conv2d(2, 4, 1)
        self.c, self.d = nn.Conv2d(4, 4, (1, 3), padding=(0, 1), groups=4), nn.Conv2d(8, 6, 3, padding=1, groups=2)
        self.e, self.f = nn.Conv2d(8, 3, 1), nn.Conv2d(3 * 16, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = F.relu(self.a(x))
        stream = a + self.b(a)
        stream = stream * self.excite(F.relu(self.squeeze(stream.mean((2, 3), keepdim=True)))).sigmoid()
        mixed = torch.cat([self.c(stream), a], 1).unflatten(1, (2, 4)).transpose(1, 2).flatten(1, 2)
        e = self.e(F.pad(self.d(mixed), (0, 0, 0, 0, 1, 1)))
        e = F.conv2d(F.conv2d(e, self.e.weight[:, :3] * 2), self.e.weight[:, 3:6] * 3)
        return self.f(e.flatten(1)[:, :, None, None])


@cache
def graph_of(name: str) -> FeatureGraph:
    if name == "resnet20":
        return build_graph(CifarResNet("resnet20", 3, 10), (3, 8, 8))
    nets: dict[str, type[nn.Module]] = {"shared": Shared, "recurring": Recurring, "joined": Joined, "chain": Chain}
    return build_graph(nets[name](), (3, 4, 4) if name != "chain" else (3, 6, 6))


@pytest.mark.parametrize("name", ["shared", "recurring", "joined", "chain", "resnet20"])
def test_costs_are_what_the_ledger_says_of_each_filter_alone(name: str) -> None:
    graph = graph_of(name)
    ledger = Ledger(graph.layers)
    costs = filter_costs(ledger)
    assert list(costs) == [layer.key for layer in graph.layers]
    for layer in graph.layers:
        for number in range(0, layer.filters, 1 if name != "resnet20" else 7):
            dead = np.zeros(graph.filters, bool)
            dead[layer.first + number] = True
            lost = total_lost(ledger.lost(dead))
            assert (costs[layer.key].params[number], costs[layer.key].macs[number]) == (lost.params, lost.macs)


def test_what_shared_weights_lose_is_what_all_calls_can_do_without() -> None:
    recurring = filter_costs(Ledger(graph_of("recurring").layers))
    # Channel 2 of the stem is input 2 of the first call and input 0 of the second: no kernel is free in both. Filter
    # 3 of the first call is input 2 of the second: the one kernel in its row that reads input 2 is.
    assert recurring["stem"].params.tolist() == [3, 3, 3, 3]
    assert recurring["body"].params.tolist() == [0, 0, 9, 9]
    assert recurring["body"].macs.tolist() == [0, 0, 9 * 16 * 2, 9 * 16 * 2]
    shared = filter_costs(Ledger(graph_of("shared").layers))
    assert shared["head"].params.tolist() == [0] * 5  # the other call still needs them
    assert shared["body@3"].params.tolist() == [5 * 4] * 4  # both calls of the head read the same tensor


COSTS = {
    "a": FilterCost(np.array([10, 20]), np.array([300, 100])),
    "b": FilterCost(np.array([5]), np.array([700])),
}
CANDIDATES = [Candidate("b", 0), Candidate("a", 1), Candidate("a", 0)]


def test_savings_by_objective() -> None:
    assert savings(CANDIDATES, COSTS, "params").tolist() == [5, 20, 10]
    assert savings(CANDIDATES, COSTS, "macs").tolist() == [700, 100, 300]
    assert savings(CANDIDATES, COSTS, "latency", {"a": 2e-6, "b": -1e-6}).tolist() == [-1e-6, 2e-6, 2e-6]
    with pytest.raises(UsageError, match="no seconds measured for a filter of b"):
        savings(CANDIDATES, COSTS, "latency", {"a": 2e-6})


def test_harms_are_the_candidates_scores() -> None:
    found = harms(CANDIDATES, {"a": np.array([0.25, 0.5]), "b": None})
    assert found[1:].tolist() == [0.5, 0.25]
    assert np.isnan(found[0])
    assert harms([], {}).shape == (0,)


@pytest.mark.parametrize(("objective", "first"), [("params", "b"), ("macs", "a")])
def test_objectives_order_the_same_filters_otherwise(objective: str, first: str) -> None:
    costs = {"a": FilterCost(np.array([9]), np.array([900])), "b": FilterCost(np.array([90]), np.array([90]))}
    candidates = [Candidate("a", 0), Candidate("b", 0)]
    saving = savings(candidates, costs, objective)  # type: ignore[arg-type]
    assert ordered(candidates, np.array([0.1, 0.1]), saving)[0].layer == first


def by_pairs(harm: list[float], saving: list[float]) -> list[int]:
    """Compare every two by exact fractions."""

    def rank(i: int) -> int:
        return 0 if harm[i] <= 0 else 1 if harm[i] == harm[i] else 2

    def compare(i: int, j: int) -> int:
        if rank(i) != rank(j):
            return rank(i) - rank(j)
        a, b = (Fraction(saving[k]) / (Fraction(harm[k]) if rank(k) == 1 else 1) for k in (i, j))
        return 1 if a < b else -1 if a > b else i - j

    return sorted(range(len(harm)), key=cmp_to_key(compare))


@pytest.mark.parametrize("seed", range(10))
def test_order_against_pairwise_comparison(seed: int) -> None:
    chance = np.random.default_rng(seed)
    harm = chance.choice([0.0, 0.25, 0.5, 1.0, 4.0, -1.0, np.nan], 60)
    saving = chance.integers(-2, 6, 60).astype(float)
    candidates = [Candidate("ab"[i % 2], i // 2) for i in range(60)]
    found = ordered(candidates, harm, saving)
    assert found == [candidates[i] for i in by_pairs(harm.tolist(), saving.tolist())]


def test_order_of_a_few_by_hand() -> None:
    candidates = [Candidate("a", i) for i in range(6)]
    harm = np.array([2.0, 0.0, 1.0, np.nan, 0.0, 1e-320])
    saving = np.array([8.0, 1.0, 4.0, 99.0, 3.0, 1.0])
    assert [c.number for c in ordered(candidates, harm, saving)] == [4, 1, 5, 0, 2, 3]
    assert harm[0] == 2
    assert saving.tolist() == [8, 1, 4, 99, 3, 1]  # nothing written into what was given
    assert ordered([], np.zeros(0), np.zeros(0)) == []
