from __future__ import annotations

import re

import report_builders as build

from sparsity_audit.reporters import terminal
from sparsity_audit.schema.plan import PruningPlan


def cells(table: str, first: str) -> list[str]:
    """Return the cells of the row that begins with ``first``; columns are two spaces apart or more."""
    row = next(line for line in table.splitlines() if re.match(rf"{re.escape(first)}\s", line))
    return re.split(r"\s{2,}", row.rstrip())


def test_ledger_equals_hand_computation() -> None:
    layers = [
        build.layer(
            "conv1",
            filters=64,
            scale=list(range(36)),
            activation=list(range(33)),
            constant=[63],
            params=4800,
            macs=4_915_200,
            lost={"scale": build.lost(36), "union": build.lost(36, 2700, 2_764_800, 0)},
            selectivity=0.123,
        ),
        build.layer(
            "conv2",
            filters=128,
            scale=[],
            activation=[0],
            constant=[],
            params=73_728,
            macs=18_874_368,
            lost={"scale": build.lost(0), "union": build.lost(1, 41_787, 9_437_184, 1_000)},
            selectivity=None,
        ),
    ]
    text = terminal.ledger(build.model(layers, []))
    # 36 / 64 = 56.25 %, 33 / 64 = 51.56 %, 1 / 64 = 1.56 %; 2700 / 4800 = 56.25 %, 2764800 / 4915200 = 56.25 %
    conv1 = ["conv1", "64", "56.2", "51.6", "1.6", "12.3", "4.80 k", "56.2", "4.92 M", "56.2", "0"]
    assert cells(text, "conv1") == conv1
    assert cells(text, "conv2") == [
        "conv2",
        "128",
        "0.0",
        "0.8",
        "0.0",
        "–",
        "73.7 k",
        "56.7",
        "18.9 M",
        "50.0",
        "1.00 k",
    ]
    # (2700 + 41787) / 78528 = 56.65 %, (2764800 + 9437184) / 23789568 = 51.29 %, 36 / 192 = 18.75 %
    assert cells(text, "total")[:3] == ["total", "192", "18.8"]
    assert cells(text, "total")[-5:] == ["78.5 k", "56.7", "23.8 M", "51.3", "1.00 k"]


def test_ledger_fits_100_columns_with_ordinary_keys_and_keeps_long_ones_whole() -> None:
    ordinary = build.layer("layer4.2.downsample.0", filters=2048, params=2_359_296, macs=115_605_504)
    assert max(map(len, terminal.ledger(build.model([ordinary], [])).splitlines())) <= 100
    long = "backbone." * 20 + "conv"
    assert long in terminal.ledger(build.model([build.layer(long)], []))


def test_ledger_of_weights_alone_says_what_is_unknown_and_why() -> None:
    text = terminal.ledger(build.weights_only().models[0])
    assert cells(text, "features.4") == ["features.4", "16", "12.5", "–", "6.2", "–", "–", "–", "–", "–", "–"]
    assert "no architecture: consumers and MACs unknown" in text
    assert "unknown without images" in text
    assert "all 97 norm features; 32 are paired" in text
    assert cells(text, "fc.bn") == ["fc.bn", "after Linear", "64", "2", "1"]
    assert cells(text, "input_bn") == ["input_bn", "input", "1", "–", "–"]


def test_layer_without_any_criterion_shows_no_loss() -> None:
    unknown = build.layer("head", scale=None, activation=None, constant=None, constant_candidates=None)
    text = terminal.ledger(build.model([build.layer("conv1"), unknown], []))
    assert cells(text, "head") == ["head", "16", "–", "–", "–", "34.6", "2.30 k", "–", "2.36 M", "–", "–"]


def test_recommendation_cuts_indices_unless_verbose_and_never_claims_a_change() -> None:
    scattered = list(range(0, 60, 2))
    made = build.model([build.layer("conv1", filters=64, scale=scattered)], [])
    short, long = (terminal.recommendation(made, verbosity=v) for v in (0, 1))
    assert "… and 18 more" in short
    assert "… and" not in long
    assert ", ".join(map(str, scattered)) in re.sub(r"\s+", " ", long)
    assert "Nothing was changed" in short
    assert "params 2.30 k → 1.87 k (-18.8 %)" in short


def test_recommendation_tells_which_filter_stays_for_the_shape() -> None:
    made = build.model([build.layer("conv1", filters=2, scale=[0])], [])
    assert made.plan is not None
    layers = [layer.model_copy(update={"kept_for_shape": 1}) for layer in made.plan.layers]
    plan = made.plan.model_copy(update={"layers": layers})
    assert "1 stays, so that the layer is not empty" in terminal.recommendation(made.model_copy(update={"plan": plan}))


def test_recommendation_without_plan_or_without_dead_filters() -> None:
    made = build.model([build.layer("conv1", scale=[])], [])
    assert isinstance(made.plan, PruningPlan)
    assert "no filter can go" in terminal.recommendation(made)
    assert terminal.recommendation(made.model_copy(update={"plan": None})) == ""


def test_savings_of_the_plan_add_up_though_a_layer_only_reads_what_goes() -> None:
    made = build.model([build.layer("conv1"), build.layer("conv2", scale=[])], [])
    text = terminal.recommendation(made)
    assert cells(text, "conv2") == ["conv2", "16", "0", "0", "0", "0", "432", "442 k", "144"]
    assert cells(text, "total") == ["total", "2", "1", "0", "1", "864", "885 k"]
    assert "conv2: " not in text  # no indices to list


def test_shared_evidence_is_said_once_and_differing_evidence_by_layer() -> None:
    made = build.model([build.layer("conv1"), build.layer("conv2")], [])
    assert terminal.recommendation(made).count("silent on 50,000 images") == 1
    assert made.plan is not None
    first = made.plan.layers[0].model_copy(update={"evidence": "γ is exactly 0"})
    plan = made.plan.model_copy(update={"layers": [first, made.plan.layers[1]]})
    text = terminal.recommendation(made.model_copy(update={"plan": plan}))
    assert "conv1: 3, 9 (γ is exactly 0)" in text
    assert "conv2: 3, 9 (|γ| < 0.001 and silent on 50,000 images)" in text


def test_recommendation_from_weights_alone_claims_no_savings() -> None:
    text = terminal.recommendation(build.weights_only().models[0])
    assert cells(text, "total") == ["total", "4", "2", "0", "2"]
    assert "unknown without an architecture" in text
