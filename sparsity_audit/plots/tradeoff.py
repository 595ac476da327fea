"""Sparsity against test error, regime by regime: what Table 1 says in numbers."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from sparsity_audit.errors import UsageError
from sparsity_audit.plots.places import place_labels
from sparsity_audit.plots.points import ELSEWHERE, Point, SparsityCriterion, points_of
from sparsity_audit.plots.style import (
    FAINT,
    INK,
    LOOKS,
    NAMES,
    SMALL,
    Look,
    label,
    new_figure,
    short,
    styled,
)
from sparsity_audit.reporters.text import plural
from sparsity_audit.schema.study_report import RunFacts

_KINDS = {
    "l2": Look("#0072b2", "-", "o"),
    "wd": Look("#d55e00", (0, (4, 2)), "s"),
    "gamma_l1": Look("#009e73", (0, (1, 1)), "^"),
    "none": Look(INK, "", "X"),
    "unknown": Look(INK, "", "D"),
}
_HOLLOW = ("wd", "unknown")
_ACROSS = 3
"""Panels side by side."""


def tradeoff_figure(runs: Sequence[RunFacts], criterion: SparsityCriterion = "scale") -> Figure:
    """Draw the share of inactive filters over the test error: a panel an optimizer and corpus, other runs in grey.

    Runs that differ in their seed only are one point, their mean, with bars from the least to the most; lines join
    the points that differ in λ only. Beside a point stands its λ. Runs that differ from most in more than optimizer,
    regulariser and λ have a panel of their own, with what that is beside the point. Networks that are dead as a whole
    would squeeze all others into a corner: they are counted below the picture.

    Raises:
        UsageError: no run whose test error and sparsity are both known.
    """
    found = points_of(runs, criterion)
    if not found:
        raise UsageError(f"no run has both a test error and a share of filters inactive by {criterion} to draw")
    points = [point for point in found if min(point.sparsities) < 1] or found
    shown = _panels(points)
    columns = min(_ACROSS, len(shown))
    rows = -(-len(shown) // columns)
    with styled():
        figure = new_figure(0.8 + 3.2 * columns, 1.0 + 2.8 * rows)
        grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
        for axes in grid.flat[len(shown) :]:
            axes.set_axis_off()
        for axes, panel in zip(grid.flat, shown, strict=False):
            _draw(axes, panel)
            _limits(axes, panel, points)
        unknown = len(runs) - sum(len(point.errors) for point in found)
        _name_axes(figure, criterion, unknown, len(runs) - unknown - sum(len(point.errors) for point in points))
        _legend(figure, points, others=any(len(panel.points) < len(panel.among) for panel in shown))
        figure.draw_without_rendering()
        for axes, panel in zip(grid.flat, shown, strict=False):
            _label(axes, panel)
    return figure


class _Panel(NamedTuple):
    """What one panel is about."""

    title: str
    points: list[Point]
    labels: list[str]
    among: list[Point]
    """All points of their corpus."""


def _panels(points: Sequence[Point]) -> list[_Panel]:
    """Return for each corpus and optimizer a panel of its usual runs, and one of those that are varied otherwise."""
    panels = []
    corpora = list(dict.fromkeys(point.corpus for point in points))
    for corpus in corpora:
        among = [point for point in points if point.corpus == corpus]
        place = f" on {corpus}" if corpus and len(corpora) > 1 else ""
        for optimizer in sorted({point.optimizer for point in among}, key=[*LOOKS, ELSEWHERE].index):
            own = [point for point in among if point.optimizer == optimizer]
            name = NAMES.get(optimizer, optimizer) + place
            usual, varied = [point for point in own if not point.words], [point for point in own if point.words]
            if usual:
                panels.append(_Panel(name, usual, [_strength(point) for point in usual], among))
            if varied:
                panels.append(_varied(name, varied, among))
    return panels


def _varied(name: str, points: list[Point], among: list[Point]) -> _Panel:
    """Return a panel of varied runs; a λ that all of them have stands in its title."""
    title = name if name == ELSEWHERE else f"{name}, varied"
    strengths = {_strength(point) for point in points}
    if len(strengths) == 1:
        told = f" (λ = {strengths.pop()})" if points[0].strength is not None else ""
        return _Panel(f"{title}{told}", points, [point.words for point in points], among)
    texts = [", ".join(filter(None, (_strength(point), point.words))) for point in points]
    return _Panel(title, points, texts, among)


def _strength(point: Point) -> str:
    return "" if point.strength is None else short(point.strength)


def _draw(axes: Axes, panel: _Panel) -> None:
    axes.set_title(panel.title)
    others = [point for point in panel.among if point not in panel.points]
    axes.plot(
        [100 * point.error for point in others],
        [100 * point.sparsity for point in others],
        linestyle="",
        marker=".",
        color=FAINT,
    )
    for regime in dict.fromkeys(point.regime for point in panel.points):
        own = [point for point in panel.points if point.regime == regime]
        _regime(axes, sorted(own, key=lambda point: point.strength or 0.0))


def _regime(axes: Axes, points: Sequence[Point]) -> None:
    """Draw the points of one regime, joined in the order of λ."""
    look = _KINDS[points[0].kind]
    errors, sparsities = [100 * point.error for point in points], [100 * point.sparsity for point in points]
    axes.errorbar(
        errors,
        sparsities,
        xerr=_reach(errors, [point.errors for point in points]),
        yerr=_reach(sparsities, [point.sparsities for point in points]),
        color=look.colour,
        linestyle=look.line,
        marker=look.marker,
        markerfacecolor=_fill(points[0].kind),
        elinewidth=0.8,
        linewidth=1.0,
    )


def _reach(means: Sequence[float], values: Sequence[tuple[float, ...]]) -> NDArray[np.float64]:
    """Return how far the seeds' values, 0–1, lie below and above their means, in percent: [2, points]."""
    below = [mean - 100 * min(each) for mean, each in zip(means, values, strict=True)]
    above = [100 * max(each) - mean for mean, each in zip(means, values, strict=True)]
    return np.maximum([below, above], 0.0)


