"""``prune_model`` and what stands behind ``prune``: the right filters go, each class tells the truth, plans repeat."""

from __future__ import annotations

import copy
import functools
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_networks import GAMMA, PLANTED, corpus, images, planted, scaled

from sparsity_audit import audit
from sparsity_audit.engine.audit import subject_in_memory
from sparsity_audit.engine.corpora import Corpora
from sparsity_audit.errors import LimitError, UsageError
from sparsity_audit.schema.config import AuditConfig
from sparsity_audit.schema.plan import PruningPlan
from sparsity_audit.slimming import attempt as attempt_module
from sparsity_audit.slimming.api import prune_model
from sparsity_audit.slimming.session import Pruned, PruneOptions, apply_plan
from sparsity_audit.slimming.slim import Slim, slim_module

KINDS = ("lossless", "silent", "small")


def expected(kind: str) -> dict[str, set[int]]:
    """Return the filters of a class and the safer ones, by layer."""
    kinds = KINDS[: KINDS.index(kind) + 1]
    return {key: {i for each in kinds for i in PLANTED[each][key]} for key in ("c1", "c2")}


@functools.cache
def pruned(kind: str, **options: object) -> Pruned:
    settings = PruneOptions(pruning_class=kind, latency=False, **options)  # type: ignore[arg-type]
    return prune_model(planted(), corpus(), settings)


@pytest.mark.parametrize("kind", KINDS)
def test_the_planted_filters_of_a_class_go_and_no_others(kind: str) -> None:
    result = pruned(kind)
    for layer in result.report.plan.layers:
        wanted = expected(kind).get(layer.key, set())
        stays = {i for indices in layer.kept.values() for i in indices}
        assert {*layer.removed, *layer.carriers, *stays} == wanted
        assert stays <= {3}  # the only constant of c1: as a carrier it would carry for nobody
        assert not layer.derived
        for each in KINDS:
            assert set(layer.classes[each]) == (set(PLANTED[each].get(layer.key, ())) & set(layer.removed))  # type: ignore[index]
    # Constants under zero padding: one filter of a layer that has several stays to carry them.
    carriers = {layer.key: len(layer.carriers) for layer in result.report.plan.layers if layer.carriers}
    assert carriers == {"c2": 1}
    assert result.slim is not None
    widths = [len(part.weight) for part in (result.slim.module.c1, result.slim.module.c2)]  # type: ignore[union-attr]
    gone = expected(kind)
    assert widths == [12 - len(gone["c1"] - {3}), 12 - len(gone["c2"]) + carriers["c2"]]


@pytest.mark.parametrize("kind", KINDS)
def test_figures_are_those_of_networks_run_by_hand(kind: str) -> None:
    result, data = pruned(kind), corpus()
    net, held = planted(), planted()
    for key, norm in (("c1", held.n1), ("c2", held.n2)):
        for each in KINDS[: KINDS.index(kind) + 1]:
            for i, beta in PLANTED[each][key].items():
                norm.weight.data[i] = 0
                norm.bias.data[i] = min(beta, 0.0) if each == "silent" else beta
    with torch.no_grad():
        before, after = (each(scaled(data.images)) for each in (net, held))  # type: ignore[arg-type]
    row = next(row for row in result.report.classes if row.pruning_class == kind)
    labels = torch.from_numpy(data.labels)
    assert row.test is not None
    assert row.test.changed == int((before.argmax(1) != after.argmax(1)).sum())
    assert row.test.error == pytest.approx(float((after.argmax(1) != labels).double().mean()))
    assert row.test.loss == pytest.approx(float(F.cross_entropy(after, labels)), rel=1e-5)
    assert result.report.before is not None
    assert result.report.before.error == pytest.approx(float((before.argmax(1) != labels).double().mean()))
    if kind != "lossless":
        assert row.floor is not None
        assert row.floor.loss == pytest.approx(row.test.loss, rel=1e-6)


