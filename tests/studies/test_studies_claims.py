"""The paper's claims on planted studies that bear them out, that contradict them, and that decide nothing."""

from __future__ import annotations

from typing import Any

import pytest
from planted_runs import BASE, layers, planted, regularised

from sparsity_audit.errors import ConfigError
from sparsity_audit.schema.study_report import ClaimResult, RunFacts
from sparsity_audit.studies.claims import hold_claims, load_claims
from sparsity_audit.studies.gather import Gathered
from sparsity_audit.studies.report import study_report

CLAIMS = {claim.id: claim for claim in load_claims()}
NETWORK = BASE["network"]
SGD: dict[str, Any] = {"optimizer": {"name": "sgd"}}


def held(claim: str, *arms: list[RunFacts]) -> ClaimResult:
    (result,) = hold_claims([CLAIMS[claim]], [run for arm in arms for run in arm])
    return result


def optimizer(name: str) -> dict[str, Any]:
    return {"optimizer": {"name": name}}


# What the first arm has and what the second has, for each claim that sets two against each other.
PAIRS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "sparsity-grows-with-strength": ({"regularizer": regularised("l2", 1e-2)}, {}),
    "adam-sparser-than-sgd": ({}, SGD),
    "adagrad-sparser-than-sgd": (optimizer("adagrad"), SGD),
    "adadelta-sparser-than-sgd": (optimizer("adadelta"), SGD),
    "adam-l2-sparser-than-weight-decay": ({}, {"regularizer": regularised("wd")}),
    "sgd-l2-like-weight-decay": (SGD, {**SGD, "regularizer": regularised("wd")}),
    "less-sparsity-on-the-harder-task": ({"data": {"name": "cifar100"}}, {"data": {"name": "cifar10"}}),
    "less-sparsity-with-larger-batches": ({"batch_size": 80}, {}),
    "more-sparsity-with-width": ({"network": {**NETWORK, "width": 0.5, "first": 64}}, {}),
    "amsgrad-less-sparse-than-adam": (optimizer("amsgrad"), {}),
    "leaky-relu-changes-little": ({"network": {**NETWORK, "activation": "leaky_relu", "negative_slope": 0.1}}, {}),
    "slower-gamma-less-sparse": ({"lr_multipliers": {"gamma": 0.1}, "rate_sum": 90.0}, {"rate_sum": 90.0}),
    "slower-beta-slightly-sparser": ({"lr_multipliers": {"beta": 0.1}}, {}),
    "positive-beta-init-sparser": ({"init": {"beta": 1.0}}, {}),
    "negative-beta-init-as-sparse": ({"init": {"beta": -0.1}}, {}),
}
LEVELS = {
    "sgd-sparser-in-early-layers": (SGD, [8, 3, 3, 3, 3, 1, 0], [0, 0, 0, 0, 0, 5, 5]),
    "adam-sparser-from-middle-to-late-layers": ({}, [0, 0, 1, 1, 1, 5, 6], [0, 0, 5, 5, 5, 1, 1]),
    "adam-less-sparse-after-the-first-layers": ({}, [5, 4, 1, 3, 3, 5, 6], [1, 2, 8, 5, 5, 1, 1]),
}


def pair(claim: str, effect: list[float]) -> list[list[RunFacts]]:
    """Return two arms whose difference is ``effect``, by seed."""
    first, second = PAIRS[claim]
    more, less = [0.4 + each / 2 for each in effect], [0.4 - each / 2 for each in effect]
    return [planted("first", more, 0.10, **first), planted("second", less, 0.11, **second)]


@pytest.mark.parametrize("claim", PAIRS)
def test_claims_about_two_ways_of_training(claim):
    expect, margin = CLAIMS[claim].expect, CLAIMS[claim].margin
    towards = {"above": 1, "below": -1, "within": 0}[expect]
    agreeing = held(claim, *pair(claim, [0.2 * towards, 0.22 * towards, 0.21 * towards]))
    assert agreeing.outcome == "reproduced", agreeing
    assert agreeing.value == pytest.approx(0.21 * towards)
    assert (agreeing.n, agreeing.runs, agreeing.reason) == (3, ["first", "second"], None)
    away = -towards or 1
    opposite = held(claim, *pair(claim, [0.2 * away, 0.22 * away, 0.21 * away]))
    assert opposite.outcome == "not reproduced"
    undecided = held(claim, *pair(claim, [margin - 0.2, margin, margin + 0.2]))
    assert undecided.outcome == "inconclusive"
    assert "inside the interval" in undecided.reason
    single = held(claim, *pair(claim, [0.2 * towards]))
    assert (single.outcome, single.interval, single.n) == ("inconclusive", None, 1)
    assert "one seed" in single.reason


