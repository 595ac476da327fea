"""Names and shapes of tensors: all that is known of a network before it is known which one it is."""

from __future__ import annotations

from collections.abc import Mapping

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]
"""Shapes by tensor name, as in a state dict."""

SHOWN = 3
"""Differences that a message names; the rest is counted."""


def is_counter(name: str) -> bool:
    """Return whether a tensor counts a norm's batches: old files lack it, and inference never reads it."""
    return name.endswith("num_batches_tracked")


def without_counters(shapes: Shapes) -> dict[str, Shape]:
    """Return the shapes without the batch counters."""
    return {name: tuple(shape) for name, shape in shapes.items() if not is_counter(name)}


def share_equal(expected: Shapes, given: Shapes) -> tuple[float, int]:
    """Return the share of equal (name, shape) pairs among the names of both sides, and the count of equal names."""
    common = [name for name in given if name in expected]
    equal = sum(expected[name] == given[name] for name in common)
    union = len(expected) + len(given) - len(common)
    return (equal / union if union else 0.0), len(common)


def differences(expected: Shapes, given: Shapes) -> list[str]:
    """Return what tells the given tensors from the expected: mis-shaped, then missing, then extra ones.

    Batch counters are left out on both sides.
    """
    want, have = without_counters(expected), without_counters(given)
    misshapen = [
        f"{name} is {text(have[name])} where the network has {text(shape)}"
        for name, shape in want.items()
        if name in have and have[name] != shape
    ]
    missing = [f"{name} is missing" for name in want if name not in have]
    extra = [f"{name} is extra" for name in have if name not in want]
    return misshapen + missing + extra


def summary(found: list[str]) -> str:
    """Return the first differences and how many more there are, on one line."""
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return "; ".join(found[:SHOWN]) + more


def text(shape: Shape) -> str:
    """Return a shape as people write it: 64×3×7×7."""
    return "×".join(map(str, shape)) or "a single number"
