"""How much a layer's verdict hangs on a threshold or on the criterion."""

from __future__ import annotations

from sparsity_audit.measures.layer_measures import (
    NO_DATA,
    NO_GAMMA,
    images_of,
    inactive_by_activation,
    inactive_by_scale,
)
from sparsity_audit.measures.registry import Measurement, measure, unmeasured
from sparsity_audit.schema.report import LayerReport, ModelReport
from sparsity_audit.thresholds import ACTIVATION_THRESHOLD, GAMMA_THRESHOLD


@measure("layer")
def unstable_verdicts(
    layer: LayerReport, model: ModelReport, *, gamma_threshold: float = 1e-2, activation_threshold: float = 1e-4
) -> Measurement:
    """Share of the layer's filters that another threshold would judge otherwise, 0–1 (Sec. 2.1).

    A filter counts where the scale verdict at ``gamma_threshold`` differs from the one at 1e-3, or the activation
    verdict at ``activation_threshold`` from the one at 1e-12.
    """
    scale = _changed(inactive_by_scale(layer, GAMMA_THRESHOLD), inactive_by_scale(layer, gamma_threshold))
    activation = _changed(
        inactive_by_activation(layer, ACTIVATION_THRESHOLD), inactive_by_activation(layer, activation_threshold)
    )
    if scale is None and activation is None:
        return unmeasured(f"{NO_GAMMA}, and no --data")
    changed = sorted({*(scale or ()), *(activation or ())})
    tried = [f"|γ| {GAMMA_THRESHOLD:g} or {gamma_threshold:g}"] if scale is not None else []
    tried += [f"|activation| {ACTIVATION_THRESHOLD:g} or {activation_threshold:g}"] if activation is not None else []
    return Measurement(
        len(changed) / layer.filters,
        f"{len(changed)} of {layer.filters} verdicts depend on the threshold ({'; '.join(tried)})",
        images_of(model) if activation is not None else None,
        evidence={
            "indices": changed,
            "filters": layer.filters,
            "by_scale": None if scale is None else sorted(scale),
            "by_activation": None if activation is None else sorted(activation),
        },
    )


def _changed(usual: list[int] | None, other: list[int] | None) -> set[int] | None:
    return None if usual is None or other is None else set(usual) ^ set(other)


@measure("layer")
def criteria_disagree(layer: LayerReport, model: ModelReport) -> Measurement:
    """Share of the layer's filters that are dead by one criterion alone, constant ones not counted, 0–1 (Sec. 2.1).

    A constant filter is inactive by scale and not by activation by its nature; the evidence lists those apart.
    """
    if layer.scale is None:
        return unmeasured(NO_GAMMA)
    if layer.activation is None or layer.maximum is None:
        return unmeasured(NO_DATA)
    decided = {i for i, high in enumerate(layer.maximum) if high is not None}
    scale, activation, constant = set(layer.scale) & decided, set(layer.activation), set(layer.constant or [])
    scale_only, activation_only = sorted(scale - activation - constant), sorted(activation - scale)
    disagreeing = sorted([*scale_only, *activation_only])
    return Measurement(
        len(disagreeing) / layer.filters,
        f"{len(disagreeing)} of {layer.filters} filters dead by one criterion alone: "
        f"{len(scale_only)} by scale, {len(activation_only)} by activation",
        images_of(model),
        evidence={
            "indices": disagreeing,
            "filters": layer.filters,
            "scale_only": scale_only,
            "activation_only": activation_only,
            "constant": sorted(scale & constant),
        },
    )
