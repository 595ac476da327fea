"""Quantities of one feature layer."""

from __future__ import annotations

from typing import Literal

from sparsity_audit.measures.registry import Measurement, measure, unmeasured
from sparsity_audit.schema.report import EvidenceValue, LayerReport, ModelReport
from sparsity_audit.thresholds import ACTIVATION_THRESHOLD, CONSTANT_TOLERANCE, GAMMA_THRESHOLD

NO_GAMMA = "no normalisation with γ belongs to this layer"
NO_DATA = "activations were not measured: needs --data"
NO_NONLINEARITY = "no nonlinearity follows before the filters meet others"


def inactive_by_scale(layer: LayerReport, threshold: float = GAMMA_THRESHOLD) -> list[int] | None:
    """Return the filters with |γ| below ``threshold``; None where the layer has no γ. A NaN is not below it."""
    if layer.gamma is None:
        return None
    return [i for i, gamma in enumerate(layer.gamma) if gamma is not None and abs(gamma) < threshold]


def inactive_by_activation(layer: LayerReport, threshold: float = ACTIVATION_THRESHOLD) -> list[int] | None:
    """Return the filters whose |activation| never exceeded ``threshold``; None without data."""
    if layer.activation is None or layer.maximum is None or layer.minimum is None:
        return None
    return [
        i
        for i, (high, low) in enumerate(zip(layer.maximum, layer.minimum, strict=True))
        if high is not None and low is not None and max(abs(high), abs(low)) <= threshold
    ]


def dead_filters(layer: LayerReport) -> list[int] | None:
    """Return the filters that are inactive by scale or by activation; None where neither was decided."""
    if layer.scale is None and layer.activation is None:
        return None
    return sorted({*(layer.scale or []), *(layer.activation or [])})


def active_filters(layer: LayerReport) -> list[int]:
    """Return the filters that are active on the corpus, those with NaN or infinity left out; needs data."""
    silent = set(layer.activation or [])
    return [i for i, high in enumerate(layer.maximum or []) if high is not None and i not in silent]


def images_of(model: ModelReport) -> int | None:
    """Return how many images the statistics rest on."""
    return model.corpus.images if model.corpus is not None else None


@measure("layer")
def dead_fraction(
    layer: LayerReport,
    model: ModelReport,
    *,
    criterion: Literal["scale", "activation", "union"] = "union",
    threshold: float | None = None,
) -> Measurement:
    """Share of the layer's filters that are inactive, 0–1 (Sec. 2.1).

    ``threshold`` is on |γ| for scale (1e-3) and on |activation| for activation (1e-12).
    """
    if criterion == "union" and threshold is not None:
        return unmeasured("a threshold belongs to one criterion, scale or activation; the union has two")
    n = None if criterion == "scale" else images_of(model)
    if criterion == "scale":
        gamma_threshold = GAMMA_THRESHOLD if threshold is None else threshold
        dead, how, missing = inactive_by_scale(layer, gamma_threshold), f"|γ| < {gamma_threshold:g}", NO_GAMMA
    elif criterion == "activation":
        limit = ACTIVATION_THRESHOLD if threshold is None else threshold
        how, missing = f"max |activation| ≤ {limit:g} on {n or 0:,} images", NO_DATA
        dead = inactive_by_activation(layer, limit)
    else:
        dead, how, missing = dead_filters(layer), "by scale or activation", f"{NO_GAMMA}, and no --data"
        how = how if layer.activation is not None else "by scale"
    if dead is None:
        return unmeasured(missing)
    return Measurement(
        len(dead) / layer.filters,
        f"{len(dead)} of {layer.filters} filters inactive ({how})",
        n,
        evidence={"dead": len(dead), "filters": layer.filters, "indices": dead, **_silence(criterion, n)},
    )


def _silence(criterion: str, images: int | None) -> dict[str, float]:
    """Return how sure silence is: a filter silent on N images fires on at most 3/N of them, at 95 %."""
    return {} if criterion == "scale" or not images else {"firing_rate_bound": 3 / images}


@measure("layer")
def constant_fraction(layer: LayerReport, model: ModelReport, *, tolerance: float = CONSTANT_TOLERANCE) -> Measurement:
    """Share of the layer's filters whose output is one constant other than zero, 0–1."""
    if layer.constant is None or layer.maximum is None or layer.minimum is None:
        return unmeasured(NO_DATA)
    silent = set(inactive_by_activation(layer) or [])
    constant = [
        i
        for i, (high, low) in enumerate(zip(layer.maximum, layer.minimum, strict=True))
        if high is not None and low is not None and high - low <= tolerance and i not in silent
    ]
    return Measurement(
        len(constant) / layer.filters,
        f"{len(constant)} of {layer.filters} filters constant, not zero (max − min ≤ {tolerance:g})",
        images_of(model),
        evidence={
            "constant": len(constant),
            "filters": layer.filters,
            "indices": constant,
            "values": [layer.maximum[i] or 0.0 for i in constant],
            "tolerance": tolerance,
        },
    )


@measure("layer")
def selectivity(layer: LayerReport, model: ModelReport) -> Measurement:
    """Mean selectivity (1 − universality) of the layer's active filters, 0–1 (Sec. 2.3)."""
    if layer.selectivity is not None:
        active = active_filters(layer)
        bounds = layer.universality_bound or [0.0] * layer.filters
        bound = sum(bounds[i] for i in active) / max(len(active), 1)
        margin = f" ± {bound:.3f}" if bound else ""
        evidence: dict[str, EvidenceValue] = {"bound": bound} if bound else {}
        return Measurement(
            layer.selectivity,
            f"mean selectivity {layer.selectivity:.3f}{margin} over {len(active)} active filters",
            images_of(model),
            evidence={
                "active": len(active),
                "inactive": len(layer.activation or []),
                "filters": layer.filters,
                **evidence,
            },
        )
    if layer.activation is None:
        return unmeasured(NO_DATA)
    return unmeasured(
        NO_NONLINEARITY if layer.universality is None else "no filter of this layer is active on the corpus"
    )
