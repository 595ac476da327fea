"""How universal the filters of each layer are (Figures 3 and 5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from sparsity_audit.errors import UsageError, did_you_mean
from sparsity_audit.plots.style import BLUE, INK, LIGHT_ORANGE, label, label_lowest, new_figure, say, styled
from sparsity_audit.schema.report import LayerReport, ModelReport

BINS = 10
"""Bars of active filters: universality 0–10 %, 10–20 %, …; inactive filters have a bar of their own."""
_INACTIVE_AT = -8.0
_ACROSS = 7
"""Layers side by side; more of them go on below."""


def universality_figure(models: Mapping[str, ModelReport], layers: Sequence[str] | None = None) -> Figure:
    """Draw for each layer how many of its filters have which universality: a row a model, a column a layer.

    All panels have one scale, so that heights compare.

    Args:
        models: by what each is called in the picture.
        layers: keys of the layers to draw; all in which some model's universality was measured where left out.

    Raises:
        UsageError: no model, no measured universality, or a layer that no model has.
    """
    found = {name: {layer.key: layer for layer in model.layers} for name, model in models.items()}
    keys = _measured(found) if layers is None else _known(found, layers)
    blocks = [keys[start : start + _ACROSS] for start in range(0, len(keys), _ACROSS)]
    columns = len(blocks[0])
    with styled():
        figure = new_figure(1.3 + 1.5 * max(columns, 3), 0.9 + 1.5 * len(blocks) * len(found))
        grid = figure.subplots(len(blocks) * len(found), columns, sharex=True, sharey=True, squeeze=False)
        highest = 0.0
        for number, block in enumerate(blocks):
            rows = grid[number * len(found) : (number + 1) * len(found)]
            for row, (name, own) in zip(rows, found.items(), strict=True):
                row[0].set_ylabel(f"{label(name, 18, 3)}\nfilters, %")
                for axes, key in zip(row, block, strict=False):
                    highest = max(highest, _panel(axes, own.get(key)))
            for axes, key in zip(rows[0], block, strict=False):
                axes.set_title(label(key, 20))
        grid[0, 0].set(xlim=(_INACTIVE_AT - 7, 103), xticks=[0, 50, 100], ylim=(0, 1.05 * highest or 100))
        for axes in grid[-len(found) :, len(blocks[-1]) :].flat:
            axes.set_axis_off()
        for axes in label_lowest(grid):
            axes.set_xlabel("universality, %")
        _legend(figure)
    return figure


def _measured(found: Mapping[str, Mapping[str, LayerReport]]) -> list[str]:
    every = [layer for layers in found.values() for layer in layers.values() if layer.universality is not None]
    if not every:
        raise UsageError("universality was not measured in any layer; audit the model on data (--data) to draw it")
    return list(dict.fromkeys(layer.key for layer in every))


def _known(found: Mapping[str, Mapping[str, LayerReport]], layers: Sequence[str]) -> list[str]:
    known = list(dict.fromkeys(key for of_model in found.values() for key in of_model))
    for key in layers:
        if key not in known:
            raise UsageError(f"no model has a layer {key!r}{did_you_mean(key, known)}")
    if not layers or not known:
        raise UsageError("there is no layer to draw")
    return list(dict.fromkeys(layers))


def _panel(axes: Axes, layer: LayerReport | None) -> float:
    """Draw one layer of one model and return the height of its highest bar, in percent of the layer's filters."""
    if layer is None:
        say(axes, "no such layer")
        return 0.0
    if layer.universality is None:
        say(axes, "not measured")
        return 0.0
    inactive, counts = shares(layer)
    axes.bar(_INACTIVE_AT, inactive, width=8, color=LIGHT_ORANGE, edgecolor=INK, linewidth=0.6, hatch="////")
    width = 100 / BINS
    axes.bar(width * (np.arange(BINS) + 0.5), counts, width=width, color=BLUE, edgecolor="white", linewidth=0.6)
    return max(inactive, float(counts.max()))


def shares(layer: LayerReport) -> tuple[float, NDArray[np.float64]]:
    """Return the share of inactive filters, and of the active ones in each bin, in percent of all filters.

    A filter is inactive here that is inactive by activation: its universality is 0.
    """
    values = np.asarray(layer.universality, np.float64)
    active = np.ones(len(values), bool)
    active[layer.activation or []] = False
    if not len(values):
        return 0.0, np.zeros(BINS)
    counts, _ = np.histogram(values[active], bins=BINS, range=(0.0, 1.0))
    return 100 * float((~active).mean()), 100 * counts / len(values)


def _legend(figure: Figure) -> None:
    handles = [
        Patch(facecolor=LIGHT_ORANGE, edgecolor=INK, hatch="////", label="inactive on the corpus"),
        Patch(facecolor=BLUE, label="active"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