@pytest.mark.parametrize("claim", [claim for claim in PAIRS if CLAIMS[claim].at_comparable_error])
def test_at_comparable_error_means_so(claim):
    first, second = pair(claim, [0.2] * 3)
    result = held(claim, first, [run.model_copy(update={"error": 0.2}) for run in second])
    assert (result.outcome, result.value) == ("inconclusive", None)
    assert "raise λ of first" in result.reason


def test_comparable_errors_are_reached_by_another_strength():
    weak, strong = (planted(f"adam-{x}", [0.5] * 2, x, regularizer=regularised("l2", x / 100)) for x in (0.1, 0.2))
    result = held("adam-sparser-than-sgd", weak, strong, planted("sgd", [0.1] * 2, 0.19, **SGD))
    assert (result.outcome, result.runs) == ("reproduced", ["adam-0.2", "sgd"])


@pytest.mark.parametrize("claim", LEVELS)
def test_claims_about_layers(claim):
    changes, agreeing, opposite = LEVELS[claim]
    for outcome, dead in (("reproduced", agreeing), ("not reproduced", opposite)):
        assert held(claim, planted("a", [0.3] * 3, layers=[layers(dead)] * 3, **changes)).outcome == outcome
    mixed = planted("a", [0.3] * 3, layers=[layers(agreeing), layers(opposite), layers(opposite)], **changes)
    assert held(claim, mixed).outcome == "inconclusive"
    assert held(claim, planted("a", [0.3] * 3, **changes)).outcome == "not run"


def test_no_sparsity_without_regularisation():
    def outcome(dead: list[float]) -> str:
        return held("no-sparsity-without-regularisation", planted("none", dead, regularizer={"kind": "none"})).outcome

    assert outcome([0.0, 0.0, 0.0]) == "reproduced"
    assert outcome([0.2, 0.21, 0.19]) == "not reproduced"
    assert outcome([0.0, 0.0, 0.04]) == "inconclusive"
    assert outcome([0.0]) == "inconclusive"


@pytest.mark.parametrize("claim", ["activation-agrees-with-scale", "pruning-keeps-the-error"])
def test_claims_that_need_an_audit(claim):
    def planting(change: float) -> list[RunFacts]:
        return planted("a", [0.3] * 2, 0.1, by_activation=0.3 + change, pruned_error=0.1 + change)

    assert held(claim, planting(0.0)).outcome == "reproduced"
    assert held(claim, planting(0.09)).outcome == held(claim, planting(-0.09)).outcome == "not reproduced"
    missing = held(claim, planted("a", [0.3] * 2))
    assert (missing.outcome, missing.runs) == ("not run", ["a"])
    assert "not measured in a; audit their models" in missing.reason


@pytest.mark.parametrize(
    ("claim", "key", "agreeing"),
    [("adam-more-selective-in-late-layers", "selectivity", 0.9), ("adam-beta-lower-in-late-layers", "beta", -0.3)],
)
def test_claims_about_the_late_layers_of_adam_and_sgd(claim, key, agreeing):
    adam = planted("adam", [0.3] * 2, layers=[layers([1] * 7, **{key: agreeing})] * 2)
    sgd = planted("sgd", [0.0] * 2, layers=[layers([1] * 7, **{key: 0.1})] * 2, **SGD)
    assert held(claim, adam, sgd).outcome == "reproduced"
    swapped = [
        [run.model_copy(update={"layers": other[0].layers}) for run in arm] for arm, other in ((adam, sgd), (sgd, adam))
    ]
    assert held(claim, *swapped).outcome == "not reproduced"


def test_every_claim_is_tested_here():
    alone = {"no-sparsity-without-regularisation", "activation-agrees-with-scale", "pruning-keeps-the-error"}
    late = {"adam-more-selective-in-late-layers", "adam-beta-lower-in-late-layers"}
    assert set(CLAIMS) == alone | late | set(PAIRS) | set(LEVELS)


def test_nothing_at_hand_is_not_run():
    results = hold_claims(list(CLAIMS.values()), [])
    assert [result.outcome for result in results] == ["not run"] * len(CLAIMS)
    assert all(result.reason and result.n == 0 for result in results)


def test_a_budget_too_small_decides_nothing_and_says_so():
    result = held("slower-gamma-less-sparse", *(planted(n, [d] * 3, **c) for n, d, c in (
        ("slow", 0.0, {"lr_multipliers": {"gamma": 0.1}}), ("usual", 0.3, {})
    )))  # fmt: skip
    assert result.outcome == "inconclusive"
    assert "slow: sum of rates 0.9, where γ needs 1.5" in result.reason