def test_lossless_agrees_with_the_untouched_network_on_any_image() -> None:
    result, net = pruned("lossless"), planted()
    assert result.slim is not None
    for seed in range(3):
        wild = scaled(images(50, seed=seed))
        with torch.no_grad():
            exact = (result.slim.exact(wild.double()) - copy.deepcopy(net).double()(wild.double())).abs().max()
            assert float(exact) < 1e-12
    against = {each.against for each in result.report.classes[0].comparisons}
    assert against == {"held", "untouched"}


def test_params_and_macs_are_counted_by_hand() -> None:
    result = pruned("small")
    width1, width2 = 12 - 4 + 1, 12 - 6 + 1
    params = 9 * (3 * width1 + width1 * width2 + width2 * 12)
    macs = 9 * (3 * width1 * 144 + (width1 * width2 + width2 * 12) * 36)
    row = result.report.classes[-1]
    assert (row.params, row.macs) == (params, macs)
    assert (result.report.plan.params_after, result.report.plan.macs_after) == (params, macs)
    assert result.report.params == 9 * (3 * 12 + 2 * 144)
    lost = sum(layer.params_saved or 0 for layer in result.report.plan.layers)
    assert lost == result.report.params - params


def test_the_model_in_memory_stays_as_it_is() -> None:
    net = planted().train()
    before = copy.deepcopy(net.state_dict())
    prune_model(net, corpus(60), PruneOptions("small", latency=False))
    assert net.training
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())


def test_the_recommendation_of_an_audit_names_the_same_filters() -> None:
    report = audit(planted(), corpus(), rules=["paper"])
    plan = report.models[0].plan
    assert plan is not None
    found = {layer.key: set(layer.removed) for layer in plan.layers if layer.removed}
    assert found == expected("small")


def test_a_plan_gives_the_same_network_bit_for_bit() -> None:
    first = pruned("small", min_width=3, round_to=4)
    plan = PruningPlan.model_validate_json(first.report.plan.to_json())
    again = applied(plan)
    assert first.slim is not None
    assert again.slim is not None
    one, other = first.slim.module.state_dict(), again.slim.module.state_dict()
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert len(one["c1.weight"]) % 4 == 0
    assert len(one["c2.weight"]) % 4 == 0


def applied(plan: PruningPlan, seed: int = 0) -> Pruned:
    config, data = AuditConfig(), corpus()
    subject = subject_in_memory(planted(seed=seed), config, data)
    return apply_plan(subject, config, Corpora(config, data), plan, latency=False)


def test_plans_that_do_not_fit_are_refused() -> None:
    plan = pruned("small").report.plan
    with pytest.raises(UsageError, match="another checkpoint"):
        applied(plan, seed=5)
    content = plan.model_dump(mode="json", by_alias=True)
    for change, words in (
        ({"key": "c9"}, "c9.*has not"),
        ({"filters": 13}, "c1.*has not"),
        ({"removed": [0, 99]}, "c1.*has not"),
        ({"held": {}}, "at which value"),
        ({"removed": content["layers"][0]["removed"][:-1]}, "can't be made as it says"),
    ):
        edited = copy.deepcopy(content)
        edited["layers"][0] |= change
        with pytest.raises(UsageError, match=words):
            applied(PruningPlan.model_validate(edited))


def test_a_layer_that_fails_is_left_alone_and_the_rest_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    def botched(module, graph, holds, options, classes) -> Slim:  # type: ignore[no-untyped-def]
        slim = slim_module(module, graph, holds, options, classes)
        if "c2" in holds:  # what a wrong cut of this layer would do
            slim.module.n3.running_mean += 0.01  # type: ignore[union-attr, operator]
        return slim

    monkeypatch.setattr(attempt_module, "slim_module", botched)
    result = pruned.__wrapped__("small")
    row = result.report.classes[-1]
    assert row.rolled_back.keys() == {"c2"}
    assert "fp32" in row.rolled_back["c2"]
    removed = {layer.key: layer.removed for layer in result.report.plan.layers}
    assert removed["c2"] == []
    assert {*removed["c1"]} <= expected("small")["c1"]
    assert removed["c1"]


