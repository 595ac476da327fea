"""What became of each filter, one state each, as the HTML report's bars and points are coloured."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from sparsity_audit.schema.report import LayerReport, ModelReport

BAR_WIDTH = 200
"""Units of the viewBox that a whole layer takes."""

NAMES = {
    "both": "inactive by scale and by activation",
    "scale": "inactive by scale",
    "activation": "inactive by activation",
    "constant": "constant, not zero",
    "alive": "alive",
}
"""The states, in the order in which bars stack them."""


class Parts(NamedTuple):
    """Filters of a layer (or several) by state; disjoint, so that they add up."""

    both: int
    scale: int
    activation: int
    constant: int
    alive: int


class Segment(NamedTuple):
    """A piece of a bar; ``x`` and ``width`` in units of the viewBox."""

    state: str
    filters: int
    x: float
    width: float


def states_of(layer: LayerReport) -> dict[int, str]:
    """Return the state of each filter that is not alive, by index.

    A constant filter is constant, whatever its γ is: that it can't just be deleted is what matters. Without images
    the constant candidates stand for the constant ones.
    """
    return _states(layer.scale, layer.activation, layer.constant, layer.constant_candidates)


def _states(
    scale: list[int] | None, activation: list[int] | None, constant: list[int] | None, candidates: list[int] | None
) -> dict[int, str]:
    small, silent = set(scale or []), set(activation or [])
    constants = set((candidates if constant is None else constant) or [])
    states = dict.fromkeys(small, "scale") | dict.fromkeys(silent, "activation")
    states |= dict.fromkeys(small & silent, "both")
    return states | dict.fromkeys(constants, "constant")


def parts_of_layer(layer: LayerReport) -> Parts | None:
    """Return the layer's filters by state, or None where neither criterion was decided."""
    if layer.scale is None and layer.activation is None:
        return None
    return _parts(states_of(layer), layer.filters)


def _parts(states: dict[int, str], filters: int) -> Parts:
    found = list(states.values())
    both, scale, activation, constant = (found.count(name) for name in NAMES if name != "alive")
    return Parts(both, scale, activation, constant, max(filters - len(found), 0))


def parts_of_model(model: ModelReport) -> Parts | None:
    """Return the filters of all layers by state; of all norm features where the totals count those."""
    found = [parts for layer in model.layers if (parts := parts_of_layer(layer)) is not None]
    if model.totals.paired is not None:
        found += [
            _parts(_states(norm.scale, None, None, norm.constant_candidates), norm.features)
            for norm in model.norms
            if norm.scale is not None
        ]
    return Parts(*(sum(column) for column in zip(*found, strict=True))) if found else None


def segments(parts: Parts) -> list[Segment]:
    """Return the pieces of a bar from left to right, those that are not empty."""
    whole = sum(parts)
    drawn, x = [], 0.0
    for state, filters in zip(NAMES, parts, strict=True):
        if filters:
            width = BAR_WIDTH * filters / whole
            drawn.append(Segment(state, filters, round(x, 1), round(width, 1)))
            x += width
    return drawn


def words(parts: Parts, *, decided: bool) -> str:
    """Return a bar in words: ``49 inactive by scale, 79 alive``.

    Args:
        decided: whether constants were seen on images; else they are candidates.
    """
    named = dict(NAMES) if decided else NAMES | {"constant": "constant candidates"}
    pairs: Iterable[tuple[str, int]] = zip(named.values(), parts, strict=True)
    return ", ".join(f"{filters:,} {name}" for name, filters in pairs if filters) or "no filters"
