"""The regulariser against measured gradients, and predicted deaths: against hand counts."""

from __future__ import annotations

from typing import Any

import pytest

from sparsity_audit.measures.dominance_measures import on_gamma, predicted_deaths, regulariser_dominance
from sparsity_audit.schema.gradient_report import GradientInfo, LayerGradients, PredictedDeaths
from sparsity_audit.schema.report import Coverage, LayerReport, ModelReport, Totals
from sparsity_audit.schema.spec import TrainingSettings

ADAM = {"name": "adam", "lr": 1e-3}
L2 = {"kind": "l2", "strength": 1e-2}


def layer_of(gamma: list[float | None] | None) -> LayerReport:
    """Filters with the γ given; nothing else is known of them."""
    scale = None if gamma is None else [i for i, value in enumerate(gamma) if value is not None and abs(value) < 1e-3]
    rest = (
        "activation constant constant_candidates params macs selectivity universality firing_rate beta maximum minimum"
    )
    unknown = dict.fromkeys([*rest.split(), "nonfinite_images", "nonlinearity"])
    known = {"key": "c", "norm": "b", "filters": 4, "lost": {}, "scale": scale, "gamma": gamma}
    return LayerReport.model_validate({**unknown, **known})


def gradients_of(**changes: Any) -> GradientInfo:
    values = {"batch_size": 40, "batches": 50, "reason": None, "seed": 0, "layers": [], "predictions": [], **changes}
    return GradientInfo.model_validate(values)


def layer_gradients(mean_absolute: list[float], zero_share: list[float]) -> LayerGradients:
    nothing = [0.0] * len(mean_absolute)
    return LayerGradients(layer="c", mean=nothing, mean_absolute=mean_absolute, std=nothing, zero_share=zero_share)


def model_of(training: dict[str, Any] | None, gradients: GradientInfo | None) -> ModelReport:
    return ModelReport(
        path="m",
        sha256="0",
        architecture=None,
        training=None if training is None else TrainingSettings.model_validate(training),
        normalisation=None,
        corpus=None,
        error=None,
        gradients=gradients,
        coverage=Coverage(fraction=None, selectivity_fraction=None, audited=[], skipped=[]),
        layers=[],
        norms=[],
        totals=Totals(layers=1, filters=4, paired=None, params=1, macs=1, lost={}),
        nonfinite_tensors=[],
        results=[],
        plan=None,
    )


def test_dominated_filters_by_hand() -> None:
    # pulls λ|γ|: 1e-2, 5e-3, dead, 2e-3
    layer = layer_of([1.0, -0.5, 5e-4, 0.2])
    info = gradients_of(layers=[layer_gradients([2e-2, 4e-3, 0.0, 0.0], [0.0, 0.5, 1.0, 1.0])])
    found = regulariser_dominance(layer, model_of({"regularizer": L2}, info))
    assert (found.value, found.n) == (2 / 3, 2000)
    assert found.evidence["indices"] == [1, 3]
    assert found.evidence["zero_share"] == [0.5, 1.0]
    assert found.evidence["pull"] == pytest.approx([5e-3, 2e-3])
    assert "2 of 3" in found.message
    assert "1 of them had none in any of 50 batches of 40" in found.message


def test_gamma_l1_pulls_all_alike() -> None:
    layer = layer_of([1.0, -0.5, 5e-4, 0.2])
    info = gradients_of(layers=[layer_gradients([2e-2, 4e-3, 0.0, 1e-2], [0.0] * 4)])
    training = {"regularizer": {"kind": "gamma_l1", "strength": 1e-2}}
    assert regulariser_dominance(layer, model_of(training, info)).evidence["indices"] == [1]  # 1e-2 is not above 1e-2


@pytest.mark.parametrize("measure", [regulariser_dominance, predicted_deaths])
@pytest.mark.parametrize("regularizer", [{"kind": "none"}, {"kind": "l2", "strength": 1e-2, "on": "weights"}])
def test_nothing_is_dominated_where_nothing_regularises_the_scale(measure: Any, regularizer: dict[str, Any]) -> None:
    found = measure(layer_of([1.0] * 4), model_of({"regularizer": regularizer}, None))
    assert (found.value, found.evidence) == (0.0, {"indices": []})


