"""The low-gradient decay of a scalar (Figure 4, and Figure 3 of the supplement)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from sparsity_audit.errors import UsageError
from sparsity_audit.plots.style import INK, LOOKS, NAMES, SMALL, new_figure, short, styled
from sparsity_audit.studies.simulate import BAND, Curve, Simulation
from sparsity_audit.thresholds import GAMMA_THRESHOLD

_MARKERS = 8
_LOWEST = 1e-5
"""Bottom of the axes: far below the threshold nothing is of interest any more."""


def decay_figure(simulation: Simulation) -> Figure:
    """Draw |θ| over the steps: a row a λ, a column a regulariser, a curve an optimizer.

    Curves are means over the draws; a band holds 90 % of them.

    Raises:
        UsageError: a simulation without curves.
    """
    if not simulation.curves:
        raise UsageError("the simulation holds no curve to draw")
    strengths = list(dict.fromkeys(curve.strength for curve in simulation.curves))
    kinds = list(dict.fromkeys(curve.kind for curve in simulation.curves))
    names = list(dict.fromkeys(curve.optimizer for curve in simulation.curves))
    with styled():
        figure = new_figure(2.2 + 3.0 * len(kinds), 1.0 + 1.6 * len(strengths))
        grid = figure.subplots(len(strengths), len(kinds), sharex=True, sharey=True, squeeze=False)
        for row, strength in zip(grid, strengths, strict=True):
            for axes, kind in zip(row, kinds, strict=True):
                _panel(axes, simulation, names, kind, strength)
        for axes in grid[:, 0]:
            axes.set_ylabel("|θ|")
        for axes in grid[-1]:
            axes.set_xlabel("steps")
        _legend(figure, grid[0, 0])
    return figure


def _panel(axes: Axes, simulation: Simulation, names: Sequence[str], kind: str, strength: float) -> None:
    axes.set_title(f"{NAMES[kind]}, λ = {short(strength)}")
    axes.set_yscale("log")
    axes.set_ylim(_LOWEST, 2.0)
    axes.yaxis.set_major_locator(LogLocator(10.0, numticks=4))
    axes.yaxis.set_major_formatter(short)
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_xlim(0, simulation.steps)
    axes.axhline(GAMMA_THRESHOLD, color=INK, linewidth=0.8, label=f"inactive below {short(GAMMA_THRESHOLD)}")
    for index, name in enumerate(names):
        _draw(axes, simulation.at, simulation.curve(name, kind, strength), index)


def _draw(axes: Axes, at: Sequence[int], curve: Curve, index: int) -> None:
    look = LOOKS[curve.optimizer]
    # Staggered, so that the markers of curves that run together don't hide each other.
    apart = max(1, len(at) // _MARKERS)
    axes.plot(
        at,
        curve.mean,
        color=look.colour,
        linestyle=look.line,
        marker=look.marker,
        markevery=(index * apart // len(LOOKS), apart),
        label=f"{NAMES[curve.optimizer]} {short(curve.lr)}",
        gid=f"{curve.optimizer}-{curve.kind}-{short(curve.strength)}",
    )
    axes.fill_between(at, np.maximum(curve.low, _LOWEST / 10), curve.high, color=look.colour, alpha=0.15, linewidth=0)


def _legend(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    title = f"mean |θ|; bands: {100 * (BAND[1] - BAND[0]):.0f} %\nof the draws; beside the\nname: learning rate"
    figure.legend(handles, labels, loc="outside right upper", title=title, title_fontsize=SMALL, handlelength=4.5)
