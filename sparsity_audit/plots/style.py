"""One look for every picture: readable in grey, no glance at whoever's matplotlib settings, no global state."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from sparsity_audit.reporters.text import clip, printable
from sparsity_audit.specs.slug import short_number

BASE = 9.0
SMALL = 8.0
"""Font sizes in points; nothing is smaller."""
DPI = 160
INK = "#222222"
GRID = "#dddddd"
FAINT = "#bbbbbb"
BLUE = "#0072b2"
LIGHT_BLUE = "#8fbbda"
LIGHT_ORANGE = "#e69f00"

_SETTINGS: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": BASE,
    "axes.titlesize": BASE,
    "axes.labelsize": BASE,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": SMALL,
    "figure.titlesize": BASE + 1,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.5,
    "lines.markersize": 5.0,
    "hatch.linewidth": 0.6,
    "legend.frameon": False,
    "figure.dpi": DPI,
    "savefig.dpi": DPI,
    "text.parse_math": False,  # a $ in somebody's layer key is no formula
    "svg.hashsalt": "sparsity-audit",
}


class Look(NamedTuple):
    """How one series is drawn; any of the three tells it from the others."""

    colour: str
    line: Any
    """A line style of matplotlib's: a letter or two, or the lengths of dashes and gaps."""
    marker: str


# Okabe and Ito's palette, which colour-blind readers can tell apart, without its yellow.
LOOKS = {
    "adam": Look("#0072b2", "-", "o"),
    "sgd": Look("#d55e00", (0, (5, 2)), "s"),
    "amsgrad": Look("#56b4e9", (0, (3, 1, 1, 1)), "^"),
    "adagrad": Look("#009e73", (0, (1, 1)), "D"),
    "adadelta": Look("#e69f00", (0, (8, 2, 2, 2)), "v"),
    "rmsprop": Look("#cc79a7", (0, (4, 1, 1, 1, 1, 1)), "P"),
    "adamax": Look("#222222", (0, (2, 2)), "X"),
}
"""The optimizers, alike in every picture."""
NAMES = {
    "sgd": "SGD",
    "adam": "Adam",
    "adadelta": "Adadelta",
    "adagrad": "Adagrad",
    "amsgrad": "AMSGrad",
    "rmsprop": "RMSProp",
    "adamax": "AdaMax",
    "none": "no regularizer",
    "l2": "L2",
    "wd": "weight decay",
    "gamma_l1": "L1 on γ",
}
"""Optimizers and regularisers as the paper writes them."""


@contextmanager
def styled() -> Iterator[None]:
    """Draw in the house's style, whatever the user's settings are; theirs are back afterwards."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_SETTINGS)
        yield


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure, inches wide and high, laid out so that nothing overlaps or is cut."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def label(text: str, columns: int = 28, lines: int = 2) -> str:
    """Return foreign text for a title: printable, broken into lines of so many columns, cut where it is longer."""
    broken = textwrap.wrap(printable(text), columns, break_on_hyphens=True)
    if len(broken) > lines:
        broken = [*broken[: lines - 1], clip(" ".join(broken[lines - 1 :]), columns)]
    return "\n".join(broken)


def label_lowest(grid: NDArray[np.object_]) -> list[Axes]:
    """Return the lowest panel in use of each column of a grid that shares its x axis, with numbers on that axis."""
    columns = ([axes for axes in grid[:, column] if axes.axison] for column in range(grid.shape[1]))
    lowest = [column[-1] for column in columns if column]
    for axes in lowest:
        axes.tick_params(labelbottom=True)
    return lowest


def say(axes: Axes, text: str) -> None:
    """Say in the middle of a panel why it is empty."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", fontsize=SMALL, wrap=True)


def short(value: float, _: float = 0.0) -> str:
    """Return a number as the reports write it, 1e-3, not 10 to a raised power; formats ticks too."""
    return short_number(float(f"{value:.12g}"))
