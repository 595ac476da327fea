"""Each study rule on planted studies: one that passes, one that fails, and those that decide nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest
from planted_runs import BASE, T_975, planted, regularised

from sparsity_audit.checkpoints.safetensors_io import write_safetensors
from sparsity_audit.engine.audit import audit
from sparsity_audit.engine.rulepacks import load_rules
from sparsity_audit.measures.registry import MEASURES, Measure
from sparsity_audit.schema.report import RuleResult
from sparsity_audit.schema.rule import Limit, Rule
from sparsity_audit.schema.study_report import RunFacts
from sparsity_audit.studies.judge import evaluate_study

RULES = {rule.id: rule for rule in load_rules(["default"])}
WD = regularised("wd")
SGD = {"name": "sgd"}


def results_of(rule: str, *arms: list[RunFacts]) -> list[RuleResult]:
    return evaluate_study([RULES[rule]], [run for arm in arms for run in arm])


def result_of(rule: str, *arms: list[RunFacts]) -> RuleResult:
    (result,) = results_of(rule, *arms)
    return result


def network(width: float) -> dict:
    return {**BASE["network"], "width": width}


def study(rule: str, harm: list[float]) -> list[list[RunFacts]]:
    """Return a study in which a rule's harm is ``harm``, by seed."""
    seeds = range(len(harm))
    more = [0.2 + each for each in harm]
    less = [0.2 for _ in seeds]
    if rule == "SA301":
        return [planted("l2", more), planted("wd", less, 0.11, regularizer=WD)]
    if rule == "SA302":
        return [planted("b40", more), planted("b80", less, batch_size=80)]
    if rule == "SA303":
        return [planted("adam", more), planted("sgd", less, 0.09, optimizer=SGD)]
    if rule == "SA304":
        strong = planted("strong", less, 0.4, regularizer=regularised("l2", 1e-2), capacity_lost=more)
        return [planted("weak", less, capacity_lost=less), strong]
    return [planted("wide", more, 0.1, network=network(0.25)), planted("narrow", less, 0.3, network=network(0.125))]


EVERY = ["SA301", "SA302", "SA303", "SA304", "SA305"]


@pytest.mark.parametrize("rule", EVERY)
def test_a_rule_passes_fails_and_is_inconclusive(rule):
    warning, error = RULES[rule].warning.max, RULES[rule].error.max
    well_above = result_of(rule, *study(rule, [error + each for each in (0.03, 0.04, 0.05)]))
    assert (well_above.outcome, well_above.severity, well_above.limit) == ("failed", "error", error)
    assert well_above.remedies == RULES[rule].remedies
    assert well_above.value == pytest.approx(error + 0.04)
    half = T_975[2] * 0.01 / math.sqrt(3)
    assert well_above.interval == pytest.approx((error + 0.04 - half, error + 0.04 + half), abs=1e-4)
    assert (well_above.n, well_above.layer, well_above.scope) == (3, None, "study")

    between = result_of(rule, *study(rule, [(warning + error) / 2 + each for each in (0.0, 1e-3, -1e-3)]))
    assert (between.outcome, between.severity, between.limit) == ("failed", "warning", warning)
    below = result_of(rule, *study(rule, [warning - 0.05, warning - 0.04, warning - 0.045]))
    assert (below.outcome, below.severity, below.remedies) == ("passed", None, [])
    straddling = result_of(rule, *study(rule, [warning - 0.1, warning, warning + 0.1]))
    assert (straddling.outcome, straddling.severity) == ("inconclusive", None)
    assert "the limit lies inside the interval" in straddling.reason
    single = result_of(rule, *study(rule, [0.7]))
    assert (single.outcome, single.n, single.interval) == ("inconclusive", 1, None)
    assert "one seed" in single.reason


@pytest.mark.parametrize("rule", EVERY)
def test_a_rule_without_its_runs_is_skipped_with_what_it_needs(rule):
    result = result_of(rule, planted("alone", [0.5] * 3, capacity_lost=0.9))
    assert (result.outcome, result.value) == ("skipped", None)
    assert result.reason == f"nothing to compare: needs {MEASURES[RULES[rule].measure, 'study'].needs}"


@pytest.mark.parametrize("rule", EVERY)
def test_an_arm_below_its_budget_decides_nothing(rule):
    arms = [[run.model_copy(update={"rate_sum": 0.5}) for run in arm] for arm in study(rule, [0.5] * 3)]
    result = result_of(rule, *arms)
    assert result.outcome == "inconclusive"
    assert "sum of rates 0.5, where γ needs 1.5" in result.reason
    assert len(result.evidence["tried"]) == len(arms)


