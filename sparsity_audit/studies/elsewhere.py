"""Facts of models that were trained elsewhere: their weights, and what a manifest says of them."""

from __future__ import annotations

from sparsity_audit.checkpoints.checkpoint import read_checkpoint
from sparsity_audit.engine.describe_weights import describe_weights
from sparsity_audit.schema.report import LayerReport
from sparsity_audit.schema.spec import TrainingSettings
from sparsity_audit.schema.study_report import LayerFacts, RunFacts
from sparsity_audit.studies.audited import share
from sparsity_audit.studies.manifest import ManifestModel


def manifest_facts(model: ManifestModel) -> RunFacts:
    """Return the facts of a model of a manifest: what is inactive by scale, out of its weights alone.

    Where names pair normalisations with convolutions only those count, as in the paper; else all of them. Decay budget
    and sum of rates are those of a constant learning rate, as a manifest knows of no schedule: upper bounds.

    Raises:
        CheckpointError: weights that cannot be read.
    """
    layers = describe_weights(read_checkpoint(model.path)).layers
    counted = [layer for layer in layers if layer.key != layer.norm] or layers
    known = [(len(layer.scale), layer.filters) for layer in counted if layer.scale is not None]
    return RunFacts(
        name=model.name,
        path=str(model.path),
        digest=None,
        spec=None,
        training=model.training,
        seed=model.seed,
        error=model.test_error,
        by_scale=share(sum(dead for dead, _ in known), sum(filters for _, filters in known)),
        decay_budget=_decay_budget(model.training, model.steps),
        rate_sum=_rate_sum(model.training, model.steps),
        group=model.group,
        steps=model.steps,
        layers=[_layer(layer) for layer in counted],
    )


def _layer(layer: LayerReport) -> LayerFacts:
    return LayerFacts(
        key=layer.key,
        filters=layer.filters,
        inactive_by_scale=None if layer.scale is None else len(layer.scale),
        mean_gamma=_mean_of_active(layer, layer.gamma),
        mean_beta=_mean_of_active(layer, layer.beta),
    )


def _mean_of_active(layer: LayerReport, values: list[float | None] | None) -> float | None:
    dead = set(layer.scale or ())
    active = [value for i, value in enumerate(values or ()) if i not in dead and value is not None]
    return sum(active) / len(active) if active else None


def _decay_budget(training: TrainingSettings, steps: int | None) -> float | None:
    """Return what ``specs.budget.decay_budget`` says of a spec; a momentum that is not given counts as none."""
    optimizer, regularizer = training.optimizer, training.regularizer
    if regularizer is None or steps is None:
        return None
    if regularizer.kind == "wd":
        return regularizer.strength * steps
    rates = _rate_sum(training, steps)
    if regularizer.kind == "l2" and rates is not None and optimizer is not None and optimizer.name == "sgd":
        momentum = (optimizer.model_extra or {}).get("momentum", 0.0)
        return regularizer.strength * rates / (1 - momentum) if 0 <= momentum < 1 else None
    return None


def _rate_sum(training: TrainingSettings, steps: int | None) -> float | None:
    return None if steps is None or training.optimizer is None else training.optimizer.lr * steps
