"""A family of slim networks: test error over what is left of MACs and parameters."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from sparsity_audit.errors import UsageError
from sparsity_audit.plots.places import place_labels
from sparsity_audit.plots.style import BLUE, FAINT, INK, LIGHT_ORANGE, SMALL, label, new_figure, short, styled
from sparsity_audit.reporters.text import percent
from sparsity_audit.schema.slim_tables import Cost, ParetoPoint, ParetoReport

_NAMES: dict[Cost, str] = {"macs": "MACs for one image", "params": "convolution parameters"}
_UNITS = {0: "", 1: "thousands", 2: "millions", 3: "billions", 4: "trillions"}
_LOGARITHMIC = 5.0
"""Errors that differ by more than this factor have a logarithmic axis: what matters lies at its low end."""
Look = dict[str, Any]
"""How points are drawn: settings of matplotlib's."""
_ORIGINAL: Look = {"marker": "X", "color": INK, "markersize": 8.0}
_THRESHOLD: Look = {
    "marker": "o",
    "color": LIGHT_ORANGE,
    "markersize": 11.0,
    "markerfacecolor": "none",
    "markeredgewidth": 1.8,
}
_BEST: Look = {"marker": "o", "color": BLUE}
_BEATEN: Look = {"marker": "s", "color": BLUE, "markerfacecolor": "white"}
_CUT: Look = {"marker": "v", "color": FAINT, "markersize": 4.0}


def pareto_figure(report: ParetoReport) -> Figure:
    """Draw a family: a panel over MACs and one over parameters, the original among the points.

    A line joins the original and the networks that none beats. Beside a point stands its number. Where the networks
    were tuned, what they were before hangs on them in grey.

    Raises:
        UsageError: a family without a network.
    """
    if not report.points:
        raise UsageError("no slim network to draw: no filter can go")
    with styled():
        figure = new_figure(9.0, 4.3)
        panels: Sequence[Axes] = figure.subplots(1, 2, sharey=True)
        for axes, cost in zip(panels, _NAMES, strict=True):
            _draw(axes, report, cost)
        _scale_errors(panels[0], report)
        panels[0].set_ylabel(f"test error on {report.before.images:,} images, %")
        figure.suptitle(label(report.path, 100))
        _legend(figure, report)
        figure.draw_without_rendering()
        for axes, cost in zip(panels, _NAMES, strict=True):
            _label(axes, report, cost)
    return figure


def _draw(axes: Axes, report: ParetoReport, cost: Cost) -> None:
    whole: int = getattr(report, cost)
    unit = _unit(whole)
    best = [point for point in report.points if cost in point.best_for]
    beaten = [point for point in report.points if cost not in point.best_for]
    threshold = [point for point in report.points if "paper" in point.aims]
    for point in report.points:
        if point.tuned is not None:
            x = getattr(point, cost) / unit
            axes.plot([x, x], [100 * point.test.error, 100 * point.tuned.error], color=FAINT, linewidth=0.8, zorder=1)
            axes.plot([x], [100 * point.test.error], linestyle="", zorder=1, **_CUT)
    front = _front(report, cost)
    axes.plot([x for x, _ in front], [y for _, y in front], color=BLUE, linestyle="-", linewidth=1.0, zorder=2)
    for points, look in ((beaten, _BEATEN), (best, _BEST), (threshold, _THRESHOLD)):
        axes.plot(*_places(points, cost, unit), linestyle="", zorder=3, **look)
    axes.plot([whole / unit], [100 * report.before.error], linestyle="", zorder=4, **_ORIGINAL)
    axes.set_xlim(0, 1.08 * whole / unit)
    axes.set_xlabel(", ".join(filter(None, (_NAMES[cost], _UNITS[round(math.log(unit, 1000))]))))


def _front(report: ParetoReport, cost: Cost) -> list[tuple[float, float]]:
    """Return the places of the original, where nothing beats it, and of the networks that nothing beats."""
    unit = _unit(getattr(report, cost))
    best = [point for point in report.points if cost in point.best_for]
    xs, ys = _places(best, cost, unit)
    if all(point.final.error > report.before.error for point in report.points):
        xs, ys = [getattr(report, cost) / unit, *xs], [100 * report.before.error, *ys]
    return sorted(zip(xs, ys, strict=True))


def _places(points: Sequence[ParetoPoint], cost: Cost, unit: float) -> tuple[list[float], list[float]]:
    return [getattr(point, cost) / unit for point in points], [100 * point.final.error for point in points]


def _unit(whole: int) -> float:
    """Return 1, a thousand, a million, …: what a number is best told in."""
    return float(1000 ** min(int(math.log(max(whole, 1), 1000) + 1e-9), max(_UNITS)))


def _scale_errors(axes: Axes, report: ParetoReport) -> None:
    errors = [100 * report.before.error]
    for point in report.points:
        errors += [100 * point.test.error, 100 * point.final.error]
    low, high = min(errors), max(errors)
    if low > 0 and high / low > _LOGARITHMIC:
        axes.set_yscale("log")
        axes.set_ylim(low / 1.4, min(high * 1.6, 170))
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(FuncFormatter(short))
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        room = 0.12 * (high - low) or 1.0
        axes.set_ylim(max(low - room, -room / 2), high + 1.5 * room)


def _label(axes: Axes, report: ParetoReport, cost: Cost) -> None:
    unit = _unit(getattr(report, cost))
    xs, ys = _places(report.points, cost, unit)
    numbers = [point.name.rpartition("-")[2] for point in report.points]
    clear = [*zip(xs, ys, strict=True), (getattr(report, cost) / unit, 100 * report.before.error)]
    clear += [(x, 100 * point.test.error) for x, point in zip(xs, report.points, strict=True)]
    along = np.geomspace if axes.get_yscale() == "log" else np.linspace
    for (left, low), (right, high) in itertools.pairwise(_front(report, cost)):
        clear += zip(np.linspace(left, right, 40).tolist(), along(low, high, 40).tolist(), strict=True)
    place_labels(axes, list(zip(xs, ys, numbers, strict=True)), clear, SMALL)


def _legend(figure: Figure, report: ParetoReport) -> None:
    kinds = [
        ({**_ORIGINAL, "linestyle": ""}, f"original, {percent(report.before.error, 2)}"),
        ({**_BEST, "linestyle": "-"}, "none has less\nat as low an error"),
        ({**_BEATEN, "linestyle": ""}, "another has"),
    ]
    if any("paper" in point.aims for point in report.points):
        kinds.append(({**_THRESHOLD, "linestyle": ""}, f"all with |γ| < {short(report.gamma_threshold)}\ngone"))
    if report.tuning is not None:
        kinds.append(({**_CUT, "linestyle": ""}, "before tuning"))
    handles = [Line2D([], [], linewidth=1.0, label=text, **look) for look, text in kinds]
    title = "numbers: slim-NN\nof the family"
    figure.legend(handles=handles, loc="outside right upper", title=title, title_fontsize=SMALL)