@pytest.mark.parametrize("rule", ["SA301", "SA303"])
def test_without_comparable_errors_nothing_is_decided(rule):
    first, second = study(rule, [0.5] * 3)
    apart = [run.model_copy(update={"error": 0.2}) for run in second]
    result = result_of(rule, first, apart)
    assert (result.outcome, result.value) == ("inconclusive", pytest.approx(0.5))
    assert "no comparable errors" in result.reason
    assert f"raise λ of {first[0].name}" in result.reason
    unknown = [run.model_copy(update={"error": None}) for run in second]
    assert "test error is not known" in result_of(rule, first, unknown).reason


def test_seeds_are_paired_and_only_common_ones_count():
    l2 = planted("l2", [0.3, 0.6, 0.9, 0.0])
    result = result_of("SA301", l2, planted("wd", [0.1, 0.4, 0.7], regularizer=WD))
    assert (result.outcome, result.n) == ("failed", 3)
    assert result.interval == pytest.approx((0.2, 0.2))  # unpaired, three seeds so far apart would show nothing
    assert result.evidence["seeds"] == [0, 1, 2]


def test_raising_lambda_makes_errors_comparable_and_every_strength_is_told():
    l2 = [planted("l2-1", [0.2] * 2, 0.10), planted("l2-2", [0.3] * 2, 0.14, regularizer=regularised("l2", 2e-3))]
    short = planted("wd-short", [0.0] * 2, 0.10, regularizer=regularised("wd", 1e-4), decay_budget=1.0)
    result = result_of("SA301", *l2, short, planted("wd", [0.1] * 2, 0.15, regularizer=WD))
    assert result.evidence["runs"] == ["l2-2", "wd"]
    assert result.value == pytest.approx(0.2)
    assert result.evidence["errors"] == pytest.approx([0.14, 0.15])
    assert [line.partition(":")[0] for line in result.evidence["tried"]] == ["l2-1", "l2-2", "wd-short", "wd"]
    assert "l2-2 30.0 % dead, wd 10.0 % dead at test errors 14.0 % and 15.0 %" in result.message


def test_each_regime_has_a_result_of_its_own():
    arms = [
        planted(f"{name}-{kind}", [0.3] * 2, optimizer={"name": name}, regularizer=regularised(kind))
        for name in ("adam", "sgd", "adagrad")
        for kind in ("l2", "wd")
    ]
    compared = [result.evidence["runs"] for result in results_of("SA303", *arms)]
    assert sorted(compared) == [[f"{a}-{k}", f"sgd-{k}"] for a in ("adagrad", "adam") for k in ("l2", "wd")]
    assert len(results_of("SA301", *arms)) == 3


def test_a_pair_that_differs_in_more_is_no_pair():
    l2, decay = planted("l2", [0.5] * 2), planted("wd", [0.1] * 2, regularizer=WD, batch_size=80)
    assert result_of("SA301", l2, decay).outcome == "skipped"
    longer = {**BASE["schedule"], "total": 24000}
    assert result_of("SA302", l2, planted("b80", [0.1] * 2, batch_size=80, schedule=longer)).outcome == "skipped"


def test_batch_sizes_are_taken_on_a_log2_scale_with_selectivity_beside():
    arms = [
        planted(f"b{size}", [dead, dead + 0.1], batch_size=size, selectivity=selectivity)
        for size, dead, selectivity in ((20, 0.57, 0.2), (40, 0.46, 0.3), (80, 0.35, 0.4), (160, 0.29, 0.5))
    ]
    result = result_of("SA302", *arms)
    # By hand: x = −1.5 … 1.5, Σx² = 5, Σxy = −1.5·.57 − .5·.46 + .5·.35 + 1.5·.29 = −.475.
    assert result.value == pytest.approx(0.095)
    assert result.evidence["selectivity"] == pytest.approx(-0.1)
    assert result.evidence["sizes"] == [20, 40, 80, 160]


