"""The capacity ledger: against the paper's printed columns, and weight by weight against plain loops."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparsity_audit.graph.feature_graph import FeatureGraph, build_graph
from sparsity_audit.measures.ledger import Ledger, total_lost
from sparsity_audit.models.basicnet import BasicNet
from sparsity_audit.models.cifar_resnet import CifarResNet
from sparsity_audit.schema.report import Lost
from sparsity_audit.schema.spec import NetworkSpec

FILTERS = (64, 128, 128, 256, 256, 512, 512)
PRINTED = {
    # Table 2 (CIFAR-100): % filters pruned in C1 … C7, % of all filters, % of convolution parameters
    "table 2, Adam L2 1e-3": (56, 47, 43, 68, 72, 91, 85, 76, 95),
    "table 2, Adam L2 1e-4": (41, 20, 9, 33, 34, 67, 55, 46, 74),
    "table 2, Adam WD 2e-4": (55, 20, 3, 4, 2, 16, 26, 16, 27),
    "table 2, Adam WD 1e-4": (38, 4, 0, 0, 0, 0, 5, 3, 4),
    "table 2, SGD L2 1e-3": (82, 41, 33, 29, 33, 6, 18, 23, 34),
    "table 2, SGD L2 5e-4": (64, 3, 3, 3, 2, 0, 2, 4, 4),
    "table 2, SGD WD 1e-3": (82, 43, 31, 28, 33, 6, 17, 23, 34),
    "table 2, SGD WD 5e-4": (66, 2, 1, 4, 2, 0, 1, 4, 4),
    # supplement, Table 1 (CIFAR-10)
    "supplement, Adam L2 1e-3": (59, 57, 42, 74, 76, 97, 98, 83, 97),
    "supplement, Adam L2 1e-4": (44, 22, 6, 45, 54, 96, 95, 70, 90),
    "supplement, Adam WD 2e-4": (57, 27, 9, 19, 46, 77, 91, 60, 83),
    "supplement, Adam WD 1e-4": (45, 4, 0, 0, 14, 51, 78, 40, 63),
    "supplement, SGD L2 1e-3": (86, 61, 53, 46, 65, 4, 0, 27, 38),
    "supplement, SGD L2 5e-4": (68, 16, 9, 9, 24, 0, 0, 9, 13),
    "supplement, SGD WD 1e-3": (85, 60, 51, 46, 66, 4, 0, 27, 38),
    "supplement, SGD WD 5e-4": (69, 19, 7, 7, 23, 0, 0, 8, 13),
}


@pytest.fixture(scope="module")
def basicnet() -> Ledger:
    spec = NetworkSpec(name="basicnet", first=64, width=1.0)
    return Ledger(build_graph(BasicNet(spec, 3, 100), (3, 32, 32)).layers)


@pytest.fixture(scope="module")
def resnet20() -> FeatureGraph:
    return build_graph(CifarResNet("resnet20", 3, 10), (3, 8, 8))


def test_basicnet_has_the_papers_parameters(basicnet: Ledger) -> None:
    assert sum(basicnet.params) == 4_649_664
    assert tuple(call.filters for call in basicnet.calls) == FILTERS
    # C1 at 32×32, then planes halved after C1, C3 and C5
    kernels = [5 * 5 * 3 * 64, 64 * 9 * 128, 128 * 9 * 128, 128 * 9 * 256, 256 * 9 * 256, 256 * 9 * 512, 512 * 9 * 512]
    planes = [1024, 256, 256, 64, 64, 16, 16]
    assert basicnet.macs == [kernel * plane for kernel, plane in zip(kernels, planes, strict=True)]


@pytest.mark.parametrize("row", PRINTED)
def test_printed_share_of_pruned_parameters(row: str, basicnet: Ledger) -> None:
    *percents, all_filters, printed = PRINTED[row]
    dead = np.zeros(sum(FILTERS), bool)
    first = 0
    for filters, percent in zip(FILTERS, percents, strict=True):
        dead[first : first + round(percent / 100 * filters)] = True
        first += filters
    lost = total_lost(basicnet.lost(dead))
    assert lost.params is not None
    assert abs(100 * lost.params / 4_649_664 - printed) <= 1
    assert abs(100 * lost.filters / sum(FILTERS) - all_filters) <= 1
    assert lost.held_back == 0


class Joined(nn.Module):
    """Residual sum, concatenation, shuffle, depthwise, groups, flatten: read sets written down by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 4, 3, padding=1)
        self.b = nn.Conv2d(4, 4, 3, padding=1, groups=2)
        self.c = nn.Conv2d(4, 4, (1, 3), padding=(0, 1), groups=4)
        self.d = nn.Conv2d(8, 6, 3, stride=2, padding=1, groups=2)
        self.e = nn.ConvTranspose2d(6, 4, 2, stride=2, groups=2)
        self.f = nn.Conv2d(4 * 16, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = F.relu(self.a(x))
        stream = a + self.b(a)
        c = self.c(stream)
        mixed = torch.cat([c, a], 1).unflatten(1, (2, 4)).transpose(1, 2).flatten(1, 2)  # c0 a0 c1 a1 …
        return self.f(self.e(self.d(mixed)).flatten(1)[:, :, None, None])


A, B, C, D, E = (range(start, stop) for start, stop in ((0, 4), (4, 8), (8, 12), (12, 18), (18, 22)))
JOINED_READS: dict[str, list[set[int]]] = {
    "a": [{-1}] * 3,
    "b": [{i} for i in A],
    "c": [{i, j} for i, j in zip(A, B, strict=True)],
    "d": [{i} for pair in zip(C, A, strict=True) for i in pair],
    "e": [{i} for i in D],
    "f": [{i} for i in E for _ in range(16)],
}


class Shared(nn.Module):
    """One weight in two calls, and turned round in a transposed convolution (a tied autoencoder)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 1)
        self.body = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        stem = F.relu(self.stem(x))
        x = F.relu(self.body(self.body(stem)) + stem)
        return F.conv_transpose2d(x, self.body.weight, padding=1)


# body reads the stem; body@2 reads body; the transposed call reads body@2 and the stem
SHARED_READS: dict[str, list[set[int]]] = {
    "stem": [{-1}] * 3,
    "body": [{i} for i in range(4)],
    "body@2": [{i} for i in range(4, 8)],
    "body@3": [{i, i + 8} for i in range(4)],
}


def brute_force(
    graph: FeatureGraph, reads: dict[str, list[set[int]]], groups: dict[str, int], dead: np.ndarray
) -> dict[str, Lost]:
    """Count weight by weight: lost where its filter, or every producer of what it reads, is dead in every call."""
    states: dict[str, dict[tuple[int, ...], list[str]]] = {}
    for layer in graph.layers:
        weight = states.setdefault(str(layer.weight), {})
        for place in product(*(range(size) for size in layer.weight_shape)):
            state = _state(layer.key, layer.first, layer.filters, place, reads, groups, layer.transposed, dead)
            weight.setdefault(place, []).append(state)
    found = {}
    counted: set[str] = set()
    for layer in graph.layers:
        weights = states[str(layer.weight)].values()
        lost = sum(all(state == "lost" for state in of_calls) for of_calls in weights)
        held = sum(set(of_calls) not in ({"lost"}, {"stays"}) for of_calls in weights)
        first = str(layer.weight) not in counted
        counted.add(str(layer.weight))
        found[layer.key] = Lost(
            filters=int(dead[layer.span].sum()),
            params=lost * first,
            macs=lost * layer.positions,
            held_back=held * first,
        )
    return found


def _state(
    key: str,
    first: int,
    filters: int,
    place: tuple[int, ...],
    reads: dict[str, list[set[int]]],
    groups: dict[str, int],
    transposed: bool,
    dead: np.ndarray,
) -> str:
    inputs, parts = len(reads[key]), groups.get(key, 1)
    if transposed:  # [inputs, filters / groups]
        channel = place[0]
        filter_ = channel // (inputs // parts) * (filters // parts) + place[1]
    else:  # [filters, inputs / groups]
        filter_ = place[0]
        channel = filter_ // (filters // parts) * (inputs // parts) + place[1]
    gone = [producer >= 0 and bool(dead[producer]) for producer in reads[key][channel]]
    if dead[first + filter_] or all(gone):
        return "lost"
    return "held" if any(gone) else "stays"


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("kind", ["joined", "shared"])
def test_every_weight(kind: str, seed: int) -> None:
    graph, reads = _graph(kind)
    groups = {"b": 2, "c": 4, "d": 2, "e": 2} if kind == "joined" else {}
    dead = np.random.default_rng(seed).random(graph.filters) < (seed + 1) / 13
    expected = brute_force(graph, reads, groups, dead)
    found = Ledger(graph.layers).lost(dead)
    assert dict(zip((layer.key for layer in graph.layers), found, strict=True)) == expected


_GRAPHS: dict[str, FeatureGraph] = {}


def _graph(kind: str) -> tuple[FeatureGraph, dict[str, list[set[int]]]]:
    if kind not in _GRAPHS:
        _GRAPHS[kind] = build_graph(Joined() if kind == "joined" else Shared(), (3, 4, 4))
    return _GRAPHS[kind], JOINED_READS if kind == "joined" else SHARED_READS


@pytest.mark.parametrize("kind", ["joined", "shared"])
def test_all_dead_loses_all_and_none_dead_nothing(kind: str) -> None:
    graph, _ = _graph(kind)
    ledger = Ledger(graph.layers)
    everything = total_lost(ledger.lost(np.ones(graph.filters, bool)))
    assert (everything.params, everything.macs) == (sum(ledger.params), sum(ledger.macs))
    nothing = total_lost(ledger.lost(np.zeros(graph.filters, bool)))
    assert (nothing.filters, nothing.params, nothing.macs, nothing.held_back) == (0, 0, 0, 0)


def test_shared_weight_is_counted_once_and_computed_each_time() -> None:
    ledger = Ledger(_graph("shared")[0].layers)
    assert ledger.params == [12, 144, 0, 0]
    assert ledger.macs == [12 * 16, 144 * 16, 144 * 16, 144 * 16]


def test_multiply_accumulates_from_output_shapes(resnet20: FeatureGraph) -> None:
    """Each output element of a convolution takes kernel × inputs / groups; turned round where transposed."""
    net = nn.ModuleDict({"joined": Joined(), "resnet": CifarResNet("resnet20", 3, 10)}).eval()
    graphs = {"joined": _graph("joined")[0], "resnet": resnet20}
    for name, shape in (("joined", (3, 4, 4)), ("resnet", (3, 8, 8))):
        expected: list[int] = []

        def count(part: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
            assert isinstance(part, nn.Conv2d | nn.ConvTranspose2d)
            many, other = (args[0], output) if isinstance(part, nn.ConvTranspose2d) else (output, args[0])
            per_element = int(np.prod(part.kernel_size)) * other.shape[1] // part.groups
            expected.append(many[0].numel() * per_element)  # noqa: B023

        hooks = [
            part.register_forward_hook(count)
            for part in net[name].modules()
            if isinstance(part, nn.Conv2d | nn.ConvTranspose2d)
        ]
        net[name](torch.zeros(1, *shape))
        for hook in hooks:
            hook.remove()
        assert Ledger(graphs[name].layers).macs == expected


def test_residual_stream_is_held_back_until_every_producer_is_dead(resnet20: FeatureGraph) -> None:
    """ResNet-20's first stage: channel 0 of the stream is written by the stem and three blocks."""
    graph = resnet20
    ledger = Ledger(graph.layers)
    keys = [layer.key for layer in graph.layers]
    writers = ["conv1", "layer1.0.conv2", "layer1.1.conv2", "layer1.2.conv2"]
    reader = keys.index("layer2.0.conv1")
    dead = np.zeros(graph.filters, bool)
    for place, writer in enumerate(writers):
        assert ledger.lost(dead)[reader].held_back == (0 if place == 0 else 32 * 9)
        assert ledger.lost(dead)[reader].params == 0
        dead[graph.layers[keys.index(writer)].first] = True
    assert ledger.lost(dead)[reader] == Lost(filters=0, params=32 * 9, macs=32 * 9 * 16, held_back=0)


def test_sum_with_an_unknown_part_is_unknown() -> None:
    known = Lost(filters=1, params=2, macs=3, held_back=4)
    unknown = Lost(filters=1, params=None, macs=None, held_back=None)
    assert total_lost([known, known]) == Lost(filters=2, params=4, macs=6, held_back=8)
    assert total_lost([known, unknown]) == Lost(filters=2, params=None, macs=None, held_back=None)
    assert total_lost([]) == Lost(filters=0, params=0, macs=0, held_back=0)