def test_an_unverified_plan_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = pruned("small").report.plan  # made before the surgeon's hand slips

    def botched(module, graph, holds, options, classes) -> Slim:  # type: ignore[no-untyped-def]
        slim = slim_module(module, graph, holds, options, classes)
        slim.module.n3.running_mean += 0.01 * bool(holds)  # type: ignore[union-attr, operator]
        return slim

    monkeypatch.setattr(attempt_module, "slim_module", botched)
    with pytest.raises(UsageError, match="does not verify"):
        applied(plan)


def test_the_limit_on_the_error_keeps_the_harmless_filters_only() -> None:
    """γ of the small ones is made large, so that removing them does harm; ever fewer go as the limit falls."""

    def removed(limit: float | None) -> tuple[int, float]:
        net = planted()
        net.n1.weight.data[8:12], net.n2.weight.data[8:12] = 0.9, 0.8
        result = prune_model(
            net, corpus(), PruneOptions("small", gamma_threshold=0.95, latency=False, max_error_increase=limit)
        )
        gone = sum(len(layer.removed) for layer in result.report.plan.layers)
        last = result.report.classes[-1]
        assert last.within_limit == (limit is not None)
        assert last.removed == gone
        with torch.no_grad():
            assert result.slim is not None
            answers = result.slim.module(scaled(corpus().images)).argmax(1).numpy()  # type: ignore[arg-type]
        assert result.report.before is not None
        return gone, float((answers != corpus().labels).mean()) - result.report.before.error

    free, harm = removed(None)
    some, less = removed(harm / 2)
    assert harm > 0.05
    assert less <= harm / 2
    assert some < free


def test_a_limit_that_cannot_be_kept_or_measured_is_an_error() -> None:
    with pytest.raises(LimitError, match="nothing was written"):
        pruned("small", max_error_increase=-0.5)
    data = corpus(40)
    unlabelled = copy.copy(data)
    object.__setattr__(unlabelled, "labels", np.full(40, 99))
    with pytest.raises(UsageError, match="needs labelled"):
        prune_model(planted(), unlabelled, PruneOptions("small", latency=False, max_error_increase=0.1))


def test_nothing_to_remove_is_told_and_makes_no_network(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = planted()
    for norm in (net.n1, net.n2):
        norm.weight.data.fill_(1.0)
        norm.bias.data.fill_(0.5)
    result = prune_model(net, corpus(60), PruneOptions("small", latency=False))
    assert result.slim is None
    assert all(row.removed == 0 for row in result.report.classes)
    assert not list(tmp_path.iterdir())


def test_gamma_of_carriers_is_zero() -> None:
    """A carrier is its constant for every image, whatever its class was."""
    result = pruned("small")
    assert result.slim is not None
    for layer in result.report.plan.layers:
        norm = {"c1": "n1", "c2": "n2"}.get(layer.key)
        for i in layer.carriers:
            gone = [j for j in layer.removed if j < i]
            part = result.slim.module.get_submodule(str(norm))
            assert float(part.weight.detach()[i - len(gone)]) == 0.0  # type: ignore[index]
            assert float(part.bias.detach()[i - len(gone)]) == pytest.approx(layer.held[i])  # type: ignore[index]
    assert GAMMA["small"] > 0


def test_a_plan_of_an_audit_can_be_applied() -> None:
    plan = audit(planted(), corpus(), rules=["paper"]).models[0].plan
    assert plan is not None
    again = applied(PruningPlan.model_validate_json(plan.to_json()))
    wanted = pruned("small")
    assert again.slim is not None
    assert wanted.slim is not None
    one, other = again.slim.module.state_dict(), wanted.slim.module.state_dict()
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert again.report.plan.images == plan.images
