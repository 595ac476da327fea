"""Intervals against a textbook's t table and by simulation; arms and pairs against what was planted."""

from __future__ import annotations

import math

import numpy as np
import pytest
from planted_runs import T_975, layers, planted, regularised

from sparsity_audit.measures.arms import alike, arms_of, common_seeds, ordered, regimes
from sparsity_audit.measures.comparable import budget_shortfall, choose_pair
from sparsity_audit.measures.effects import mean_effect, paired, slope
from sparsity_audit.measures.quantities import BY_SCALE, ERROR, QUANTITIES
from sparsity_audit.schema.spec import TrainingSettings
from sparsity_audit.schema.study_report import RunFacts


@pytest.mark.parametrize(
    ("values", "mean", "deviation"),
    [([0.0, 1.0], 0.5, math.sqrt(0.5)), ([1.0, 2.0, 3.0], 2.0, 1.0), ([0.1, 0.1, 0.2, 0.2], 0.15, math.sqrt(0.01 / 3))],
)
def test_an_interval_is_the_t_tables(values, mean, deviation):
    effect = mean_effect(values)
    half = T_975[len(values) - 1] * deviation / math.sqrt(len(values))
    assert effect.value == pytest.approx(mean)
    assert effect.interval == pytest.approx((mean - half, mean + half), abs=1e-3)
    assert effect.n == len(values)


def test_nineteen_of_twenty_intervals_hold_the_truth():
    draws = np.random.default_rng(0).normal(0.3, 0.05, (3000, 3))
    intervals = [mean_effect(list(row)).interval for row in draws]
    covered = np.mean([low <= 0.3 <= high for low, high in intervals])
    assert 0.935 < covered < 0.965  # 4 standard errors around 0.95


def test_one_seed_has_no_interval_and_none_no_effect():
    assert mean_effect([0.2]).interval is None
    with pytest.raises(ValueError, match="no seed"):
        mean_effect([])


def test_pairing_by_seed_takes_out_what_the_seed_does():
    left, right = {0: 0.5, 1: 0.9, 2: 0.1, 7: 1.0}, {2: 0.0, 1: 0.8, 0: 0.4, 9: 0.0}
    differences = paired(left, right)
    assert list(differences) == [0, 1, 2]
    assert mean_effect(list(differences.values())).interval == pytest.approx((0.1, 0.1))


def test_slope_is_least_squares():
    points = [(1.0, 0.2), (2.0, 0.1), (3.0, 0.3), (3.0, -0.4)]
    assert slope(points) == pytest.approx(np.polyfit(*zip(*points, strict=True), 1)[0])
    with pytest.raises(ValueError, match="two different"):
        slope([(1.0, 0.0), (1.0, 2.0)])


def test_arms_are_runs_equal_but_for_the_seed():
    runs = [*planted("a", [0.1, 0.2]), *planted("b", [0.3], regularizer=regularised("wd"))]
    observed = planted("a", [0.9], observe={"history_every": 5})
    arms = arms_of([*runs, *observed])
    assert [(arm.name, sorted(arm.runs)) for arm in arms] == [("a", [0, 1]), ("b", [0])]
    assert arms[0].values(BY_SCALE) == {0: 0.1, 1: 0.2}  # of one training twice the first counts
    assert [len(group) for group in alike(arms, ["regularizer"])] == [2]
    assert [len(group) for group in alike(arms, ["regularizer.strength"])] == [1, 1]


