"""Layers and plans made by hand."""

from __future__ import annotations

from typing import Any

from sparsity_audit.schema.plan import PlannedLayer, PruningPlan, Tolerances
from sparsity_audit.schema.report import (
    LayerReport,
    Lost,
)

SHA = "0123456789abcdef" * 4


def lost(filters: int, params: int | None = None, macs: int | None = None, held: int | None = None) -> Lost:
    return Lost(filters=filters, params=params, macs=macs, held_back=held)


def layer(key: str, **changes: Any) -> LayerReport:
    """Return a layer of 16 filters: 3 and 9 inactive by scale, 3 by activation, 9 constant."""
    values: dict[str, Any] = {
        "key": key,
        "norm": key.replace("conv", "bn"),
        "nonlinearity": "relu",
        "filters": 16,
        "scale": [3, 9],
        "activation": [3],
        "constant": [9],
        "constant_candidates": [9],
        "params": 2304,
        "macs": 2_359_296,
        "lost": {
            "scale": lost(2, 576, 589_824, 0),
            "activation": lost(1, 288, 294_912, 0),
            "constant": lost(1, 288, 294_912, 0),
            "union": lost(2, 576, 589_824, 144),
        },
        "selectivity": 0.3456,
        "universality": None,
        "firing_rate": None,
        "gamma": None,
        "beta": None,
        "maximum": None,
        "minimum": None,
        "nonfinite_images": 0,
    }
    return LayerReport(**(values | changes))


def bare_layer(key: str, **changes: Any) -> LayerReport:
    """Return a layer of which only the weights are known."""
    unknown = {
        "activation": None,
        "constant": None,
        "params": None,
        "macs": None,
        "lost": {"scale": lost(2), "union": lost(2)},
        "selectivity": None,
        "nonlinearity": None,
        "nonfinite_images": None,
    }
    return layer(key, **(unknown | changes))


def total(values: Any) -> int | None:
    """Return the sum, or None where a part is unknown."""
    known = list(values)
    return None if None in known else sum(known)


def plan(layers: list[LayerReport]) -> PruningPlan:
    planned = [
        PlannedLayer(
            key=item.key,
            filters=item.filters,
            removed=item.scale or [],
            classes={"lossless": (item.scale or [])[:1], "silent": [], "small": (item.scale or [])[1:]},
            params_saved=None if item.params is None else 432,
            macs_saved=None if item.macs is None else 442_368,
            held_back=None if item.params is None else 144,
            evidence="|γ| < 0.001 and silent on 50,000 images",
        )
        for item in layers
    ]
    known = all(item.params is not None for item in layers)
    before = sum(item.params or 0 for item in layers)
    macs = sum(item.macs or 0 for item in layers)
    return PruningPlan(
        model_sha256=SHA,
        criterion="union",
        tolerances=Tolerances(gamma=1e-3, activation=1e-12, constant=1e-6),
        images=50_000,
        layers=planned,
        params_before=before if known else None,
        params_after=before - 432 * len(layers) if known else None,
        macs_before=macs if known else None,
        macs_after=macs - 442_368 * len(layers) if known else None,
    )
