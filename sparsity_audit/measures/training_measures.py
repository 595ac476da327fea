"""What the way a model was trained means for its filters: gradients that never come, biases below zero, growth."""

from __future__ import annotations

import math

from sparsity_audit.measures.layer_measures import NO_DATA, NO_GAMMA, NO_NONLINEARITY, active_filters, images_of
from sparsity_audit.measures.registry import Measurement, measure, unmeasured
from sparsity_audit.schema.report import LayerReport, ModelReport

NO_BATCH_SIZE = "the batch size of the training is not known: give training.batch_size in the configuration"
TRAIN_SPLIT = "gradients come from the training split: leave --split at train"
CLOSED_BELOW_ZERO = ("relu", "relu6")
"""Nonlinearities without a gradient where the response is not positive."""


@measure("layer")
def update_starvation(layer: LayerReport, model: ModelReport, *, steps: float = 0.01) -> Measurement:
    """Share of the layer's active filters that get no gradient in more than ``steps`` of the steps, 0–1 (Sec. 2.3).

    A filter that responds to a share r of the images has no gradient in (1 − r)^B of the steps of batch size B.
    The rates are those of the trained model in evaluation mode on the training split.
    """
    missing = _no_rates(layer, model)
    batch = model.training.batch_size if model.training is not None else None
    if missing is not None or batch is None or layer.firing_rate is None:
        return unmeasured(missing or NO_BATCH_SIZE)
    active = [i for i in active_filters(layer) if layer.firing_rate[i] > 0]
    if not active:
        return unmeasured("no filter of this layer is active on the corpus")
    starved = [i for i in active if (1 - layer.firing_rate[i]) ** batch > steps]
    needed = [smallest_batch(layer.firing_rate[i], steps) for i in starved]
    cure = f"; a batch of {max(needed):,} would do for all of them" if needed else ""
    return Measurement(
        len(starved) / len(active),
        f"{len(starved)} of {len(active)} active filters get no gradient in more than {steps:.0%} of the steps "
        f"at batch size {batch}{cure}",
        images_of(model),
        evidence={
            "indices": starved,
            "active": len(active),
            "batch_size": batch,
            "batch_size_needed": max(needed, default=batch),
            "batch_sizes_needed": needed,
            "firing_rates": [layer.firing_rate[i] for i in starved],
        },
    )


def _no_rates(layer: LayerReport, model: ModelReport) -> str | None:
    """Say why a layer's firing rates don't tell of gradients; None where they do."""
    if layer.activation is None or model.corpus is None:
        return NO_DATA
    if layer.firing_rate is None:
        return NO_NONLINEARITY
    if layer.nonlinearity not in CLOSED_BELOW_ZERO:
        return f"{layer.nonlinearity} lets gradients through below zero: a filter that does not fire is updated too"
    if model.corpus.split != "train":
        return TRAIN_SPLIT
    return None


def smallest_batch(rate: float, steps: float) -> int:
    """Return the smallest batch size B with (1 − ``rate``)^B ≤ ``steps``; both in (0, 1], ``steps`` below 1."""
    if rate >= 1:
        return 1
    batch = max(1, math.ceil(math.log(steps) / math.log1p(-rate)))
    # The quotient of two rounded logarithms may miss a whole number by its last bit, either way.
    if batch > 1 and (1 - rate) ** (batch - 1) <= steps:
        return batch - 1
    return batch if (1 - rate) ** batch <= steps else batch + 1


@measure("layer")
def negative_shift(layer: LayerReport, model: ModelReport) -> Measurement:
    """Share of the filters not dead by scale whose β is below 0, 0–1 (Sec. 2.3, Figure 2).

    After a ReLU such a filter is active for at most half of the activations, where the normalised input is
    symmetric about 0.
    """
    if layer.gamma is None or layer.beta is None:
        return unmeasured(NO_GAMMA if layer.gamma is None else "the normalisation has no β")
    if model.totals.macs is not None and layer.nonlinearity is None:
        return unmeasured(NO_NONLINEARITY)
    dead = set(layer.scale or [])
    shifts = {
        i: beta
        for i, (gamma, beta) in enumerate(zip(layer.gamma, layer.beta, strict=True))
        if gamma is not None and beta is not None and i not in dead
    }
    if not shifts:
        return unmeasured("all filters of this layer are dead by scale")
    negative = [i for i, beta in shifts.items() if beta < 0]
    return Measurement(
        len(negative) / len(shifts),
        f"β < 0 in {len(negative)} of {len(shifts)} filters that are not dead by scale",
        evidence={"indices": negative, "alive": len(shifts), "filters": layer.filters},
    )


@measure("model")
def selectivity_growth(model: ModelReport) -> Measurement:
    """Mean selectivity of the last third of the layers less that of the first third (Figure 3), −1 to 1.

    Of the layers whose selectivity is defined, each counting once, whatever its number of filters.
    """
    known = [layer.selectivity for layer in model.layers if layer.selectivity is not None]
    third = len(known) // 3
    if not third:
        missing = NO_DATA if model.corpus is None else "selectivity is defined in fewer than three layers"
        return unmeasured(missing)
    first, last = sum(known[:third]) / third, sum(known[-third:]) / third
    return Measurement(
        last - first,
        f"mean selectivity {first:.3f} in the first {third} layers, {last:.3f} in the last {third}",
        images_of(model),
        evidence={"first": first, "last": last, "layers": third},
    )


@measure("model")
def error_after_zeroing(model: ModelReport) -> Measurement:
    """Test error with the dead filters' output zeroed less the error before, as a share of the images (Sec. 2.1)."""
    tried = model.ablation
    if tried is None:
        return unmeasured("the dead filters were not zeroed: needs --data, a classification error and a dead filter")
    changed = f"{tried.changed_predictions:,} of {tried.images:,} predictions changed"
    kept = f"with γ = 0 and β kept, {tried.changed_scale_zeroed:,}"
    return Measurement(
        tried.top1_after - tried.top1_before,
        f"error {100 * tried.top1_before:.2f} % before and {100 * tried.top1_after:.2f} % after zeroing the filters "
        f"dead by {tried.criterion}; {changed} ({kept})",
        tried.images,
        evidence={
            "criterion": tried.criterion,
            "top1_before": tried.top1_before,
            "top1_after": tried.top1_after,
            "changed_predictions": tried.changed_predictions,
            "top1_scale_zeroed": tried.top1_scale_zeroed,
            "changed_scale_zeroed": tried.changed_scale_zeroed,
        },
    )