def test_epochs_and_iterations_are_the_same_length_of_training():
    cifar = {"name": "cifar10"}
    in_epochs = planted("e", [0.1], data=cifar, schedule={"unit": "epochs", "total": 8, "milestones": [6]})
    in_steps = planted(
        "s", [0.1], data=cifar, batch_size=80, schedule={"unit": "iterations", "total": 10000, "milestones": [7500]}
    )
    assert len(alike(arms_of([*in_epochs, *in_steps]), ["batch_size"])) == 1
    other = planted("o", [0.1], data=cifar, batch_size=80, schedule={"unit": "epochs", "total": 8, "milestones": [6]})
    assert len(alike(arms_of([*in_epochs, *other]), ["batch_size"])) == 2
    unknown = [
        run
        for size in (40, 80)
        for run in planted("u", [0.1], data={"name": "mine"}, batch_size=size, schedule={"unit": "epochs", "total": 8})
    ]
    assert len(alike(arms_of(unknown), ["batch_size"])) == 2


def test_regimes_run_from_no_regulariser_to_the_strongest():
    runs = [
        *planted("strong", [0.3], regularizer=regularised("l2", 1e-2)),
        *planted("none", [0.0], regularizer={"kind": "none"}),
        *planted("weak", [0.1], regularizer=regularised("l2", 1e-4)),
        *planted("wd", [0.1], regularizer=regularised("wd", 1e-3)),
        *planted("sgd", [0.1], optimizer={"name": "sgd"}, regularizer=regularised("l2", 1e-3)),
    ]
    assert [[arm.name for arm in regime] for regime in regimes(arms_of(runs))] == [
        ["none", "weak", "strong"],
        ["none", "wd"],
        ["sgd"],
    ]
    assert [arm.name for arm in ordered(arms_of(runs)[:3], "regularizer.strength")] == ["none", "weak", "strong"]


def elsewhere(name: str, seed: int | None, kind: str, filters: int = 10, group: str | None = None) -> RunFacts:
    training = TrainingSettings.model_validate(
        {"optimizer": {"name": "adam", "lr": 1e-3}, "regularizer": regularised(kind), "batch_size": 40}
    )
    return RunFacts(
        name=name, path=name, digest=None, spec=None, training=training, seed=seed, error=0.1, by_scale=0.2,
        group=group, steps=12000, layers=layers([1, 2], filters),
    )  # fmt: skip


def test_models_from_elsewhere_are_alike_by_group_and_network():
    but_for = ["regularizer.kind", "regularizer.strength"]

    def groups(*runs: RunFacts) -> list[list[str]]:
        return [[arm.name for arm in group] for group in alike(arms_of(runs), but_for)]

    assert groups(elsewhere("a", 0, "l2"), elsewhere("b", 0, "wd")) == [["a", "b"]]
    assert groups(elsewhere("a", 0, "l2"), elsewhere("b", 0, "wd", filters=20)) == [["a"], ["b"]]
    assert groups(elsewhere("a", 0, "l2", group="x"), elsewhere("b", 0, "wd", group="y")) == [["a"], ["b"]]
    (arm,) = arms_of([elsewhere("a", None, "l2"), elsewhere("a", None, "l2")])
    assert common_seeds([arm], ERROR) == [0, 1]


@pytest.mark.parametrize(
    ("facts", "enough"),
    [
        ({"regularizer": regularised("wd"), "decay_budget": math.log(1000)}, True),
        ({"regularizer": regularised("wd"), "decay_budget": 6.9}, False),
        ({"regularizer": regularised("wd"), "decay_budget": 7.9, "lr_multipliers": {"gamma": 0.1}}, True),
        ({"optimizer": {"name": "sgd"}, "decay_budget": 6.9}, False),
        ({"optimizer": {"name": "sgd"}, "decay_budget": 9.5}, True),
        ({"optimizer": {"name": "sgd"}, "decay_budget": 9.5, "lr_multipliers": {"gamma": 0.1}}, False),
        ({"optimizer": {"name": "sgd"}, "decay_budget": 9.5, "init": {"gamma": 20.0}}, False),
        ({"decay_budget": None, "rate_sum": 1.5}, True),
        ({"decay_budget": None, "rate_sum": 1.49}, False),
        ({"decay_budget": None, "rate_sum": 9.48, "lr_multipliers": {"gamma": 0.1}}, False),
        ({"decay_budget": None, "rate_sum": None}, False),
        ({"regularizer": {"kind": "none"}, "decay_budget": None, "rate_sum": None}, True),
    ],
)
def test_what_a_regulariser_needs_to_bring_a_scale_below_the_threshold(facts, enough):
    (arm,) = arms_of(planted("row", [0.1], **facts))
    shortfall = budget_shortfall(arm)
    assert (shortfall is None) == enough
    assert enough or shortfall.startswith("row: ")