@pytest.mark.parametrize(
    ("gamma", "training", "gradients", "reason"),
    [
        ([1.0] * 4, None, gradients_of(), "give training.regularizer in the configuration"),
        ([1.0] * 4, {"batch_size": 40}, gradients_of(), "give training.regularizer in the configuration"),
        (None, {"regularizer": L2}, gradients_of(), "no normalisation with γ"),
        ([1.0] * 4, {"regularizer": L2}, None, "--data"),
        ([1.0] * 4, {"regularizer": L2}, gradients_of(reason="why", batches=0), "why"),
        ([1.0] * 4, {"regularizer": L2}, gradients_of(), "does not depend"),
        ([0.0] * 4, {"regularizer": L2}, gradients_of(layers=[layer_gradients([1.0] * 4, [0.0] * 4)]), "dead by scale"),
        ([1.0] * 4, {"regularizer": {"kind": "wd", "strength": 1e-2}}, gradients_of(), "SA312"),
    ],
)
def test_dominance_that_cannot_be_told(gamma: Any, training: Any, gradients: Any, reason: str) -> None:
    found = regulariser_dominance(layer_of(gamma), model_of(training, gradients))
    assert found.value is None
    assert reason in str(found.reason)


def predicted(kind: str, batch: int, dead: list[int], steps: int = 5000, reason: str | None = None) -> PredictedDeaths:
    values = {"regularizer": kind, "strength": 1e-2, "batch_size": batch, "steps": steps, "reason": reason}
    return PredictedDeaths.model_validate({**values, "dead": {"c": dead} if reason is None else {}})


def test_predicted_deaths_by_hand() -> None:
    told = [
        *(predicted("l2", 40, [0, 3]), predicted("wd", 40, [0]), predicted("l2", 20, []), predicted("l2", 80, [3])),
        predicted("l2", 40, [1], steps=100),
    ]
    layer = layer_of([1.0, 1.0, 0.0, 1.0])
    info = gradients_of(layers=[layer_gradients([1.0] * 4, [0.0] * 4)], predictions=told)
    model = model_of({"optimizer": ADAM, "regularizer": L2}, info)
    found = predicted_deaths(layer, model)
    assert (found.value, found.n) == (2 / 3, 2000)
    assert found.evidence["indices"] == [0, 3]
    assert (found.evidence["under_wd"], found.evidence["at_batch_20"], found.evidence["at_batch_80"]) == ([0], [], [3])
    assert "5,000 more steps under l2 0.01 (1 under wd, 0 at batch 20, 1 at batch 80)" in found.message
    assert predicted_deaths(layer, model, steps=100).evidence["indices"] == [1]
    assert predicted_deaths(layer, model, steps=7).value is None


def test_predictions_that_cannot_be_made_are_left_out() -> None:
    layer = layer_of([1.0] * 4)
    given = {"layers": [layer_gradients([1.0] * 4, [0.0] * 4)]}
    training = {"optimizer": ADAM, "regularizer": L2}
    lull = gradients_of(predictions=[predicted("l2", 40, [], reason="in a lull"), predicted("wd", 40, [1])], **given)
    assert predicted_deaths(layer, model_of(training, lull)).reason == "in a lull"
    partly = gradients_of(predictions=[predicted("wd", 40, [1]), predicted("l2", 40, [], reason="in a lull")], **given)
    assert predicted_deaths(layer, model_of(training, partly)).message.endswith("under wd 0.01")
    assert predicted_deaths(layer, model_of(training, partly)).evidence["indices"] == [1]
    found = predicted_deaths(layer, model_of({"regularizer": L2}, partly))
    assert "training.optimizer" in str(found.reason)
    assert "--data" in str(predicted_deaths(layer, model_of(training, None)).reason)


def test_what_regularises_the_scale() -> None:
    def told(**regularizer: Any) -> Any:
        return on_gamma(TrainingSettings.model_validate({"regularizer": regularizer}))

    assert on_gamma(None) is None
    assert on_gamma(TrainingSettings()) is None
    assert (told(kind="l2", strength=0.1).kind, told(kind="l2", strength=0.1).strength) == ("l2", 0.1)
    assert told(kind="l2", strength=0.1, on="norm").strength == 0.1
    assert told(kind="wd", strength=0.1, on="weights").kind == "none"
    assert told(kind="gamma_l1", strength=0.1).kind == "gamma_l1"
