"""Importances against plain loops and gates written by hand; the choice of the lowest against repeated search."""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparsity_audit.data.corpus import Corpus
from sparsity_audit.errors import DataError, UsageError
from sparsity_audit.graph.feature_graph import FeatureGraph, build_graph
from sparsity_audit.schema.report import NormalisationInfo
from sparsity_audit.slimming.importance import apoz, gamma, l1_norm, lowest, random, taylor
from sparsity_audit.slimming.peer_importance import torch_pruning
from sparsity_audit.stats.collect import Normaliser
from sparsity_audit.stats.gradients import drawn_batches

SHAPE = (2, 6, 6)
INFO = NormalisationInfo(mean=[0.5, 0.4], std=[0.25, 0.5], pixel_scale=255.0, source="corpus")
IMAGES = 22


class Net(nn.Module):
    """Norms with ReLU, ReLU6, LeakyReLU and none; groups, a transposed and a convolution without norm."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.stem_bn = nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.grouped, self.grouped_bn = nn.Conv2d(4, 6, 3, groups=2, bias=False), nn.BatchNorm2d(6)
        self.up, self.up_bn = nn.ConvTranspose2d(6, 4, 2, stride=2, groups=2), nn.BatchNorm2d(4)
        self.plain = nn.Conv2d(4, 3, 3, stride=2)
        self.last, self.last_bn = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
        self.head = nn.Linear(3, 3)
        for norm in (self.stem_bn, self.grouped_bn, self.up_bn, self.last_bn):
            nn.init.normal_(norm.weight)
            nn.init.normal_(norm.bias, 0, 0.5)
            norm.running_mean.normal_(0, 0.1)
            norm.running_var.uniform_(0.1, 0.4)

    def forward(self, x: Tensor) -> Tensor:
        return self.answer(x, {})

    def answer(self, x: Tensor, gates: dict[str, Callable[[Tensor], Tensor]]) -> Tensor:
        """Answer with each norm's output passed through a gate of its own."""

        def normed(name: str, y: Tensor) -> Tensor:
            y = getattr(self, f"{name}_bn")(y)
            return gates[name](y) if name in gates else y

        x = F.relu(normed("stem", self.stem(x)))
        x = F.relu6(normed("grouped", self.grouped(x)))
        x = F.leaky_relu(normed("up", self.up(x)), 0.1)
        x = F.max_pool2d(F.relu(self.plain(x)), 2, padding=1)
        x = x + normed("last", self.last(x))
        return self.head(x.mean((2, 3)))


NORMED = {"stem": 4, "grouped": 6, "up": 4, "last": 3}


@pytest.fixture(scope="module")
def net() -> Net:
    made = Net().eval()
    with torch.no_grad():  # all responses of one filter of each kind: none, and everywhere
        made.stem_bn.weight[1], made.stem_bn.bias[1] = 0.0, -0.5
        made.stem_bn.weight[2], made.stem_bn.bias[2] = 0.0, 0.5
    return made


@pytest.fixture(scope="module")
def graph(net: Net) -> FeatureGraph:
    return build_graph(net, SHAPE)


def corpus_of(images: int = IMAGES) -> Corpus:
    chance = np.random.default_rng(0)
    pixels = chance.integers(0, 256, (images, *SHAPE[1:], SHAPE[0]), dtype=np.uint8)
    return Corpus.from_arrays(pixels, np.arange(images) % 3)


def tensor_of(pixels: Any) -> Tensor:
    scaled = torch.from_numpy(pixels.copy()).float() / 255
    return ((scaled - torch.tensor(INFO.mean)) / torch.tensor(INFO.std)).permute(0, 3, 1, 2)


NORMALISE = Normaliser(INFO, "cpu")


def test_l1_norm_is_the_sum_over_each_filters_kernels(net: Net, graph: FeatureGraph) -> None:
    scores = l1_norm(graph)
    assert list(scores) == ["stem", "grouped", "up", "plain", "last"]
    for key in ("stem", "grouped", "plain", "last"):
        weight = getattr(net, key).weight.detach()
        by_hand = [sum(abs(float(w)) for w in weight[i].flatten()) for i in range(len(weight))]
        assert scores[key] == pytest.approx(by_hand)
    # A filter's response to ones, where kernels don't overlap, is the sum of its kernels, place by place.
    with torch.no_grad():
        response = F.conv_transpose2d(torch.ones(1, 6, 1, 1), net.up.weight.abs(), None, stride=2, groups=2)
    assert scores["up"] == pytest.approx(response.sum((0, 2, 3)).numpy(), rel=1e-6)