def sides(*arms):
    return arms_of([run for arm in arms for run in arm])


def test_the_pair_with_the_nearest_errors_is_chosen_whatever_it_shows():
    l2 = sides(
        planted("weak", [0.0] * 2, 0.100), planted("strong", [0.9] * 2, 0.118, regularizer=regularised("l2", 2e-3))
    )
    decay = sides(planted("wd", [0.1] * 2, 0.120, regularizer=regularised("wd")))
    choice = choose_pair(l2, decay, BY_SCALE, 0.02)
    assert (choice.pair.left.name, choice.pair.right.name, choice.reason) == ("strong", "wd", None)
    # Two seeds come before one with errors still nearer, and comparable errors before both.
    near = sides(planted("near", [0.5], 0.119, regularizer=regularised("l2", 3e-3)))
    assert choose_pair([*l2, *near], decay, BY_SCALE, 0.02).pair.left.name == "strong"
    assert choose_pair([l2[0], *near], decay, BY_SCALE, 0.01).pair.left.name == "near"


def test_an_arm_below_its_budget_is_never_taken():
    near = planted("near", [0.0] * 2, 0.10, regularizer=regularised("wd", 1e-4), decay_budget=0.9)
    far = planted("far", [0.1] * 2, 0.15, regularizer=regularised("wd", 1e-3), decay_budget=9.0)
    choice = choose_pair(sides(planted("l2", [0.3] * 2, 0.10)), sides(near, far), BY_SCALE, 0.02)
    assert choice.pair.right.name == "far"
    assert (
        choice.reason
        == "no comparable errors: the nearest, 10.0 % and 15.0 %, are more than 2 points apart; raise λ of l2"
    )
    alone = choose_pair(sides(planted("l2", [0.3] * 2)), sides(near), BY_SCALE, 0.02)
    assert alone.pair is None
    assert "near: decay budget 0.9, where γ needs 6.9" in alone.reason


def test_two_points_are_comparable_to_the_last_bit():
    left, right = sides(planted("l", [0.1], 0.13)), sides(planted("r", [0.1], 0.11, regularizer=regularised("wd")))
    assert choose_pair(left, right, BY_SCALE, 0.02).reason is None  # 0.13 − 0.11 is 0.020000000000000004
    further = sides(planted("r", [0.1], 0.1099, regularizer=regularised("wd")))
    assert choose_pair(left, further, BY_SCALE, 0.02).reason is not None


def test_errors_are_judged_on_the_means_of_the_common_seeds():
    left = sides(planted("l", [0.1] * 3, [0.10, 0.14, 0.90]))
    right = sides(planted("r", [0.1] * 2, [0.14, 0.10], regularizer=regularised("wd")))
    choice = choose_pair(left, right, BY_SCALE, 0.02)
    assert choice.reason is None
    assert choice.pair.seeds == (0, 1)
    assert choice.pair.gap() == pytest.approx(0)


@pytest.mark.parametrize(
    ("name", "value"),
    [("early_over_late", 0.55 - 0.15), ("late_over_middle", 0.15 - 0.4), ("early_over_next", 0.55 - 0.3)],
)
def test_layer_quantities_of_seven_layers(name, value):
    (run,) = planted("row", [0.3], layers=[layers([8, 3, 3, 4, 5, 1, 2])])
    assert QUANTITIES[name].of(run) == pytest.approx(value)
    assert QUANTITIES[name].of(run.model_copy(update={"layers": []})) is None
