"""Families of slim networks: in the right order, exact, tested and counted as by hand, each marked as what it is."""

from __future__ import annotations

import copy
import functools
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.integrate import quad
from scipy.stats import norm as normal
from small_networks import PLANTED, Plain, corpus, planted, scaled
from torch import Tensor, nn

from sparsity_audit.engine.audit import subject_in_memory
from sparsity_audit.engine.corpora import Corpora
from sparsity_audit.errors import UsageError
from sparsity_audit.schema.config import AuditConfig
from sparsity_audit.schema.prune_report import PruneReport, TestFigures
from sparsity_audit.schema.slim_tables import ParetoPoint, ParetoReport, TuningSettings
from sparsity_audit.slimming import scattering
from sparsity_audit.slimming.finetune import tune
from sparsity_audit.slimming.original import Original, look_at
from sparsity_audit.slimming.pareto import ParetoOptions, family, marked, shares
from sparsity_audit.slimming.removal_order import removal_order, typical
from sparsity_audit.slimming.session import apply_plan
from sparsity_audit.slimming.slim import Slim


def graded() -> Plain:
    """Return the planted network, its living filters of growing γ from layer to layer and filter to filter."""
    net = planted()
    for layer, (part, alive) in enumerate(
        ((net.n1, range(4, 12)), (net.n2, [0, 1, *range(8, 12)]), (net.n3, range(12)))
    ):
        for i in alive:
            part.weight.data[i] = (0.3 + 0.05 * i) * (1 + 0.3 * layer) * (-1) ** i
    return net


class Family(NamedTuple):
    report: ParetoReport
    slims: dict[str, Slim]
    reports: dict[str, PruneReport]


def made(net: nn.Module, **options: object) -> Family:
    data, config = corpus(), AuditConfig()
    slims: dict[str, Slim] = {}
    reports: dict[str, PruneReport] = {}

    def keep(point: ParetoPoint, slim: Slim, report: PruneReport) -> None:
        slims[point.name], reports[point.name] = slim, report

    wanted = ParetoOptions(**{"latency": False, "points": 4, **options})  # type: ignore[arg-type]
    report = family(subject_in_memory(net, config, data), config, Corpora(config, data), wanted, keep)
    return Family(report, slims, reports)


@functools.cache
def plain() -> Family:
    return made(graded())


def original(net: nn.Module) -> Original:
    data, config = corpus(), AuditConfig()
    return look_at(subject_in_memory(net, config, data), config, Corpora(config, data), None)


def held_by_hand(net: Plain, point: ParetoPoint) -> Plain:
    """Return the network with γ zeroed, and β as its plan holds each filter."""
    held = copy.deepcopy(net)
    for layer in point.plan.layers:
        part = {"c1": held.n1, "c2": held.n2, "c3": held.n3}[layer.key]
        for i, value in layer.held.items():
            part.weight.data[i], part.bias.data[i] = 0.0, value
    return held


def logits(net: nn.Module) -> Tensor:
    with torch.no_grad():
        return net(scaled(corpus().images))  # type: ignore[no-any-return, arg-type]


def test_every_network_is_the_original_with_filters_held() -> None:
    made_family = plain()
    labels, before = torch.from_numpy(corpus().labels), logits(graded())
    for point in made_family.report.points:
        after = logits(held_by_hand(graded(), point))
        torch.testing.assert_close(logits(made_family.slims[point.name].module), after, rtol=1e-4, atol=1e-4)
        assert point.test.error == pytest.approx(float((after.argmax(1) != labels).double().mean()))
        assert point.test.changed == int((after.argmax(1) != before.argmax(1)).sum())
        assert point.test.loss == pytest.approx(float(F.cross_entropy(after, labels)), rel=1e-4)
        assert all(each.delta_fp64 <= each.limit_fp64 for each in point.plan.verification or [])
        assert point.plan.verification


def test_sizes_are_those_of_the_networks() -> None:
    for name, slim in plain().slims.items():
        net: Plain = slim.module  # type: ignore[assignment]
        point = next(point for point in plain().report.points if point.name == name)
        kernels = [part.weight.numel() for part in (net.c1, net.c2, net.c3)]
        assert point.params == sum(kernels)
        assert point.macs == 144 * kernels[0] + 36 * (kernels[1] + kernels[2])
        assert point.removed == 36 - sum(len(part.weight) for part in (net.c1, net.c2, net.c3))
        assert plain().reports[name].plan == point.plan