def test_l1_norm_relative_to_the_layer(graph: FeatureGraph) -> None:
    absolute, relative = l1_norm(graph), l1_norm(graph, relative=True)
    for key, own in relative.items():
        assert own is not None
        assert own == pytest.approx(absolute[key] / np.mean(absolute[key]))  # type: ignore[operator,arg-type]


def test_l1_norm_of_a_layer_of_zeros_and_of_a_weight_that_is_computed() -> None:
    class Computed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.zero, self.other = nn.Conv2d(2, 3, 1), nn.Conv2d(3, 3, 1)
            nn.init.zeros_(self.zero.weight)

        def forward(self, x: Tensor) -> Tensor:
            return F.conv2d(self.zero(x), self.other.weight * 2)

    scores = l1_norm(build_graph(Computed(), SHAPE), relative=True)
    zero, computed = scores.values()
    assert zero is not None
    assert zero.tolist() == [0, 0, 0]
    assert computed is None


def test_gamma_is_absolute_and_absent_without_a_norm(net: Net, graph: FeatureGraph) -> None:
    scores = gamma(graph)
    assert scores["plain"] is None
    for key in NORMED:
        assert (scores[key] == np.abs(getattr(net, f"{key}_bn").weight.detach().double().numpy())).all()
    assert (net.stem_bn.weight < 0).any()


def test_random_is_drawn_from_the_seed_for_every_filter(graph: FeatureGraph) -> None:
    first, again, other = random(graph, 5), random(graph, 5), random(graph, 6)
    drawn = np.concatenate([values for values in first.values() if values is not None])
    assert len(drawn) == len(set(drawn)) == graph.filters
    assert ((drawn >= 0) & (drawn < 1)).all()
    assert all((first[key] == again[key]).all() and (first[key] != other[key]).all() for key in first)  # type: ignore[union-attr,attr-defined]


def shares_by_hand(activation: Tensor) -> list[float]:
    """Count image by image, place by place."""
    images, filters = activation.shape[:2]
    found = []
    for number in range(filters):
        values = [float(v) for image in range(images) for v in activation[image, number].flatten()]
        found.append(1 - sum(v == 0 for v in values) / len(values))
    return found


@torch.no_grad()
def test_apoz_counts_zeros_after_every_relu(net: Net, graph: FeatureGraph) -> None:
    corpus = corpus_of()
    images = tensor_of(corpus.images)
    stem = F.relu(net.stem_bn(net.stem(images)))
    grouped = F.relu6(net.grouped_bn(net.grouped(stem)))
    plain = F.relu(net.plain(F.leaky_relu(net.up_bn(net.up(grouped)), 0.1)))
    told: list[tuple[int, int]] = []
    scores = apoz(graph, corpus, NORMALISE, batch_size=9, progress=lambda done, all_: told.append((done, all_)))
    assert list(scores) == ["stem", "grouped", "up", "plain", "last"]
    assert scores["up"] is None
    assert scores["last"] is None
    for key, activation in {"stem": stem, "grouped": grouped, "plain": plain}.items():
        assert scores[key] == pytest.approx(shares_by_hand(activation), abs=1e-12)
    assert scores["stem"][1:3].tolist() == [0, 1]  # type: ignore[index]
    assert told == [(9, 22), (18, 22), (22, 22)]


@pytest.mark.parametrize("batch_size", [1, 22, 100])
def test_apoz_is_the_same_for_every_batch_size(graph: FeatureGraph, batch_size: int) -> None:
    expected = apoz(graph, corpus_of(), NORMALISE, batch_size=7)
    found = apoz(graph, corpus_of(), NORMALISE, batch_size=batch_size)
    assert all((found[key] == expected[key]).all() for key in ("stem", "grouped", "plain"))  # type: ignore[union-attr]