def _fill(kind: str) -> str:
    return "white" if kind in _HOLLOW else _KINDS[kind].colour


def _limits(axes: Axes, panel: _Panel, points: Sequence[Point]) -> None:
    """Leave room around the points for labels; panels of one corpus have one scale, and all have one upwards."""
    errors = [100 * error for point in panel.among for error in point.errors]
    room = 0.15 * (max(errors) - min(errors)) or 1.0
    axes.set_xlim(min(errors) - room, max(errors) + room)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    top = 100 * max(max(point.sparsities) for point in points) or 1.0
    axes.set_ylim(-0.08 * top, 1.15 * top)


def _label(axes: Axes, panel: _Panel) -> None:
    labels = [
        (100 * point.error, 100 * point.sparsity, label(text, 18, 3))
        for point, text in zip(panel.points, panel.labels, strict=True)
    ]
    clear = [(100 * point.error, 100 * point.sparsity) for point in panel.among]
    for point in panel.points:
        clear += _along((min(point.errors), point.sparsity), (max(point.errors), point.sparsity))
        clear += _along((point.error, min(point.sparsities)), (point.error, max(point.sparsities)))
    for left, right in itertools.pairwise(
        sorted(panel.points, key=lambda point: (point.regime, point.strength or 0.0))
    ):
        if left.regime == right.regime:
            clear += _along((left.error, left.sparsity), (right.error, right.sparsity))
    place_labels(axes, labels, clear, SMALL)


def _along(start: tuple[float, float], end: tuple[float, float]) -> list[tuple[float, float]]:
    """Return places along a line between two shares, in percent."""
    across, up = (100 * np.linspace(left, right, 25) for left, right in zip(start, end, strict=True))
    return list(zip(across.tolist(), up.tolist(), strict=True))


def _name_axes(figure: Figure, criterion: SparsityCriterion, unknown: int, dead: int) -> None:
    figure.supylabel(f"filters inactive by {criterion}, %", fontsize=SMALL + 1)
    missing = f"\n{plural(unknown, 'run')} without one of the two: not shown" if unknown else ""
    missing += f"\n{plural(dead, 'run')} without a single active filter: not shown" if dead else ""
    figure.supxlabel(f"test error, %{missing}", fontsize=SMALL + 1)


def _legend(figure: Figure, points: Sequence[Point], *, others: bool) -> None:
    kinds = {point.kind for point in points}
    handles = [
        Line2D(
            [],
            [],
            color=look.colour,
            linestyle=look.line,
            marker=look.marker,
            markerfacecolor=_fill(kind),
            label=NAMES.get(kind, f"{kind} regularizer"),
        )
        for kind, look in _KINDS.items()
        if kind in kinds
    ]
    if others:
        handles.append(Line2D([], [], color=FAINT, linestyle="", marker=".", label="other runs"))
    repeated = any(len(point.errors) > 1 for point in points)
    words = "beside the points: λ, or\nwhat else is varied" + ("\nbars: range over seeds" if repeated else "")
    figure.legend(handles=handles, loc="outside right upper", title=words, title_fontsize=SMALL)