def test_the_first_are_the_lossless_one_and_that_of_the_papers_threshold() -> None:
    points = plain().report.points
    assert sorted(aim for point in points for aim in point.aims) == ["budget"] * 3 + ["lossless", "paper"]
    by_threshold = next(point for point in points if "paper" in point.aims)
    assert points[0].aims == ["lossless"]
    for point, kinds in ((points[0], ["lossless"]), (by_threshold, ["lossless", "silent", "small"])):
        for layer in point.plan.layers:
            planted_there = {i for kind in kinds for i in PLANTED[kind].get(layer.key, ())}
            told = [*layer.removed, *layer.carriers, *(i for kept in layer.kept.values() for i in kept)]
            assert sorted(told) == sorted(planted_there)
        assert point.alive == 0
    assert points[0].test.changed == 0
    assert points[0].plan.pruning_class == "lossless"
    assert by_threshold.plan.pruning_class == "small"
    assert "untouched" in {each.against for each in points[0].plan.verification or []}


def test_budgets_are_kept_each_with_as_few_filters_as_it_takes() -> None:
    report = plain().report
    macs = [point.macs for point in report.points]
    assert macs == sorted(set(macs), reverse=True)
    first = 1 - report.points[0].macs / report.macs
    budgets = [point for point in report.points if "budget" in point.aims]
    steps = np.diff([first, *(point.share or 0.0 for point in budgets)])
    assert steps == pytest.approx(steps[0])
    for point in budgets:
        assert point.share is not None
        assert point.macs <= (1 - point.share) * report.macs + 1
        # One filter back of the costliest layer would be more than one filter's worth too much.
        assert point.macs > (1 - point.share) * report.macs - 9 * max(144 * 3 + 36 * 12, 36 * 24)


def test_living_filters_go_by_their_scale_dead_ones_before() -> None:
    net = graded()
    order = removal_order(original(net), 1e-3, None)
    kinds = [removal.filter.kind for removal in order]
    assert kinds[:7] == ["lossless"] * 5 + ["silent"] * 2
    assert {(removal.layer, removal.filter.index) for removal in order[7:10]} == {("c1", 3), ("c2", 6), ("c2", 7)}
    assert [removal.alive for removal in order] == [False] * 10 + [True] * 26
    norms = {"c1": net.n1, "c2": net.n2, "c3": net.n3}
    scales = [abs(float(norms[each.layer].weight.detach()[each.filter.index])) for each in order[10:]]
    assert scales == sorted(scales)
    assert len({removal.place for removal in order}) == 36


def test_what_a_living_filter_leaves_is_its_mean_after_relu() -> None:
    gamma, beta = np.array([0.5, -2.0, 1.0, 1e-3, 0.0, 0.0]), np.array([0.2, -1.0, -30.0, 0.7, 0.4, -0.4])
    for scale, shift, found in zip(gamma, beta, typical(gamma, beta), strict=True):
        exact = quad(lambda x, g=scale, b=shift: max(g * x + b, 0.0) * normal.pdf(x), -12, 12, limit=200)[0]  # type: ignore[misc]
        assert found == pytest.approx(exact, abs=1e-7)


def test_that_mean_does_less_harm_than_the_shift_alone() -> None:
    """On networks whose norms see what they were made for, as after a training."""
    net = graded()
    smallest = [removal for removal in removal_order(original(net), 1e-3, None) if removal.alive][:10]
    loss = {}
    for held in ("mean", "shift"):
        tried = copy.deepcopy(net)
        for layer, each, _ in smallest:
            part = getattr(tried, layer.replace("c", "n"))
            part.weight.data[each.index] = 0
            if held == "mean":
                part.bias.data[each.index] = each.held
        loss[held] = float((logits(tried) - logits(net)).pow(2).mean())
    assert loss["mean"] < 0.7 * loss["shift"]


def test_a_point_is_made_again_from_its_plan() -> None:
    config, data = AuditConfig(), corpus()
    point = plain().report.points[-2]
    assert point.alive
    assert point.plan.tolerances.gamma > 0.3
    again = apply_plan(
        subject_in_memory(graded(), config, data), config, Corpora(config, data), point.plan, latency=False
    )
    assert again.slim is not None
    state = plain().slims[point.name].module.state_dict()
    assert all(torch.equal(state[name], value) for name, value in again.slim.module.state_dict().items())


def test_the_family_ends_before_a_layer_is_empty() -> None:
    net = graded()
    net.n3.weight.data.fill_(0.2)  # the first living ones to go: all of c3
    found = made(net, points=2)
    assert "then a layer would be empty" in found.report.notes[-1]
    assert found.report.points[-1].alive == 12 - 2
    for slim in found.slims.values():
        assert len(slim.module.c3.weight) >= 2  # type: ignore[union-attr, arg-type]


def test_params_as_objective_has_budgets_of_params() -> None:
    report = made(graded(), objective="params", points=2).report
    assert (report.cost, report.objective) == ("params", "params")
    for point in report.points:
        if point.share is not None:
            assert point.params <= (1 - point.share) * report.params + 1


