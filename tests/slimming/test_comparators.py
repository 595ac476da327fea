"""The paper's comparators: each takes the filters that its author says, cut right, at the same number of filters."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_networks import PLANTED, Plain, corpus, planted, scaled
from torch import Tensor, nn

from sparsity_audit.engine.audit import subject_in_memory
from sparsity_audit.engine.corpora import Corpora
from sparsity_audit.errors import UsageError
from sparsity_audit.schema.config import AuditConfig
from sparsity_audit.schema.slim_tables import (
    ComparatorRow,
    ComparedCut,
    ComparisonBlock,
    ComparisonReport,
    TuningSettings,
)
from sparsity_audit.slimming import peer_importance
from sparsity_audit.slimming.comparators import SEEDS, CompareOptions, compare, held_values
from sparsity_audit.slimming.importance import random
from sparsity_audit.slimming.original import look_at

Filters = set[tuple[str, int]]


class Gated(Plain):
    """The planted network whose filters can be dropped by hand: their activations become 0."""

    dropped: Filters = set()  # noqa: RUF012

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self._act("c1", self.n1(self.c1(x))), 2)
        x = self._act("c3", self.n3(self.c3(self._act("c2", self.n2(self.c2(x))))))
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))

    def _act(self, key: str, x: Tensor) -> Tensor:
        x = F.relu(x)
        for layer, i in self.dropped:
            if layer == key:
                x[:, i] = 0
        return x


def graded() -> Plain:
    """Return the planted network with kernels and γ of all sizes, unlike each other."""
    net = planted()
    chance = torch.Generator().manual_seed(5)
    for part, norm, alive in (
        (net.c1, net.n1, range(4, 12)),
        (net.c2, net.n2, [0, 1, *range(8, 12)]),
        (net.c3, net.n3, range(12)),
    ):
        part.weight.data *= 0.5 + torch.rand(12, 1, 1, 1, generator=chance)
        for i in alive:
            norm.weight.data[i] = 0.3 + 0.6 * float(torch.rand(1, generator=chance))
    return net


def compared(net: nn.Module, **options: object) -> ComparisonReport:
    data, config = corpus(120), AuditConfig()
    wanted = CompareOptions(**{"latency": False, "share": 0.5, **options})  # type: ignore[arg-type]
    return compare(subject_in_memory(net, config, data), config, Corpora(config, data), wanted)


@functools.cache
def plain() -> ComparisonReport:
    return compared(graded())


def row_of(block: ComparisonBlock, method: str) -> ComparatorRow:
    return next(row for row in block.rows if row.method == method)


def check(cut: ComparedCut, run: nn.Module, original: nn.Module | None = None) -> None:
    """Assert that a cut's answers are those of a network made by hand."""
    data = corpus(120)
    labels = torch.from_numpy(data.labels)
    with torch.no_grad():
        before, after = ((original or graded())(scaled(data.images)), run(scaled(data.images)))  # type: ignore[arg-type]
    assert cut.test.error == pytest.approx(float((after.argmax(1) != labels).double().mean()))
    assert cut.test.changed == int((after.argmax(1) != before.argmax(1)).sum())
    assert cut.test.loss == pytest.approx(float(F.cross_entropy(after, labels)), rel=1e-4)


def without(filters: Iterable[tuple[str, int]]) -> Gated:
    net = Gated().eval()
    net.load_state_dict(graded().state_dict())
    net.dropped = set(filters)
    return net


def lowest_by_hand(scores: dict[str, np.ndarray], count: int) -> Filters:
    """Return the filters of the lowest scores; a layer's last one stays."""
    order = sorted((float(value), key, i) for key, own in scores.items() for i, value in enumerate(own))
    chosen: Filters = set()
    for _, key, i in order:
        if len(chosen) < count and sum(layer == key for layer, _ in chosen) < len(scores[key]) - 1:
            chosen.add((key, i))
    return chosen


def gammas() -> dict[str, np.ndarray]:
    net = graded()
    return {key: getattr(net, key.replace("c", "n")).weight.detach().abs().numpy() for key in ("c1", "c2", "c3")}


def kernels() -> dict[str, np.ndarray]:
    net = graded()
    sums = {key: getattr(net, key).weight.detach().abs().sum((1, 2, 3)).double().numpy() for key in ("c1", "c2", "c3")}
    return {key: own / own.mean() for key, own in sums.items()}


@pytest.mark.parametrize(("method", "scores"), [("|γ|", gammas), ("L1 norm / layer's mean", kernels)])
def test_methods_that_drop_are_the_network_with_zeros(method: str, scores) -> None:  # type: ignore[no-untyped-def]
    for block in plain().blocks:
        row = row_of(block, method)
        assert row.leaves == "dropped"
        assert [cut.removed for cut in row.cuts] == [block.wanted]
        check(row.cuts[0], without(lowest_by_hand(scores(), block.wanted)))


