"""The regulariser against the loss's gradient, filter by filter, for one model: now, and in the steps to come."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sparsity_audit.measures.layer_measures import NO_GAMMA
from sparsity_audit.measures.registry import Measurement, measure, unmeasured
from sparsity_audit.schema.gradient_report import GradientInfo, LayerGradients, PredictedDeaths
from sparsity_audit.schema.report import EvidenceValue, LayerReport, ModelReport
from sparsity_audit.schema.spec import TrainingSettings

DOMINANCE, PREDICTION = "regulariser_dominance", "predicted_deaths"
"""The measures that need gradients; these are measured where a rule asks for one of them."""
STEPS = 5_000
NO_GRADIENTS = "gradients were not measured: needs --data"
NO_REGULARIZER = "the regulariser of the training is not known: give training.regularizer in the configuration"
NO_OPTIMIZER = "the optimizer of the training is not known: give training.optimizer in the configuration"
DECOUPLED = "weight decay stands beside the gradient, not in it: λ|γ| and the gradient have no common unit; see SA312"


@dataclass(frozen=True)
class OnGamma:
    """What regularises γ."""

    kind: Literal["none", "l2", "wd", "gamma_l1"]
    strength: float


def on_gamma(training: TrainingSettings | None) -> OnGamma | None:
    """Return what regularises γ; None where it is not known."""
    if training is None or training.regularizer is None:
        return None
    given = training.regularizer
    if given.on == "weights":
        return OnGamma("none", 0.0)
    return OnGamma(given.kind, given.strength)


@measure("layer")
def regulariser_dominance(layer: LayerReport, model: ModelReport) -> Measurement:
    """Share of the layer's filters alive by scale where the regulariser outweighs the gradient, 0–1 (Sec. 2.3).

    Dominated: λ|γ| under L2 (λ under γ-L1) exceeds the mean |gradient| of the loss on γ over training batches. With
    no regulariser it is 0.
    """
    regularizer = on_gamma(model.training)
    if regularizer is None:
        return unmeasured(NO_REGULARIZER)
    if regularizer.kind == "wd" and regularizer.strength:
        return unmeasured(DECOUPLED)
    if layer.gamma is None:
        return unmeasured(NO_GAMMA)
    if not regularizer.strength:
        return Measurement(0.0, "nothing regularises γ", evidence={"indices": []})
    gradients = _of_layer(layer, model.gradients)
    if isinstance(gradients, str):
        return unmeasured(gradients)
    alive = _alive(layer)
    if not alive:
        return unmeasured("all filters of this layer are dead by scale")
    pulls = {i: regularizer.strength * (1.0 if regularizer.kind == "gamma_l1" else size) for i, size in alive.items()}
    dominated = [i for i, pull in pulls.items() if pull > gradients.mean_absolute[i]]
    return _dominance(dominated, len(alive), pulls, gradients, model.gradients)


def _dominance(
    dominated: list[int], alive: int, pulls: dict[int, float], gradients: LayerGradients, info: GradientInfo | None
) -> Measurement:
    assert info is not None
    silent = [i for i in dominated if gradients.zero_share[i] == 1]
    return Measurement(
        len(dominated) / alive,
        f"the regulariser outweighs the gradient in {len(dominated)} of {alive} filters alive by scale; "
        f"{len(silent)} of them had none in any of {info.batches} batches of {info.batch_size}",
        info.batches * (info.batch_size or 0),
        evidence={
            "indices": dominated,
            "alive": alive,
            "zero_share": [gradients.zero_share[i] for i in dominated],
            "pull": [pulls[i] for i in dominated],
            "mean_absolute_gradient": [gradients.mean_absolute[i] for i in dominated],
            "batches": info.batches,
            "batch_size": info.batch_size,
        },
    )


@measure("layer")
def predicted_deaths(layer: LayerReport, model: ModelReport, *, steps: float = STEPS) -> Measurement:
    """Share of the layer's filters alive by scale that are predicted to die in the next ``steps``, 0–1 (Figure 4).

    γ is stepped on by the model's own optimizer and regulariser at its base learning rate, through gradients drawn
    from those of training batches. Evidence: the same under L2, under weight decay, at half and twice the batch.
    """
    regularizer = on_gamma(model.training)
    if regularizer is None:
        return unmeasured(NO_REGULARIZER)
    if layer.gamma is None:
        return unmeasured(NO_GAMMA)
    if not regularizer.strength:
        return Measurement(0.0, "nothing regularises γ", evidence={"indices": []})
    if model.training is None or model.training.optimizer is None:
        return unmeasured(NO_OPTIMIZER)
    gradients = _of_layer(layer, model.gradients)
    if isinstance(gradients, str):
        return unmeasured(gradients)
    assert model.gradients is not None
    told = [found for found in model.gradients.predictions if found.steps == steps]
    alive = len(_alive(layer))
    if not told or not alive:
        return unmeasured("all filters of this layer are dead by scale" if told else NO_GRADIENTS)
    if told[0].reason is not None:
        return unmeasured(told[0].reason)
    return _predicted(layer.key, alive, told, model.gradients)


def _predicted(key: str, alive: int, told: list[PredictedDeaths], info: GradientInfo) -> Measurement:
    own, *others = [found for found in told if found.reason is None]
    died = own.dead[key]
    counts = ", ".join(f"{len(found.dead[key])} {_words(found, own)}" for found in others)
    evidence: dict[str, EvidenceValue] = {
        "indices": died,
        "alive": alive,
        "steps": own.steps,
        **{_words(found, own).replace(" ", "_"): found.dead[key] for found in others},
    }
    return Measurement(
        len(died) / alive,
        f"{len(died)} of {alive} filters alive by scale would die in {own.steps:,} more steps under "
        f"{own.regularizer} {own.strength:g}{f' ({counts})' if counts else ''}",
        info.batches * (info.batch_size or 0),
        evidence=evidence,
    )


def _words(found: PredictedDeaths, own: PredictedDeaths) -> str:
    """Say in what a regime differs from the model's own."""
    if found.regularizer != own.regularizer:
        return f"under {found.regularizer}"
    return f"at batch {found.batch_size}"


def _of_layer(layer: LayerReport, info: GradientInfo | None) -> LayerGradients | str:
    """Return a layer's gradients, or why there are none."""
    if info is None:
        return NO_GRADIENTS
    if info.reason is not None:
        return info.reason
    found = next((gradients for gradients in info.layers if gradients.layer == layer.key), None)
    return found or "the loss in training mode does not depend on this layer's γ"


def _alive(layer: LayerReport) -> dict[int, float]:
    """Return |γ| of the filters that are not dead by scale."""
    dead = set(layer.scale or [])
    return {i: abs(gamma) for i, gamma in enumerate(layer.gamma or []) if gamma is not None and i not in dead}