class Residual(Plain):
    """The second and third convolution's channels are summed."""

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.n1(self.c1(F.max_pool2d(x, 2))))
        x = F.relu(x + self.n2(self.c2(x)))
        return self.head(F.adaptive_avg_pool2d(F.relu(self.n3(self.c3(x))), 1).flatten(1))


def test_living_filters_of_a_shared_channel_stay_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dead ones leave a constant in it where that is faster; living ones go where all of the channel's do."""
    monkeypatch.setattr(scattering, "_is_faster", lambda *_: True)
    net = Residual()
    net.load_state_dict(graded().state_dict())
    dead = {(layer, i) for kind in PLANTED.values() for layer, filters in kind.items() for i in filters}
    for scatter in ("measured", "always"):
        first, *_, last = made(net, points=2, scatter=scatter).report.points
        alone = [{(layer.key, i) for layer in point.plan.layers for i in layer.scattered} for point in (first, last)]
        assert alone[0] == {("c1", 0), ("c1", 1), ("c2", 2), ("c2", 3), ("c2", 4)}
        assert bool(alone[1] - dead) is (scatter == "always")


def test_tuning_is_told_beside_the_cut_and_written() -> None:
    settings = TuningSettings(steps=3, lr=0.01, bn_images=50, batch_size=40)
    found = made(graded(), points=2, tuning=settings)
    labels = torch.from_numpy(corpus().labels)
    for point in found.report.points:
        cut = next(each for each in plain().report.points if each.aims == point.aims or "budget" in each.aims)
        after = logits(found.slims[point.name].module)
        assert point.tuned is not None
        assert point.final == point.tuned
        assert point.tuned.error == pytest.approx(float((after.argmax(1) != labels).double().mean()))
        if point.aims == cut.aims == ["lossless"]:
            assert point.test == cut.test
            by_hand = tune(plain().slims["slim-00"].module, corpus(), original(graded()).normalisation, settings)
            torch.testing.assert_close(logits(by_hand), after)
    assert found.report.tuning == settings


def test_tuning_on_test_images_or_without_norms_is_refused() -> None:
    config = AuditConfig()
    settings = ParetoOptions(tuning=TuningSettings(bn_images=10))
    data = replace(corpus(), split="test")
    with pytest.raises(UsageError, match="--split train"):
        family(subject_in_memory(graded(), config, data), config, Corpora(config, data), settings, lambda *_: None)
    bare = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(400, 4))
    with pytest.raises(UsageError, match="no batch norm"):
        made(bare, tuning=TuningSettings(bn_images=10))


def test_a_network_without_dead_filters_has_no_lossless_point() -> None:
    net = Plain().eval()
    for part in (net.n1, net.n2, net.n3):
        part.bias.data.fill_(0.5)
        part.weight.data[:] = torch.linspace(0.5, 1.5, 12)
    report = made(net, points=2, tuning=TuningSettings()).report
    assert report.tuning is None
    assert all(point.tuned is None for point in report.points)
    assert [point.aims for point in report.points] == [["budget"]] * 2
    assert report.points[0].name == "slim-00"


def test_labels_are_needed() -> None:
    data, config = corpus(), AuditConfig()
    wrong = replace(data, labels=data.labels + 90)
    with pytest.raises(UsageError, match="--pareto compares errors"):
        family(
            subject_in_memory(graded(), config, data), config, Corpora(config, wrong), ParetoOptions(), lambda *_: None
        )


def test_shares_are_evenly_spaced() -> None:
    assert shares(0.1, 0.7, 4) == pytest.approx([0.3, 0.5, 0.7])
    assert shares(0.0, 0.6, 3) == pytest.approx([0.2, 0.4, 0.6])
    assert shares(0.5, 0.5, 3) == []


def test_the_best_are_those_that_nothing_beats() -> None:
    whole = plain().report.points[0]
    sizes = [(90, 50, 0.2), (80, 60, 0.1), (70, 55, 0.1), (60, 40, 0.4), (50, 45, 0.4), (90, 50, 0.2)]
    points = [
        whole.model_copy(
            update={"name": str(i), "params": p, "macs": m, "test": TestFigures(images=9, error=error, loss=1.0)}
        )
        for i, (p, m, error) in enumerate(sizes)
    ]
    before = TestFigures(images=9, error=0.1, loss=1.0)
    found = marked(points, (100, 100), before)
    assert [point.best_for for point in found] == [["macs"], [], ["params", "macs"], ["macs"], ["params"], ["macs"]]
    # An original that is as small and better beats what is as large as itself.
    assert marked(points[:1], (90, 50), before)[0].best_for == []