def test_no_regulariser_is_the_weakest_strength():
    none = planted("none", [0.0] * 2, regularizer={"kind": "none"}, capacity_lost=0.0)
    middle = planted("middle", [0.2] * 2, regularizer=regularised("l2", 1e-4), capacity_lost=0.2)
    strong = planted("strong", [0.4] * 2, capacity_lost=0.4)
    result = result_of("SA304", middle, strong, none)
    assert (result.value, result.evidence["runs"]) == (pytest.approx(0.4), ["strong", "none"])
    unknown = [run.model_copy(update={"capacity_lost": None}) for run in strong]
    assert "strong: what is compared was not measured" in result_of("SA304", none, unknown).reason


def test_the_strongest_with_enough_budget_is_taken():
    weak = planted("weak", [0.1] * 2, regularizer=regularised("wd", 1e-3), capacity_lost=0.1)
    strong = planted("strong", [0.4] * 2, regularizer=regularised("wd", 1e-2), capacity_lost=0.4)
    short = planted("short", [0.0] * 2, regularizer=regularised("wd", 1e-4), capacity_lost=0.0, decay_budget=0.9)
    result = result_of("SA304", weak, strong, short)
    assert (result.value, result.evidence["runs"]) == (pytest.approx(0.3), ["strong", "weak"])
    assert len(result.evidence["tried"]) == 3


def test_every_reduced_width_is_set_against_the_widest():
    arms = [planted(f"w{w}", [dead] * 2, network=network(w)) for w, dead in ((1.0, 0.7), (0.5, 0.5), (0.25, 0.2))]
    results = results_of("SA305", *arms)
    assert [(result.evidence["runs"], pytest.approx(result.value)) for result in results] == [
        (["w1.0", "w0.25"], 0.5),
        (["w1.0", "w0.5"], 0.2),
    ]


def test_by_activation_where_a_rule_says_so():
    by_activation = RULES["SA301"].model_copy(update={"args": {"criterion": "activation"}})
    runs = [*planted("l2", [0.0] * 2, by_activation=0.5), *planted("wd", [0.0] * 2, by_activation=0.1, regularizer=WD)]
    (result,) = evaluate_study([by_activation], runs)
    assert (result.outcome, result.value) == ("failed", pytest.approx(0.4))
    (unmeasured,) = evaluate_study([by_activation], [*planted("l2", [0.0]), *planted("wd", [0.0], regularizer=WD)])
    assert unmeasured.outcome == "inconclusive"
    assert "not measured" in unmeasured.reason


def test_a_lower_limit_is_the_mirror_image():
    floor = RULES["SA305"].model_copy(update={"warning": Limit(min=0.1), "error": None})

    def outcome(harm: list[float]) -> str:
        (result,) = evaluate_study([floor], [run for arm in study("SA305", harm) for run in arm])
        return result.outcome

    assert [outcome(harm) for harm in ([0.2, 0.21], [0.0, 0.01], [0.0, 0.2], [0.2])] == [
        "passed",
        "failed",
        "inconclusive",
        "inconclusive",
    ]


def test_other_scopes_are_left_out_and_a_crash_is_an_outcome(monkeypatch):
    def crashing(_runs: list[RunFacts]) -> list:
        raise ZeroDivisionError("oops")

    monkeypatch.setitem(MEASURES, ("crashing", "study"), Measure("crashing", "study", "fraction", crashing))
    rule = Rule(id="ACME001", name="crash", scope="study", measure="crashing", told_only=True, summary="x")
    (result,) = evaluate_study([RULES["SA101"], rule], planted("a", [0.1]))
    assert (result.rule, result.outcome, result.reason) == ("ACME001", "error", "ZeroDivisionError: oops")


def test_the_strict_pack_is_stricter_on_studies_too():
    strict = {rule.id: rule for rule in load_rules(["strict"])}
    for rule in EVERY:
        assert strict[rule].warning.max < RULES[rule].warning.max
        assert strict[rule].error.max < RULES[rule].error.max


def test_a_single_model_skips_study_rules_and_is_shown_the_rules_for_one(tmp_path):
    ones = np.ones(4, np.float32)
    norm = {f"bn.{name}": ones for name in ("weight", "bias", "running_mean", "running_var")}
    write_safetensors(tmp_path / "m.safetensors", {"conv.weight": np.ones((4, 3, 3, 3), np.float32), **norm})
    results = {result.rule: result for result in audit(tmp_path / "m.safetensors", select=EVERY).results()}
    assert {result.outcome for result in results.values()} == {"skipped"}
    for rule in ("SA301", "SA302"):
        assert results[rule].reason.endswith("for a single model: SA311 and SA312")
    assert all(result.reason.startswith("needs runs") for result in results.values())
