"""Where labels of points go, so that they hide neither points nor each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.text import Annotation
from numpy.typing import NDArray

from sparsity_audit.plots.style import DPI

Place = tuple[float, float, Literal["left", "center", "right"], Literal["bottom", "center", "top"]]
"""Points to the right and up from what is labelled, and how the text is aligned there."""

_KEYS: list[Place] = [
    (1, 0, "left", "center"),
    (-1, 0, "right", "center"),
    (0, 1, "center", "bottom"),
    (0, -1, "center", "top"),
    (0.7, 0.7, "left", "bottom"),
    (0.7, -0.7, "left", "top"),
    (-0.7, 0.7, "right", "bottom"),
    (-0.7, -0.7, "right", "top"),
]
_PLACES: list[Place] = [(7 * far * x, 7 * far * y, across, up) for far in (1, 1.8, 2.8) for x, y, across, up in _KEYS]
"""The most readable first."""
_POINT = 4.0
"""Half the width of a point's marker, in points."""


def place_labels(
    axes: Axes,
    labels: Sequence[tuple[float, float, str]],
    clear: Sequence[tuple[float, float]],
    fontsize: float,
) -> None:
    """Write a label beside each point, where there is room; where there is none, at the place that hides least.

    Call it when all else is drawn and laid out (``figure.draw_without_rendering()``); labels don't change the layout.

    Args:
        labels: x and y of the point in data coordinates, and the text.
        clear: what should not be hidden, in data coordinates.
    """
    half = _POINT * DPI / 72
    centres = axes.transData.transform([*clear, *((x, y) for x, y, _ in labels)])
    taken = np.hstack([centres - half, centres + half])  # [things, 4]: left, bottom, right, top in pixels
    inside = np.array([axes.bbox.extents])
    for x, y, text in labels:
        if not text:
            continue
        note = axes.annotate(text, (x, y), (0, 0), textcoords="offset points", fontsize=fontsize)
        note.set_in_layout(False)
        boxes = np.array([_extents(note, place) for place in _PLACES])
        outside = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) - _overlaps(boxes, inside)
        best = int(np.argmin((_overlaps(boxes, taken) + outside).round(3)))
        _move(note, _PLACES[best])
        taken = np.vstack([taken, boxes[best]])


def _move(note: Annotation, place: Place) -> None:
    right, up, horizontal, vertical = place
    note.set_position((right, up))
    note.set(ha=horizontal, va=vertical)


def _extents(note: Annotation, place: Place) -> NDArray[np.float64]:
    _move(note, place)
    return np.asarray(note.get_window_extent().extents)


def _overlaps(boxes: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how many square pixels of each box lie over the others, [boxes]."""
    left_bottom = np.maximum(boxes[:, None, :2], others[None, :, :2])
    right_top = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    areas: NDArray[np.float64] = np.maximum(right_top - left_bottom, 0.0).prod(axis=2).sum(axis=1)
    return areas
