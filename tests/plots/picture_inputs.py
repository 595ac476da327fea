"""Small inputs for pictures, and what a reader would find on them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.text import Text

from sparsity_audit.schema.report import Coverage, LayerReport, ModelReport, Totals
from sparsity_audit.schema.spec import ZooSpec
from sparsity_audit.schema.study_report import LayerFacts, RunFacts
from sparsity_audit.training.history import History


def history(
    steps: int = 6, filters: int = 40, layers: tuple[str, ...] = ("c1.conv", "c2.conv"), seed: int = 0
) -> History:
    """Return γ that shrink from 1, some to 0, and β around −0.1."""
    random = np.random.default_rng(seed)
    made = History()
    fall = random.uniform(0, 0.4, filters)
    for step in range(steps):
        values = {}
        for layer in layers:
            values[f"gamma/{layer}"] = np.maximum(1 - fall * step, 0).astype(np.float32)
            values[f"beta/{layer}"] = random.normal(-0.1, 0.05, filters).astype(np.float32)
        made.add(100 * step, values)
    return made


def layer(key: str, universality: list[float] | None, inactive: list[int] | None = None, **given: Any) -> LayerReport:
    """Return a layer with the universality of its filters."""
    filters = len(universality) if universality is not None else 4
    return LayerReport(
        **{
            "key": key,
            "norm": None,
            "nonlinearity": "relu",
            "filters": filters,
            "scale": None,
            "activation": inactive,
            "constant": None,
            "constant_candidates": None,
            "params": None,
            "macs": None,
            "lost": {},
            "selectivity": None,
            "universality": universality,
            "firing_rate": None,
            "gamma": None,
            "beta": None,
            "maximum": None,
            "minimum": None,
            "nonfinite_images": None,
            **given,
        }
    )


def model(*layers: LayerReport) -> ModelReport:
    """Return a report of a model with these layers."""
    return ModelReport(
        path="m",
        sha256="0",
        architecture=None,
        training=None,
        normalisation=None,
        corpus=None,
        error=None,
        coverage=Coverage(fraction=None, selectivity_fraction=None, audited=[], skipped=[]),
        layers=list(layers),
        norms=[],
        totals=Totals(layers=0, filters=0, paired=None, params=None, macs=None, lost={}),
        nonfinite_tensors=[],
        results=[],
        plan=None,
    )


def spec(optimizer: str = "adam", kind: str = "l2", strength: float = 1e-3, **given: Any) -> ZooSpec:
    """Return a spec of a small network on the digits."""
    content = {
        "network": {"name": "basicnet", "first": 8, "width": 0.125},
        "data": {"name": "digits", "test_size": 397, "flip": False},
        "optimizer": {"name": optimizer},
        "regularizer": {"kind": kind, "strength": 0 if kind == "none" else strength},
        "schedule": {"unit": "iterations", "total": 100},
        "batch_size": 40,
        **given,
    }
    return ZooSpec.model_validate(content)


def run(error: float | None, by_scale: float | None, of: ZooSpec | None = None, **given: Any) -> RunFacts:
    """Return the facts of a run; trained elsewhere without a spec."""
    content = {
        "name": "row",
        "path": "p",
        "digest": of.digest() if of else None,
        "spec": of,
        "training": of.settings() if of else None,
        "seed": of.seed if of else None,
        "error": error,
        "by_scale": by_scale,
        **given,
    }
    return RunFacts(**content)


def layers_of(**inactive: int | None) -> list[LayerFacts]:
    """Return layers of 20 filters with so many inactive by scale."""
    return [LayerFacts(key=key, filters=20, inactive_by_scale=count) for key, count in inactive.items()]


def shown_texts(figure: Figure) -> list[Text]:
    """Return every text that is drawn on a figure."""
    texts = list(figure.texts)  # titles and labels of the whole figure among them
    for legend in figure.legends:
        texts += [*legend.get_texts(), legend.get_title()]
    for axes in figure.axes:
        if axes.axison:
            texts += _texts_of(axes)
        else:
            texts += axes.texts
    return [text for text in texts if text.get_visible() and text.get_text().strip()]


def _texts_of(axes: Axes) -> list[Text]:
    titles = [axes.title, axes._left_title, axes._right_title]
    texts = [*titles, *axes.texts, axes.xaxis.label, axes.yaxis.label]
    for axis in (axes.xaxis, axes.yaxis):
        texts += _tick_texts(axis)
    return texts


def _tick_texts(axis: Axis) -> Iterator[Text]:
    low, high = sorted(axis.get_view_interval())
    for tick in axis.get_major_ticks():
        if low <= tick.get_loc() <= high and tick.label1.get_visible():
            yield tick.label1


def hidden_texts(figure: Figure) -> list[tuple[str, str]]:
    """Return the pairs of texts that overlap, once the figure is laid out; a text outside the figure pairs with ''."""
    figure.canvas.draw()
    boxes = [(text.get_text(), text.get_window_extent()) for text in shown_texts(figure)]
    whole = figure.bbox
    outside = [
        (text, "")
        for text, box in boxes
        if box.x0 < whole.x0 - 1 or box.y0 < whole.y0 - 1 or box.x1 > whole.x1 + 1 or box.y1 > whole.y1 + 1
    ]
    pairs = [
        (left[0], right[0])
        for left, right in itertools.combinations(boxes, 2)
        if min(left[1].x1, right[1].x1) - max(left[1].x0, right[1].x0) > 1
        and min(left[1].y1, right[1].y1) - max(left[1].y0, right[1].y0) > 1
    ]
    return outside + pairs