class FixedAndFolded(nn.Module):
    """Takes six images and no others, each of which is two rows of its second convolution."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.stem, self.inner = nn.Conv2d(2, 4, 3), nn.Conv2d(2, 3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.inner(F.relu(self.stem(x)).view(12, 2, 4, 4))).view(6, -1)


@torch.no_grad()
def test_apoz_of_a_fixed_batch_and_of_images_in_several_rows() -> None:
    net = FixedAndFolded().eval()
    graph = build_graph(net, SHAPE, static_batch=6)
    assert graph.captured.batch == 6
    corpus = corpus_of(8)  # 6 and 2, filled up
    stem = F.relu(net.stem(tensor_of(corpus.images)))
    halves = torch.cat([F.relu(net.inner(half)) for half in stem.split(2, dim=1)], 2)
    scores = apoz(graph, corpus, NORMALISE, batch_size=4)
    assert scores["stem"] == pytest.approx(shares_by_hand(stem), abs=1e-12)
    assert scores["inner"] == pytest.approx(shares_by_hand(halves), abs=1e-12)


def test_apoz_of_a_network_without_a_relu_and_of_nan() -> None:
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.SiLU(), nn.Conv2d(3, 3, 3))
    assert apoz(build_graph(net, SHAPE), corpus_of(), NORMALISE, batch_size=9) == {"0": None, "2": None}
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU())
    with torch.no_grad():
        net[0].weight[1] = torch.nan
    scores = apoz(build_graph(net, SHAPE), corpus_of(), NORMALISE, batch_size=9)["0"]
    assert scores is not None
    assert scores[1] == 1


def gate_by_hand(net: Net, corpus: Corpus, batches: int, seed: int, *, keep_shift: bool) -> dict[str, np.ndarray]:
    """Put a factor at 1 on each norm's output (on γ alone where β is kept); square its gradient."""
    sums = {key: np.zeros(size) for key, size in NORMED.items()}
    for pixels, labels in drawn_batches(corpus, 8, batches, seed):
        factors = {key: torch.ones(size, dtype=torch.float64, requires_grad=True) for key, size in NORMED.items()}
        shifts = {key: getattr(net, f"{key}_bn").bias.double()[:, None, None] * keep_shift for key in NORMED}

        def gate(key: str, y: Tensor) -> Tensor:
            return (y - shifts[key]) * factors[key][:, None, None] + shifts[key]  # noqa: B023

        gates = {key: lambda y, key=key: gate(key, y) for key in NORMED}
        answer = copy.deepcopy(net).double().answer(tensor_of(pixels).double(), gates)  # type: ignore[arg-type]
        F.cross_entropy(answer, torch.from_numpy(labels)).backward()  # type: ignore[no-untyped-call]
        for key, factor in factors.items():
            assert factor.grad is not None
            sums[key] += factor.grad.numpy() ** 2
    return {key: total / batches for key, total in sums.items()}


@pytest.mark.parametrize("keep_shift", [False, True])
def test_taylor_is_the_squared_gradient_of_a_gate(net: Net, graph: FeatureGraph, keep_shift: bool) -> None:
    expected = gate_by_hand(net, corpus_of(), 4, 3, keep_shift=keep_shift)
    given: Any = {"batch_size": 8, "batches": 4, "seed": 3, "keep_shift": keep_shift}
    scores = taylor(net, graph, corpus_of(), NORMALISE, **given)
    assert list(scores) == ["stem", "grouped", "up", "plain", "last"]
    assert scores["plain"] is None
    for key in NORMED:
        assert scores[key] == pytest.approx(expected[key], rel=1e-3, abs=1e-9)
        assert expected[key].max() > 1e-7
    assert scores["stem"][1] == 0  # type: ignore[index]  # silent: nothing depends on it
    assert (scores["stem"][2] == 0) == keep_shift  # type: ignore[index]  # constant: its β does count


def test_taylor_changes_nothing_of_the_network(graph: FeatureGraph) -> None:
    net = Net()
    net.stem_bn.eval()  # a mixture of modes
    for number, parameter in enumerate(net.parameters()):
        parameter.requires_grad_(number % 2 == 0)
    net.stem.weight.grad = torch.ones_like(net.stem.weight)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    modes = [part.training for part in net.modules()]
    flags = [parameter.requires_grad for parameter in net.parameters()]
    told: list[tuple[int, int]] = []
    given: Any = {"batch_size": 8, "batches": 2, "progress": lambda done, total: told.append((done, total))}
    with torch.no_grad():
        taylor(net, graph, corpus_of(), NORMALISE, **given)
    assert told == [(1, 2), (2, 2)]
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert [part.training for part in net.modules()] == modes
    assert [parameter.requires_grad for parameter in net.parameters()] == flags
    assert torch.equal(net.stem.weight.grad, torch.ones_like(net.stem.weight))
    assert all(parameter.grad is None for parameter in list(net.parameters())[1:])