def test_several_comparisons_are_averaged_seed_by_seed():
    arms = [
        planted(f"{name}-{kind}", dead, optimizer={"name": name}, regularizer=regularised(kind))
        for name, kind, dead in (
            ("adam", "l2", [0.5, 0.6]),
            ("sgd", "l2", [0.1, 0.2]),
            ("adam", "wd", [0.30, 0.30]),
            ("sgd", "wd", [0.25, 0.29]),
        )
    ]
    result = held("adam-sparser-than-sgd", *arms)
    # By hand: 0.4 and 0.4 with L2, 0.05 and 0.01 with weight decay: 0.225 and 0.205.
    assert result.value == pytest.approx(0.215)
    half = 12.706 * 0.01
    assert result.interval == pytest.approx((0.215 - half, 0.215 + half), abs=1e-4)
    assert result.outcome == "reproduced"
    assert result.message.count("2 seeds") == 2


def test_a_comparison_that_says_the_opposite_is_not_averaged_away():
    sides = [("adam", "l2", 0.9), ("sgd", "l2", 0.1), ("adam", "wd", 0.1), ("sgd", "wd", 0.2)]
    arms = [
        planted(f"{name}-{kind}", [dead] * 2, optimizer={"name": name}, regularizer=regularised(kind))
        for name, kind, dead in sides
    ]
    result = held("adam-sparser-than-sgd", *arms)
    assert (result.outcome, result.value) == ("inconclusive", pytest.approx(0.35))
    assert "disagree" in result.reason
    assert "adam-wd 10.0 % dead" in result.reason


def test_lambda_zero_is_the_first_step_and_single_seeds_do_not_spoil_the_rest():
    none = planted("none", [0.0] * 2, regularizer={"kind": "none"})
    result = held("sparsity-grows-with-strength", none, planted("l2", [0.3, 0.31]))
    assert (result.outcome, result.value) == ("reproduced", pytest.approx(0.305))
    once = planted("strong", [0.1], regularizer=regularised("l2", 1e-2))
    with_one = held("sparsity-grows-with-strength", none, planted("l2", [0.3, 0.31]), once)
    assert (with_one.outcome, with_one.value, with_one.n) == ("reproduced", pytest.approx(0.305), 2)
    assert "strong" in with_one.message


CLAIM = """schema = 1
[[claim]]
id = "mine"
claim = "x"
source = "y"
quantity = "by_scale"
compare = "arms"
first = { "optimizer.name" = "adam" }
second = { "optimizer.name" = "sgd" }
expect = "above"
"""


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('quantity = "by_scale"', 'quantity = "by_scael"', ["claim mine", "'by_scael'", "did you mean 'by_scale'"]),
        ('"optimizer.name" = "adam"', '"optimiser.name" = "adam"', ["optimiser.name", "did you mean 'optimizer'"]),
        ('"optimizer.name" = "adam"', '"data.nam" = "x"', ["no spec has 'data.nam'", "did you mean 'name'"]),
        ('"optimizer.name" = "adam"', '"batch_size.x" = 1', ["no spec has 'batch_size.x'"]),
        ('expect = "above"', 'expect = "over"', ["expect", "'over'"]),
        ('compare = "arms"', 'compare = "steps"', ["needs along"]),
        ('compare = "arms"', 'compare = "level"', ["are for compare = 'arms'"]),
        ('second = { "optimizer.name" = "sgd" }', "", ["needs first and second"]),
        ('expect = "above"', 'expect = "above"\nalong = "batch_size"', ["along is for"]),
        ("schema = 1", "schema = ", ["not TOML"]),
    ],
)
def test_a_bad_file_of_claims_gets_one_line(tmp_path, old, new, expected):
    path = tmp_path / "claims.toml"
    path.write_text(CLAIM)
    assert [claim.id for claim in load_claims(path)] == ["mine"]
    path.write_text(CLAIM.replace(old, new))
    with pytest.raises(ConfigError) as failure:
        load_claims(path)
    assert "\n" not in str(failure.value)
    assert all(part in str(failure.value) for part in [str(path), *expected])
    path.write_text(CLAIM + CLAIM.partition("\n")[2])
    with pytest.raises(ConfigError, match="'mine' stands twice"):
        load_claims(path)


def test_the_report_holds_rows_results_and_claims():
    runs = [*planted("l2", [0.2, 0.4], [0.1, 0.2]), *planted("wd", [0.1], regularizer=regularised("wd"))]
    report = study_report("mine", "A study", None, Gathered(runs, []), [], list(CLAIMS.values()))
    first, second = report.rows
    assert (first.id, first.seeds, second.id, second.seeds) == ("l2", [0, 1], "wd", [0])
    assert first.means["by_scale"] == pytest.approx(0.3)
    assert first.deviations["by_scale"] == pytest.approx(0.2 / 2**0.5)
    assert first.means["error"] == pytest.approx(0.15)
    assert first.means["selectivity"] is first.deviations["selectivity"] is second.deviations["by_scale"] is None
    assert first.settings == "basicnet 8-0.125x head 32, digits, adam 1e-3, l2 1e-3, batch 40, 12000 iterations"
    assert len(report.claims) == len(CLAIMS)
