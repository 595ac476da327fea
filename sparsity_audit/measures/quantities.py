"""What arms are compared by: quantities of one run, by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from sparsity_audit.schema.study_report import LayerFacts, RunFacts


@dataclass(frozen=True)
class Quantity:
    """A number that is known of a run, or is not."""

    name: str
    words: str
    """What it is, for messages: ``dead``, ``mean β of the last layers``."""
    of: Callable[[RunFacts], float | None]
    kind: Literal["share", "points", "number"] = "share"
    """A share (0–1), a difference of two shares, or a number that no percent belongs to."""

    def text(self, value: float) -> str:
        """Return a value in words."""
        if self.kind == "share":
            return f"{100 * value:.1f} % {self.words}"
        return f"{self.words} {self.difference(value)}"

    def difference(self, *values: float) -> str:
        """Return a difference of two values, or the ends of its interval, with sign and unit."""
        if self.kind == "number":
            return " to ".join(f"{value:+.3f}" for value in values)
        return " to ".join(f"{100 * value:+.1f}" for value in values) + " points"


def _third(layers: Sequence[LayerFacts]) -> int:
    """Return how many of the layers are the first, and how many the last: a third of them, rounded down."""
    return len(layers) // 3


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _inactive(layers: Sequence[LayerFacts]) -> float | None:
    """Return the mean over layers of the share inactive by scale, each layer counting once (Table 2's columns)."""
    if not layers or any(layer.inactive_by_scale is None for layer in layers):
        return None
    return _mean([(layer.inactive_by_scale or 0) / layer.filters for layer in layers])


def _late_selectivity(run: RunFacts) -> float | None:
    third = _third(run.layers)
    return _mean([layer.selectivity for layer in run.layers[-third:]]) if third else None


def _late_beta(run: RunFacts) -> float | None:
    third = _third(run.layers)
    return _mean([layer.mean_beta for layer in run.layers[-third:]]) if third else None


def _early_over_late(run: RunFacts) -> float | None:
    third = _third(run.layers)
    return _less(_inactive(run.layers[:third]), _inactive(run.layers[-third:])) if third else None


def _late_over_middle(run: RunFacts) -> float | None:
    third = _third(run.layers)
    return _less(_inactive(run.layers[-third:]), _inactive(run.layers[third:-third])) if third else None


def _early_over_next(run: RunFacts) -> float | None:
    third = _third(run.layers)
    return _less(_inactive(run.layers[:third]), _inactive(run.layers[third : third + 1])) if third else None


def _less(left: float | None, right: float | None) -> float | None:
    return None if left is None or right is None else left - right


ERROR = Quantity("error", "test error", lambda run: run.error)
BY_SCALE = Quantity("by_scale", "dead", lambda run: run.by_scale)
BY_ACTIVATION = Quantity("by_activation", "dead by activation", lambda run: run.by_activation)
SELECTIVITY = Quantity("selectivity", "selectivity", lambda run: run.selectivity)
CAPACITY_LOST = Quantity("capacity_lost", "of the convolution parameters lost", lambda run: run.capacity_lost)
QUANTITIES = {
    quantity.name: quantity
    for quantity in (
        ERROR,
        BY_SCALE,
        BY_ACTIVATION,
        SELECTIVITY,
        CAPACITY_LOST,
        Quantity("late_selectivity", "selectivity of the last third of the layers", _late_selectivity),
        Quantity("late_beta", "mean β of the last third of the layers", _late_beta, "number"),
        Quantity("early_over_late", "dead in the first third of the layers less the last", _early_over_late, "points"),
        Quantity(
            "late_over_middle", "dead in the last third of the layers less the middle", _late_over_middle, "points"
        ),
        Quantity("early_over_next", "dead in the first third of the layers less the next", _early_over_next, "points"),
        Quantity(
            "activation_over_scale",
            "dead by activation less by scale",
            lambda run: _less(run.by_activation, run.by_scale),
            "points",
        ),
        Quantity(
            "error_of_pruning",
            "test error with the filters inactive by scale zeroed less before",
            lambda run: _less(run.pruned_error, run.error),
            "points",
        ),
    )
}
"""By the names that claims use. A third of seven layers is two: C1–C2 and C6–C7 of BasicNet."""
