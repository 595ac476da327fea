"""Stability of verdicts, disagreement, starvation, shift, growth, zeroing: against hand counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparsity_audit.engine.evaluate import evaluate
from sparsity_audit.engine.rulepacks import load_rules
from sparsity_audit.measures.lookup import measure_for
from sparsity_audit.measures.registry import Measurement
from sparsity_audit.measures.training_measures import smallest_batch
from sparsity_audit.schema.report import CorpusInfo, Coverage, LayerReport, ModelReport, Totals
from sparsity_audit.schema.rule import Rule
from sparsity_audit.schema.spec import TrainingSettings

IMAGES = 200


def layer_of(**changes: object) -> LayerReport:
    """Eight filters: γ, β, extrema and firing rates as the tests want them, verdicts as the thresholds give them."""
    values: dict[str, object] = {
        "gamma": [1.0] * 8,
        "beta": [0.1] * 8,
        "maximum": [1.0] * 8,
        "minimum": [0.0] * 8,
        "firing_rate": [1.0] * 8,
        "nonlinearity": "relu",
        "constant": [],
        **changes,
    }
    gamma, high, low = values["gamma"], values["maximum"], values["minimum"]
    scale = activation = None
    if gamma is not None:
        scale = [i for i, g in enumerate(gamma) if g is not None and abs(g) < 1e-3]  # type: ignore[arg-type,var-annotated]
    if high is not None:
        pairs = enumerate(zip(high, low, strict=True))  # type: ignore[call-overload]
        activation = [i for i, (h, m) in pairs if h is not None and max(abs(h), abs(m)) <= 1e-12]
    empty = dict.fromkeys("constant_candidates params macs selectivity universality nonfinite_images".split())
    return LayerReport.model_validate(
        {"key": "c", "norm": "b", "filters": 8, "lost": {}, "scale": scale, "activation": activation, **empty, **values}
    )


def model_of(*layers: LayerReport, split: str = "train", batch: int | None = 40, **changes: object) -> ModelReport:
    corpus = CorpusInfo(name="c", split=split, images=IMAGES, available=IMAGES, seed=None, sha256="0")  # type: ignore[arg-type]
    return ModelReport.model_validate(
        {
            "path": "m",
            "sha256": "0",
            "architecture": None,
            "training": TrainingSettings(batch_size=batch),
            "normalisation": None,
            "corpus": corpus,
            "error": None,
            "coverage": Coverage(fraction=None, selectivity_fraction=None, audited=[], skipped=[]),
            "layers": list(layers),
            "norms": [],
            "totals": Totals(layers=1, filters=8, paired=None, params=1, macs=1, lost={}),
            "nonfinite_tensors": [],
            "results": [],
            "plan": None,
            **changes,
        }
    )


def take(name: str, layer: LayerReport | None = None, model: ModelReport | None = None, **args: float) -> Measurement:
    scope = "model" if layer is None else "layer"
    rule = Rule.model_validate(
        {"id": "SA999", "name": "x", "scope": scope, "measure": name, "args": args, "summary": "x", "told_only": True}
    )
    function = measure_for(rule).function
    if layer is None:
        return function(model, **args)
    return function(layer, model or model_of(layer), **args)


def test_verdicts_between_the_thresholds() -> None:
    layer = layer_of(
        gamma=[0.0, 9e-4, 1e-3, 5e-3, -9.9e-3, 1e-2, 1.0, None],
        maximum=[0.0, 1e-12, 2e-12, 1e-4, 1.1e-4, 1.0, 0.0, None],
        minimum=[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -5e-5, None],
    )
    found = take("unstable_verdicts", layer)
    assert found.evidence["by_scale"] == [2, 3, 4]
    assert found.evidence["by_activation"] == [2, 3, 6]
    assert found.evidence["indices"] == [2, 3, 4, 6]
    assert (found.value, found.n) == (4 / 8, IMAGES)
    strict = take("unstable_verdicts", layer, gamma_threshold=1e-4, activation_threshold=1e-12)
    assert strict.evidence["indices"] == [1]  # |γ| = 9e-4 would be alive


def test_stability_by_whichever_criterion_there_is() -> None:
    no_data = layer_of(gamma=[5e-3] + [1.0] * 7, maximum=None, minimum=None, constant=None)
    found = take("unstable_verdicts", no_data)
    assert (found.value, found.n, found.evidence["by_activation"]) == (1 / 8, None, None)
    assert take("unstable_verdicts", layer_of(gamma=None, maximum=[1e-5] * 8)).value == 1
    neither = layer_of(gamma=None, maximum=None, minimum=None, constant=None)
    assert take("unstable_verdicts", neither).value is None


def test_dead_by_one_criterion_alone_with_constants_apart() -> None:
    #        both, constant, small but varying, silent, healthy, NaN on some images, …
    layer = layer_of(
        gamma=[0.0, 0.0, 5e-4, 1.0, 1.0, 0.0, 1.0, 1.0],
        maximum=[0.0, 0.3, 0.2, 0.0, 1.0, None, 1.0, 1.0],
        minimum=[0.0, 0.3, 0.1, 0.0, 0.0, None, 0.0, 0.0],
        constant=[1],
    )
    found = take("criteria_disagree", layer)
    assert (found.evidence["scale_only"], found.evidence["activation_only"]) == ([2], [3])
    assert (found.evidence["constant"], found.evidence["indices"]) == ([1], [2, 3])
    assert found.value == 2 / 8
    assert "γ" in str(take("criteria_disagree", layer_of(gamma=None)).reason)
    assert "--data" in str(take("criteria_disagree", layer_of(maximum=None, minimum=None)).reason)


def test_starved_filters_and_the_batch_that_would_do() -> None:
    # 0.9^40 = 0.0148 > 0.01 and 0.9^44 = 0.0097; 0.89^40 = 0.0095; 0.995^919 = 0.00999
    layer = layer_of(
        firing_rate=[0.9, 0.11, 0.1, 0.005, 0.0, 1.0, 0.5, 0.5],
        maximum=[1.0, 1.0, 1.0, 1.0, 0.0, 1.0, 1.0, None],
    )
    found = take("update_starvation", layer)
    assert found.evidence["indices"] == [2, 3]
    assert found.evidence["batch_sizes_needed"] == [44, 919]
    assert (found.evidence["batch_size"], found.evidence["batch_size_needed"]) == (40, 919)
    assert found.evidence["active"] == 6  # neither the silent one nor the one with NaN
    assert found.value == 2 / 6
    cured = take("update_starvation", layer, model_of(layer, batch=919))
    assert (cured.value, cured.evidence["indices"]) == (0, [])
    assert take("update_starvation", layer, model_of(layer, batch=918)).evidence["indices"] == [3]


@pytest.mark.parametrize("rate", [1.0, 0.99, 0.9, 0.5, 0.1, 0.01, 1 / 50_000])
def test_smallest_batch_is_the_smallest(rate: float) -> None:
    batch = smallest_batch(rate, 0.01)
    assert (1 - rate) ** batch <= 0.01
    assert batch == 1 or (1 - rate) ** (batch - 1) > 0.01


@pytest.mark.parametrize(
    ("changes", "model", "words"),
    [
        ({}, {"batch": None}, "training.batch_size"),
        ({}, {"training": None}, "training.batch_size"),
        ({}, {"split": "test"}, "training split"),
        ({"nonlinearity": "leaky_relu"}, {}, "leaky_relu lets gradients through"),
        ({"nonlinearity": None, "firing_rate": None}, {}, "no nonlinearity"),
        ({"maximum": None, "minimum": None, "firing_rate": None}, {"corpus": None}, "--data"),
        ({"maximum": [0.0] * 8, "firing_rate": [0.0] * 8}, {}, "no filter"),
    ],
)
def test_starvation_that_cannot_be_told(changes: dict[str, object], model: dict[str, object], words: str) -> None:
    layer = layer_of(**changes)
    found = take("update_starvation", layer, model_of(layer, **model))  # type: ignore[arg-type]
    assert found.value is None
    assert words in str(found.reason)


def test_negative_shift_among_filters_that_scale_left_alive() -> None:
    layer = layer_of(
        gamma=[0.0, 5e-4, 1.0, -1.0, 1.0, 1.0, None, 1.0], beta=[-1.0, -1.0, -1.0, -0.1, 0.0, 0.5, -1.0, None]
    )
    found = take("negative_shift", layer)
    assert (found.evidence["indices"], found.evidence["alive"], found.value) == ([2, 3], 4, 2 / 4)
    assert found.n is None
    unclear = take("negative_shift", layer_of(nonlinearity=None))
    assert "no nonlinearity" in str(unclear.reason)
    unknown = Totals(layers=1, filters=8, paired=8, params=None, macs=None, lost={})
    bare = layer_of(nonlinearity=None, maximum=None, minimum=None)  # from the tensors alone: nobody can tell
    assert take("negative_shift", bare, model_of(bare, totals=unknown)).value == 0
    assert take("negative_shift", layer_of(gamma=[0.0] * 8)).value is None
    assert take("negative_shift", layer_of(gamma=None)).value is None
    assert "β" in str(take("negative_shift", layer_of(beta=None)).reason)


def test_selectivity_of_the_last_third_less_the_first() -> None:
    shares = [0.1, None, 0.2, 0.9, 0.4, 0.3, 0.7, 0.8, None]
    layers = [layer_of(key=f"c{i}", selectivity=share) for i, share in enumerate(shares)]
    found = take("selectivity_growth", None, model_of(*layers))
    assert found.value == pytest.approx((0.7 + 0.8) / 2 - (0.1 + 0.2) / 2)
    assert found.evidence["layers"] == 2
    assert "0.150" in found.message
    assert "0.750" in found.message
    assert "fewer than three" in str(take("selectivity_growth", None, model_of(*layers[:3])).reason)
    assert "--data" in str(take("selectivity_growth", None, model_of(*layers[:2], corpus=None)).reason)


def zeroed(before: float, after: float) -> dict[str, object]:
    """What zeroing did to 400 images."""
    scale = {"top1_scale_zeroed": 0.11, "changed_scale_zeroed": 7}
    common = {"criterion": "union", "images": 400, "changed_predictions": 31}
    return {**common, **scale, "top1_before": before, "top1_after": after}


def test_zeroing_counts_points_of_error_and_changed_answers() -> None:
    found = take("error_after_zeroing", None, model_of(ablation=zeroed(0.1, 0.12)))
    assert (found.value, found.n) == (pytest.approx(0.02), 400)
    assert "31 of 400" in found.message
    assert (found.evidence["top1_scale_zeroed"], found.evidence["changed_scale_zeroed"]) == (0.11, 7)
    assert take("error_after_zeroing", None, model_of()).reason


@pytest.mark.parametrize(
    ("rise", "outcome", "severity"),
    [
        (-0.01, "passed", None),
        (0.0049, "passed", None),
        (0.006, "failed", "warning"),
        (0.021, "failed", "error"),
    ],
)
def test_limits_on_zeroing(rise: float, outcome: str, severity: str | None) -> None:
    rules = [rule for rule in load_rules(["default"]) if rule.id == "SA401"]
    (result,) = evaluate(rules, model_of(ablation=zeroed(0.5, 0.5 + rise)))
    assert (result.outcome, result.severity) == (outcome, severity)


def test_rules_that_are_told_only_pass_whatever_they_find_unless_a_limit_is_set(tmp_path: Path) -> None:
    layers = [layer_of(key=f"c{i}", selectivity=share, beta=[-1.0] * 8) for i, share in enumerate((0.0, 0.5, 1.0))]
    rules = [rule for rule in load_rules(["default"]) if rule.id in ("SA203", "SA204")]
    results = evaluate(rules, model_of(*layers))
    assert [(result.outcome, result.value, result.limit) for result in results] == [("passed", 1.0, None)] * 4
    own = tmp_path / "own.toml"
    own.write_text('extends = "default"\nselect = ["SA204"]\n[limits]\nSA204 = { warning = { max = 0.5 } }')
    (result,) = evaluate(load_rules([str(own)]), model_of(*layers))
    assert (result.outcome, result.limit) == ("failed", 0.5)