def test_the_shift_stays_where_that_is_said() -> None:
    """Without padding no filter has to stay to carry the others' constants."""
    net = graded()
    net.c2.padding = net.c3.padding = (0, 0)
    report = compared(net, share=0.4)
    held = copy.deepcopy(net)
    for key, i in lowest_by_hand(gammas(), report.blocks[1].wanted):
        getattr(held, key.replace("c", "n")).weight.data[i] = 0
    row = row_of(report.blocks[1], "|γ|, β kept")
    assert row.leaves == "shift"
    check(row.cuts[0], held, net)


def test_chance_is_drawn_three_times() -> None:
    row = row_of(plain().blocks[0], "random")
    data, config = corpus(120), AuditConfig()
    graph = look_at(subject_in_memory(graded(), config, data), config, Corpora(config, data), None).graph
    assert [cut.seed for cut in row.cuts] == list(SEEDS)
    for cut in row.cuts:
        scores = random(graph, cut.seed or 0)
        check(cut, without(lowest_by_hand(scores, cut.removed)))  # type: ignore[arg-type]


def test_the_first_block_has_the_number_of_ours() -> None:
    report = plain()
    dead = sum(len(filters) for kind in PLANTED.values() for filters in kind.values())
    first, second = report.blocks
    ours = row_of(first, "ours: small")
    assert (first.aim, second.aim) == ("ours", "share")
    assert first.wanted == ours.cuts[0].removed
    assert dead - 2 <= first.wanted < dead  # one or two stay to carry constants
    assert first.share == first.wanted / 36
    assert second.wanted == 18
    for block in report.blocks:
        for row in block.rows:
            assert all(cut.removed == block.wanted for cut in row.cuts), row.method
    assert [row.method for row in first.rows if row.method.startswith("ours")] == ["ours: small"]
    assert [row.method for row in second.rows[:2]] == ["ours: dead, then |γ|", "ours: MACs per error"]


def test_ours_keeps_what_the_others_drop() -> None:
    """Of dead filters some are constants other than 0: dropping these changes answers, taking them over does not."""
    first = plain().blocks[0]
    net = graded()
    with torch.no_grad():
        images = scaled(corpus(120).images)  # type: ignore[arg-type]
        loss = float(F.cross_entropy(net(images), torch.from_numpy(corpus(120).labels)))
    assert row_of(first, "ours: small").cuts[0].test.loss == pytest.approx(loss, rel=1e-3)
    assert abs(row_of(first, "|γ|").cuts[0].test.loss / loss - 1) > 0.01


def test_a_method_that_makes_nothing_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_importance.importlib.util, "find_spec", lambda _name: None)
    report = compared(graded(), pruning_class="lossless", objective="params")
    assert row_of(report.blocks[1], "ours: params per error").cuts
    for block in report.blocks:
        peers = [row for row in block.rows if row.method.startswith("Torch-Pruning")]
        assert len(peers) == 3
        assert all(not row.cuts and "not installed" in (row.reason or "") for row in peers)
    assert row_of(report.blocks[0], "ours: lossless").cuts[0].test.changed == 0


def test_what_no_method_can_reach_is_said() -> None:
    """APoZ knows of rectified layers alone, and none may be empty."""
    report = compared(graded(), share=0.99)
    row = row_of(report.blocks[1], "APoZ")
    assert row.cuts[0].removed == 33
    assert row.remark is not None


def test_without_dead_filters_there_is_the_share_alone() -> None:
    net = Plain().eval()
    for part in (net.n1, net.n2, net.n3):
        part.bias.data.fill_(0.5)
    report = compared(net, share=None, tuning=TuningSettings(bn_images=20, steps=1, batch_size=20))
    assert [block.aim for block in report.blocks] == ["share"]
    assert report.blocks[0].share == 0.3
    assert "no small filter" in report.notes[-1]
    for row in report.blocks[0].rows:
        for cut in row.cuts:
            assert cut.tuned is not None
            assert cut.tuned.loss != cut.test.loss


class Sigmoid(nn.Module):
    """After a sigmoid nothing gives 0."""

    def __init__(self) -> None:
        super().__init__()
        self.c1, self.n1, self.c2 = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 5, 3)
        self.head = nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.c2(torch.sigmoid(self.n1(self.c1(x)))).mean((2, 3)))


def test_values_to_hold_at() -> None:
    data, config = corpus(20), AuditConfig()
    net = Sigmoid().eval()
    net.n1.bias.data[:] = torch.tensor([0.5, -1.0, 0.0, 2.0])
    looked_at = look_at(subject_in_memory(net, config, data), config, Corpora(config, data), None)
    dropped, shift = held_values(looked_at, "dropped"), held_values(looked_at, "shift")
    assert np.isnan(dropped["c1"]).all()
    assert dropped["c2"].tolist() == [0.0] * 5
    assert shift["c1"].tolist() == [0.5, -1.0, 0.0, 2.0]
    assert np.isnan(shift["c2"]).all()


def test_labels_are_needed() -> None:
    config = AuditConfig()
    data = corpus(20)
    nameless = Corpora(config, type(data).from_arrays(data.images, data.labels + 90))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="--compare compares errors"):
        compare(subject_in_memory(graded(), config, data), config, nameless, CompareOptions())
