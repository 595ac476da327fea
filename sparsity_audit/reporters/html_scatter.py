"""The γ/β scatter of the HTML report: every filter a point on a pixel grid; the template draws."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from sparsity_audit.reporters.html_states import NAMES, states_of
from sparsity_audit.reporters.text import number
from sparsity_audit.schema.report import LayerReport, ModelReport

WIDTH, HEIGHT = 640, 340
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 12, 42
_LINEAR = 1e-4
"""|γ| up to which the x axis is linear; beyond it each factor of 10 takes the same room."""
THRESHOLD = 1e-3
"""|γ| below which a filter is inactive by scale (Sec. 2.1)."""
_LARGEST = 1e30
"""Points beyond it are drawn at the edge."""
MARKS = {
    "alive": "h0",
    "scale": "m-3-3h6v6h-6z",
    "activation": "m-3-3l6 6m0-6l-6 6",
    "both": "m-4 0h8m-4-4v8",
    "constant": "m-4 0l4-4 4 4-4 4z",
}
"""A shape for each state, around the point: dot, square, cross, plus, diamond."""


class Tick(NamedTuple):
    """A mark on an axis, in pixels."""

    at: int
    label: str


class Points(NamedTuple):
    """Filters of one state in one layer, or in all layers (None), as a path."""

    layer: int | None
    path: str


class Scatter(NamedTuple):
    """All that is drawn; in pixels of a viewBox of ``WIDTH`` × ``HEIGHT``."""

    groups: dict[str, list[Points]]
    """By state, those that stay visible last."""
    counts: dict[str, int]
    """Filters by state, those that share a pixel too."""
    band: tuple[int, int]
    """Left and right end of |γ| < 1e-3."""
    zero: int | None
    """Where β = 0 lies."""
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    left_out: int
    """Filters without a finite γ and β."""


class _Filter(NamedTuple):
    layer: int
    state: str
    x: float
    """Along the axis, in decades."""
    beta: float


class _Axis(NamedTuple):
    """Values from ``low`` to ``high`` on pixels from ``start`` to ``end``."""

    low: float
    high: float
    start: int
    end: int

    def pixel(self, value: float, grid: int = 1) -> int:
        inside = min(max(value, self.low), self.high)
        along = (inside - self.low) / (self.high - self.low)
        return grid * round((self.start + along * (self.end - self.start)) / grid)


def scatter(model: ModelReport, *, grid: int, by_layer: bool) -> Scatter | None:
    """Return the model's filters as points, or None where no filter has γ and β.

    Args:
        grid: pixels that a point's place is rounded to; points of one state (and layer) that meet are drawn once.
        by_layer: keep layers apart, so that one of them can be pointed out.
    """
    found = [item for i, layer in enumerate(model.layers) for item in _filters(i, layer)]
    if not found:
        return None
    x_axis, y_axis = _x_axis(found), _y_axis(found)
    places: dict[str, dict[int | None, set[tuple[int, int]]]] = {state: {} for state in reversed(NAMES)}
    for item in found:
        place = x_axis.pixel(item.x, grid), y_axis.pixel(item.beta, grid)
        places[item.state].setdefault(item.layer if by_layer else None, set()).add(place)
    states = [item.state for item in found]
    filters = sum(max(len(layer.gamma or []), len(layer.beta or [])) for layer in model.layers)
    return Scatter(
        groups={
            state: [Points(layer, _path(points, MARKS[state])) for layer, points in layers.items()]
            for state, layers in places.items()
        },
        counts={state: states.count(state) for state in NAMES},
        band=(x_axis.pixel(-_decades(THRESHOLD)), x_axis.pixel(_decades(THRESHOLD))),
        zero=y_axis.pixel(0.0) if y_axis.low <= 0 <= y_axis.high else None,
        x_ticks=_x_ticks(x_axis),
        y_ticks=[Tick(y_axis.pixel(value), number(value)) for value in _round_values(y_axis.low, y_axis.high)],
        left_out=filters - len(found),
    )


def _filters(index: int, layer: LayerReport) -> Iterator[_Filter]:
    states = states_of(layer)
    for i, (gamma, beta) in enumerate(zip(layer.gamma or [], layer.beta or [], strict=False)):
        if gamma is None or beta is None or not (math.isfinite(gamma) and math.isfinite(beta)):
            continue
        yield _Filter(index, states.get(i, "alive"), _decades(gamma), min(max(beta, -_LARGEST), _LARGEST))


def _decades(gamma: float) -> float:
    """Return where γ lies: linear up to ±1e-4, which is ±1, and one more for each factor of 10 beyond."""
    size = abs(gamma)
    along = size / _LINEAR if size <= _LINEAR else 1 + math.log10(min(size, _LARGEST) / _LINEAR)
    return math.copysign(along, gamma)


def _x_axis(found: list[_Filter]) -> _Axis:
    """Return the axis of γ, the whole band of |γ| < 1e-3 in it."""
    edge = _decades(THRESHOLD)
    low, high = min(item.x for item in found), max(item.x for item in found)
    return _Axis(min(low, -edge) - 0.25, max(high, edge) + 0.25, LEFT, WIDTH - RIGHT)


def _y_axis(found: list[_Filter]) -> _Axis:
    low, high = min(item.beta for item in found), max(item.beta for item in found)
    margin = 0.06 * (high - low) or max(abs(high), 1.0)
    return _Axis(low - margin, high + margin, HEIGHT - BOTTOM, TOP)


def _path(points: set[tuple[int, int]], mark: str) -> str:
    return "".join(f"M{x} {y}{mark}" for x, y in sorted(points))


def _x_ticks(axis: _Axis) -> list[Tick]:
    """Return ticks at 0 and at powers of 10 from the threshold on, thinned out where they would collide."""
    powers = range(-3, 31)
    step = max(1, math.ceil((axis.high - axis.low) / 14))
    values = [0.0] + [sign * 10.0**power for power in powers[::step] for sign in (1, -1)]
    shown = sorted(value for value in values if axis.low <= _decades(value) <= axis.high)
    return [Tick(axis.pixel(_decades(value)), number(value)) for value in shown]


def _round_values(low: float, high: float) -> list[float]:
    """Return a handful of round numbers between two others."""
    rough = (high - low) / 7
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    return [i * step for i in range(math.ceil(low / step), math.floor(high / step) + 1)]
