"""How γ and β of a layer's filters move while it trains (Figure 2)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from sparsity_audit.errors import UsageError, did_you_mean
from sparsity_audit.plots.style import INK, label, new_figure, say, styled
from sparsity_audit.thresholds import GAMMA_THRESHOLD
from sparsity_audit.training.history import History

BANDS = ((0.0, 1.0, "#c6dcec"), (0.05, 0.95, "#8fbbda"), (0.25, 0.75, "#4c93c3"))
"""Quantiles over the filters, the widest first, and what each band is filled with: darker towards the middle."""
_BAND_NAMES = ("all filters", "90 % of the filters", "50 % of the filters")
_PARTS = (("gamma", "scale γ"), ("beta", "shift β"))


def affine_figure(histories: Mapping[str, History], layer: str) -> Figure:
    """Draw the distribution of γ (top) and β (bottom) over a layer's filters, a column a training.

    Args:
        histories: by what each is called in the picture.
        layer: key of the layer; its γ and β are the series ``gamma/<key>`` and ``beta/<key>``.

    Raises:
        UsageError: no history, or one without the layer; one line names it.
    """
    if not histories:
        raise UsageError("there is no history to draw")
    series = {name: _series(name, history, layer) for name, history in histories.items()}
    with styled():
        figure = new_figure(1.2 + 2.7 * max(len(series), 2), 4.4)
        figure.suptitle(label(f"layer {layer}", 60))
        grid = figure.subplots(2, len(series), sharex="col", sharey="row", squeeze=False)
        for column, (name, parts) in enumerate(series.items()):
            steps = histories[name].steps
            for row, (values, (_, words)) in enumerate(zip(parts, _PARTS, strict=True)):
                _bands(grid[row, column], steps, values)
                grid[row, 0].set_ylabel(words)
            grid[0, column].set_title(f"{label(name)}\n{_inactive(parts[0])}")
            grid[1, column].set_xlabel("steps")
        _legend(figure)
    return figure


def _series(name: str, history: History, layer: str) -> list[NDArray[np.float64]]:
    """Return γ and β of the layer, [T, filters] each."""
    if not history.steps:
        raise UsageError(f"the history of {name} holds no step; there is nothing to draw")
    known = sorted({key.partition("/")[2] for key in history.names})
    try:
        return [np.asarray(history.series(f"{part}/{layer}"), np.float64) for part, _ in _PARTS]
    except KeyError:
        raise UsageError(f"the history of {name} has no γ and β of {layer!r}{did_you_mean(layer, known)}") from None


def _bands(axes: Axes, steps: list[int], values: NDArray[np.float64]) -> None:
    """Draw quantiles over the filters; steps at which no value is finite stay empty."""
    finite = np.isfinite(values)
    shown = finite.any(axis=1)
    if not shown.any():
        say(axes, "no filters" if not values.shape[1] else "no finite value")
        return
    at = np.array(steps)[shown]
    kept = np.where(finite, values, np.nan)[shown]
    for low, high, colour in BANDS:
        lower, upper = np.nanquantile(kept, [low, high], axis=1)
        if len(at) > 1:
            axes.fill_between(at, lower, upper, color=colour, linewidth=0)
        else:  # a band of one point has no area
            axes.vlines(at, lower, upper, color=colour, linewidth=12)
    marker = "" if len(at) > 1 else "_"
    axes.plot(at, np.nanmedian(kept, axis=1), color=INK, marker=marker, markersize=14, label="median")
    axes.axhline(0.0, color=INK, linewidth=0.8, linestyle=(0, (2, 2)))
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    if len(at) > 1:
        axes.set_xlim(at[0], at[-1])


def _inactive(gamma: NDArray[np.float64]) -> str:
    inactive = int((np.abs(gamma[-1]) < GAMMA_THRESHOLD).sum())
    return f"inactive at the end: {inactive} of {gamma.shape[1]}"


def _legend(figure: Figure) -> None:
    bands = [Patch(color=colour, label=name) for (_, _, colour), name in zip(BANDS, _BAND_NAMES, strict=True)]
    median = Line2D([], [], color=INK, label="median")
    figure.legend(handles=[*bands, median], loc="outside lower center", ncols=4)