class Answers(nn.Module):
    """A network that answers otherwise than a classifier does, or not eagerly."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.inner, self.how, self.captured = Net(), how, False

    def forward(self, x: Tensor) -> Any:
        logits = self.inner(x)
        if self.how == "raises" and self.captured:
            raise ValueError("not\nagain")
        return {"named": (logits, x), "plane": logits[:, :, None]}.get(self.how, logits)


def test_taylor_takes_the_first_tensor_of_an_answer(net: Net, graph: FeatureGraph) -> None:
    other = Answers("named").eval()
    other.inner.load_state_dict(net.state_dict())
    scores = taylor(other, build_graph(other, SHAPE), corpus_of(), NORMALISE, batch_size=8, batches=2)
    expected = taylor(net, graph, corpus_of(), NORMALISE, batch_size=8, batches=2)
    assert all((scores[f"inner.{key}"] == expected[key]).all() for key in NORMED)  # type: ignore[union-attr]


@pytest.mark.parametrize(("how", "reason"), [("plane", r"not \[batch, classes\]"), ("raises", "Answers fails: not$")])
def test_taylor_without_a_classifier_says_so_in_one_line(how: str, reason: str) -> None:
    net = Answers(how).eval()
    graph = build_graph(net, SHAPE)
    net.captured = True
    with pytest.raises(UsageError, match=reason):
        taylor(net, graph, corpus_of(), NORMALISE, batch_size=8)


def test_taylor_refuses_other_labels_and_what_is_not_finite(graph: FeatureGraph) -> None:
    many = Corpus.from_arrays(np.zeros((10, *SHAPE[1:], SHAPE[0]), np.uint8), np.arange(10))
    with pytest.raises(DataError, match="labels up to 9, the network 3 classes"):
        taylor(Net(), graph, many, NORMALISE, batch_size=10)
    for value in (torch.nan, torch.inf):
        net = Net()
        with torch.no_grad():
            net.head.weight[0] = value
        with pytest.raises(UsageError, match="NaN or infinite"):
            taylor(net, graph, corpus_of(), NORMALISE, batch_size=8, batches=1)


def test_taylor_of_what_the_loss_does_not_depend_on_and_without_any_norm() -> None:
    class Aside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.bn = nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3)
            self.other, self.other_bn = nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return self.bn(self.conv(x)).mean((2, 3)), self.other_bn(self.other(x))

    net = Aside().eval()
    scores = taylor(net, build_graph(net, SHAPE), corpus_of(), NORMALISE, batch_size=8, batches=1)
    assert scores["conv"].all()  # type: ignore[union-attr]
    assert scores["other"].tolist() == [0, 0, 0, 0]  # type: ignore[union-attr]
    bare = nn.Sequential(nn.Conv2d(2, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert taylor(bare, build_graph(bare, SHAPE), corpus_of(), NORMALISE, batch_size=8) == {"0": None}


def lowest_by_search(scores: Any, count: int, protect: Any, min_width: int) -> dict[str, list[int]]:
    """Look for the least score that may go, again and again."""
    gone: dict[str, list[int]] = {}
    for _ in range(count):
        best = None
        for key, own in scores.items():
            if own is None or len(own) - len(gone.get(key, [])) <= min_width:
                continue
            for i, value in enumerate(own):
                free = i not in gone.get(key, []) and i not in protect.get(key, []) and value == value
                if free and (best is None or value < best[0]):
                    best = (value, key, i)
        if best is None:
            break
        gone.setdefault(best[1], []).append(best[2])
    return {key: sorted(indices) for key, indices in gone.items()}


@pytest.mark.parametrize("seed", range(20))
def test_lowest_against_repeated_search(seed: int) -> None:
    chance = np.random.default_rng(seed)
    scores: dict[str, Any] = {
        key: chance.integers(0, 6, chance.integers(1, 9)) / 2 - 1  # many are equal
        for key in "abcd"
    }
    scores["e"] = None
    scores["b"][0] = np.nan
    protect = {"a": [0, 2], "d": range(20), "z": [1]}
    min_width = 1 + seed % 3
    for count in range(30):
        found = lowest(scores, count, protect, min_width=min_width)
        assert found == lowest_by_search(scores, count, protect, min_width)


def test_lowest_never_empties_a_layer() -> None:
    scores = {"small": np.array([0.1, 0.2, 0.3]), "large": np.array([5.0, 4.0])}
    assert lowest(scores, 99, {}) == {"small": [0, 1], "large": [1]}
    assert lowest(scores, 99, {}, min_width=2) == {"small": [0]}
    assert lowest(scores, 0, {}) == {}
    assert lowest(scores, 3, {"small": [0]}) == {"small": [1, 2], "large": [1]}
    with pytest.raises(ValueError, match="at least 1 filter, not 0"):
        lowest(scores, 1, {}, min_width=0)


def test_torch_pruning_that_is_absent_is_named(monkeypatch: pytest.MonkeyPatch, graph: FeatureGraph) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(UsageError, match="pip install torch-pruning"):
        torch_pruning(Net(), graph, "magnitude")


class Coupled(nn.Module):
    """A chain and a residual sum, read side by side by one convolution; another that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.one, self.one_bn = nn.Conv2d(2, 5, 3, padding=1), nn.BatchNorm2d(5)
        self.two, self.two_bn = nn.Conv2d(5, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.side, self.side_bn = nn.Conv2d(2, 4, 1), nn.BatchNorm2d(4)
        self.last = nn.Conv2d(9, 3, 1)
        self.twice = nn.Conv2d(3, 3, 1)
        self.head = nn.Linear(3, 3)
        for part in (self.one_bn, self.two_bn, self.side_bn):
            nn.init.normal_(part.weight)

    def forward(self, x: Tensor) -> Tensor:
        one = F.relu(self.one_bn(self.one(x)))
        stream = self.two_bn(self.two(one)) + self.side_bn(self.side(x))
        last = self.last(torch.cat([one, F.relu(stream)], 1))
        return self.head(self.twice(self.twice(last)).mean((2, 3)))


def squares(tensor: Tensor, axis: int) -> np.ndarray:
    """Σ of squares for each place of an axis, one by one."""
    return np.array([float((tensor.select(axis, i).detach().double() ** 2).sum()) for i in range(tensor.shape[axis])])


def test_torch_prunings_scores_are_those_of_each_filters_group() -> None:
    pytest.importorskip("torch_pruning")
    net = Coupled()
    graph = build_graph(net, SHAPE)
    state = {name: value.clone() for name, value in net.state_dict().items()}
    scores = torch_pruning(net, graph, "magnitude")
    one = squares(net.one.weight, 0) + squares(net.one_bn.weight, 0) + squares(net.two.weight, 1)
    one += squares(net.last.weight, 1)[:5]
    stream = sum(squares(part.weight, 0) for part in (net.two, net.two_bn, net.side, net.side_bn))
    stream += squares(net.last.weight, 1)[5:]
    assert scores["one"] == pytest.approx(one / one.mean(), rel=1e-5)
    assert scores["two"] == pytest.approx(stream / np.mean(stream), rel=1e-5)
    assert scores["side"] == pytest.approx(scores["two"])
    assert scores["twice"] is None
    scales = torch_pruning(net, graph, "bn_scale")
    added = (net.two_bn.weight.abs() + net.side_bn.weight.abs()).detach().double().numpy()
    assert scales["side"] == pytest.approx(added / added.mean(), rel=1e-5)
    assert scales["last"] is None  # no norm in its group
    lamp = torch_pruning(net, graph, "lamp")["one"]
    assert lamp is not None
    assert lamp.argsort().tolist() == one.argsort().tolist()
    assert lamp.max() == pytest.approx(1)
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())


class Padded(nn.Module):
    """A shortcut without parameters: its channels between channels of zeros."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.inner = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 6, 3, padding=1)
        self.last, self.head = nn.Conv2d(6, 8, 3, padding=1), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        y = self.last(F.relu(self.inner(x)))
        return self.head((y + F.pad(x, (0, 0, 0, 0, 2, 2))).mean((2, 3)))


def test_torch_pruning_where_it_fails_on_some_groups_alone() -> None:
    pytest.importorskip("torch_pruning")
    net = Padded()
    scores = torch_pruning(net, build_graph(net, SHAPE), "magnitude")
    inner = squares(net.inner.weight, 0) + squares(net.last.weight, 1)
    assert scores["inner"] == pytest.approx(inner / inner.mean(), rel=1e-5)
    assert any(values is None for values in scores.values())


def test_torch_pruning_that_fails_is_told_in_one_line(graph: FeatureGraph) -> None:
    pytest.importorskip("torch_pruning")
    net = Answers("raises").eval()
    net.captured = True
    with pytest.raises(UsageError, match="torch_pruning cannot follow Answers: ValueError: not; use another"):
        torch_pruning(net, graph, "magnitude")
