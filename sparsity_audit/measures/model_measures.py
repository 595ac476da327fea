"""Quantities of a whole model."""

from __future__ import annotations

from typing import Literal

from sparsity_audit.measures.layer_measures import dead_fraction, images_of
from sparsity_audit.measures.registry import Measurement, measure, unmeasured
from sparsity_audit.schema.report import ModelReport

NO_GRAPH = "consumers and MACs are unknown without an architecture: needs --arch or --data"


@measure("model")
def model_dead_fraction(
    model: ModelReport,
    *,
    criterion: Literal["scale", "activation", "union"] = "union",
    threshold: float | None = None,
) -> Measurement:
    """Share of all filters that are inactive, 0–1: the % Sparsity columns of Table 1."""
    parts = [dead_fraction(layer, model, criterion=criterion, threshold=threshold) for layer in model.layers]
    decided = [(part, layer) for part, layer in zip(parts, model.layers, strict=True) if part.value is not None]
    if not decided:
        return unmeasured(parts[0].reason or "nothing to measure" if parts else "no feature layers")
    dead = sum(round((part.value or 0.0) * layer.filters) for part, layer in decided)
    filters = sum(layer.filters for _, layer in decided)
    return Measurement(
        dead / filters,
        f"{dead} of {filters} filters inactive",
        decided[0][0].n,
        evidence={
            "dead": dead,
            "filters": filters,
            "layers": len(decided),
            "undecided": len(parts) - len(decided),
        },
    )


@measure("model")
def capacity_lost(
    model: ModelReport, *, criterion: Literal["scale", "activation", "constant", "union"] = "union"
) -> Measurement:
    """Share of convolution parameters or of MACs, whichever is larger, that dead filters take with them, 0–1."""
    totals = model.totals
    if totals.params is None or totals.macs is None:
        return unmeasured(NO_GRAPH)
    lost = totals.lost.get(criterion)
    if lost is None or lost.params is None or lost.macs is None:
        return unmeasured(f"no layer was decided by {criterion}")
    params, macs = lost.params / max(totals.params, 1), lost.macs / max(totals.macs, 1)
    return Measurement(
        max(params, macs),
        f"{lost.filters:,} dead filters take {100 * params:.1f} % of the convolution parameters "
        f"and {100 * macs:.1f} % of the MACs with them",
        images_of(model) if criterion != "scale" else None,
        evidence={
            "dead": lost.filters,
            "filters": totals.filters,
            "params_lost": lost.params,
            "params": totals.params,
            "macs_lost": lost.macs,
            "macs": totals.macs,
            "held_back": lost.held_back,
        },
    )


@measure("model")
def coverage(model: ModelReport) -> Measurement:
    """Share of feature layers of which both criteria, scale and activation, were decided, 0–1."""
    if model.corpus is None:
        return unmeasured("activations were not measured: needs --data")
    found = model.coverage
    if found.fraction is None:
        return unmeasured("the model has no feature layers")
    reasons = sorted({skipped.reason for skipped in found.skipped})
    return Measurement(
        found.fraction,
        f"both criteria decided in {100 * found.fraction:.1f} % of {len(model.layers)} feature layers",
        images_of(model),
        evidence={"skipped": [skipped.layer for skipped in found.skipped], "reasons": reasons},
    )


@measure("model", "count")
def images_seen(model: ModelReport) -> Measurement:
    """Images that the activation verdicts rest on; a filter silent on N fires on at most 3/N, at 95 %."""
    if model.corpus is None:
        return unmeasured("no images were seen: needs --data")
    seen = model.corpus.images
    bound = 3 / max(seen, 1)
    return Measurement(
        float(seen),
        f"{seen:,} images seen: a filter silent on all of them fires on at most {bound:.2g} of images (95 %)",
        seen,
        evidence={"images": seen, "available": model.corpus.available, "firing_rate_bound": bound},
    )


@measure("model", "ratio")
def error_over_chance(model: ModelReport) -> Measurement:
    """Classification error divided by that of guessing; 1 is no better than chance."""
    if model.error is None:
        reason = "needs --data" if model.corpus is None else "the model's output is not one logit per class"
        return unmeasured(f"no classification error was measured: {reason}")
    chance = 1 - 1 / max(model.error.classes, 2)
    return Measurement(
        model.error.top1 / chance,
        f"error {100 * model.error.top1:.2f} % on {model.error.images:,} {model.error.split} images; "
        f"guessing gives {100 * chance:.2f} %",
        model.error.images,
        evidence={"top1": model.error.top1, "chance": chance, "classes": model.error.classes},
    )


@measure("model", "count")
def nonfinite(model: ModelReport) -> Measurement:
    """Number of tensors, and of layers' activations, that hold NaN or infinity."""
    layers = [layer.key for layer in model.layers if layer.nonfinite_images]
    count = len(model.nonfinite_tensors) + len(layers)
    places = [*model.nonfinite_tensors, *(f"activations of {key}" for key in layers)]
    message = f"NaN or infinity in {', '.join(places[:3])}{' …' if count > 3 else ''}" if count else "all finite"
    return Measurement(
        float(count),
        message,
        images_of(model),
        evidence={"tensors": model.nonfinite_tensors, "layers": layers},
    )
