"""Interval arithmetic on tensors: what comes out of an operation when each element lies between two bounds.

In float64, with outward slack for the roundings of the float32 computation that is bounded. An end that comes out as
NaN is not known; see ``Bounds.known``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sparsity_audit.graph.fuse import ROUNDING

Function = Callable[[Tensor], Tensor]

HALF_ULP = 2.0**-24
"""Relative error of one rounding of float32."""
FAR = 1e300
"""Stands for infinity where a function has a limit there that its formula does not give (∞ · 0)."""


@dataclass(frozen=True)
class Bounds:
    """Bounds on a tensor, float64; along axes on which they don't vary both have size 1."""

    low: Tensor
    high: Tensor

    def over(self, axes: Sequence[int]) -> Bounds:
        """Return bounds on whatever lies along the axes, which stay with size 1."""
        return Bounds(self.low.amin(tuple(axes), True), self.high.amax(tuple(axes), True)) if axes else self

    def with_zero(self) -> Bounds:
        """Return bounds on the same elements or 0."""
        return Bounds(self.low.clamp(max=0.0), self.high.clamp(min=0.0))

    def expanded(self, shape: Sequence[int]) -> Bounds:
        """Return the same bounds written out in ``shape``, though not in memory.

        Raises:
            RuntimeError: they don't fit that shape.
        """
        return Bounds(self.low.expand(tuple(shape)), self.high.expand(tuple(shape)))

    def known(self) -> Bounds:
        """Return the same bounds, infinite where an end is NaN; beyond float64 lies a number all the same."""
        return Bounds(
            self.low.nan_to_num(-torch.inf, FAR, -torch.inf), self.high.nan_to_num(torch.inf, torch.inf, -FAR)
        )

    def fitted(self, shape: Sequence[int]) -> Bounds:
        """Return the same bounds, ``known``, in as many axes as ``shape`` has, of size 1 where they don't vary.

        Raises:
            RuntimeError: they don't fit that shape.
        """
        ends = self.known().expanded(shape)
        for axis in sorted(range(len(shape)), key=lambda axis: ends.low.stride(axis) + ends.high.stride(axis)):
            first = Bounds(*(end.narrow(axis, 0, min(1, end.size(axis))) for end in (ends.low, ends.high)))
            if _spread_over(ends.low, first.low, axis) and _spread_over(ends.high, first.high, axis):
                ends = first
        return ends


UNKNOWN = Bounds(torch.tensor(-torch.inf, dtype=torch.float64), torch.tensor(torch.inf, dtype=torch.float64))


def exactly(value: Tensor | float) -> Bounds:
    """Return the bounds of what is known."""
    known = torch.as_tensor(value).detach().double().cpu()
    return Bounds(known, known)


def rounded(bounds: Bounds) -> Bounds:
    """Allow for the roundings of float32 in a result."""
    return Bounds(bounds.low - ROUNDING * bounds.low.abs(), bounds.high + ROUNDING * bounds.high.abs())


def convolved(x: Bounds, weight: Tensor, bias: Tensor | None) -> Bounds:
    """Return bounds [filters] on what filters make of any window, in whatever order it is summed.

    Args:
        x: [inputs], with 0 among the values where windows are padded.
        weight: [groups, filters / groups, inputs / groups, taps].
        bias: [filters].
    """
    groups, _, per_group, taps = weight.shape
    rising, falling = weight.clamp(min=0).sum(3), weight.clamp(max=0).sum(3)
    low, high = (end.reshape(groups, per_group, 1) for end in (x.low, x.high))
    infinite = torch.isinf(low) | torch.isinf(high)  # of no matter to a filter whose weights there are 0
    unknown = ((rising - falling) @ infinite.double() > 0).flatten()
    low, high = low.masked_fill(infinite, 0.0), high.masked_fill(infinite, 0.0)
    base = torch.zeros(len(unknown), dtype=torch.float64) if bias is None else bias
    size = ((rising - falling) @ torch.maximum(low.abs(), high.abs())).flatten() + base.abs()
    slack = max(ROUNDING, (per_group * taps + 1) * HALF_ULP) * size
    least = (rising @ low + falling @ high).flatten() + base - slack
    most = (rising @ high + falling @ low).flatten() + base + slack
    return Bounds(least.masked_fill(unknown, -torch.inf), most.masked_fill(unknown, torch.inf))


def normalised(x: Bounds, mean: Tensor, deviation: Tensor) -> Bounds:
    """Return bounds [channels] on (x − mean) / deviation."""
    slack = 8 * HALF_ULP * (torch.maximum(x.low.abs(), x.high.abs()) + mean.abs())
    return Bounds((x.low - mean - slack) / deviation, (x.high - mean + slack) / deviation)


def scaled(x: Bounds, gain: Tensor, shift: Tensor) -> Bounds:
    """Return bounds [channels] on gain · x + shift."""
    one, other = (product(gain, end) for end in (x.low, x.high))
    slack = ROUNDING * (torch.maximum(one.abs(), other.abs()) + shift.abs())
    return Bounds(torch.minimum(one, other) + shift - slack, torch.maximum(one, other) + shift + slack)


def mapped(x: Bounds, function: Function, turning: float = 0.0) -> Bounds:
    """Return bounds on a function, elementwise, that rises or falls throughout or turns at one point.

    Where the function is not defined at one of the ends the result is not known.
    """
    point = torch.full_like(x.low, turning).clamp(x.low, x.high)
    first, second, third = (_limit(function, place) for place in (x.low, x.high, point))
    low, high = torch.minimum(torch.minimum(first, second), third), torch.maximum(torch.maximum(first, second), third)
    if turning:  # those are products that cancel, which rounding leaves with an error of its own near 0
        low, high = low - ROUNDING, high + ROUNDING
    return rounded(Bounds(low, high))


def combined(left: Bounds, right: Bounds, operation: Callable[[Tensor, Tensor], Tensor]) -> Bounds:
    """Return bounds on an operation, elementwise, that rises or falls throughout with each of two operands.

    As sums do, ``product``, and quotients by what is not 0.
    """
    corners = [operation(a, b) for a in (left.low, left.high) for b in (right.low, right.high)]
    low, high = corners[0], corners[0]
    for corner in corners[1:]:
        low, high = torch.minimum(low, corner), torch.maximum(high, corner)
    return rounded(Bounds(low, high))


def _limit(function: Function, place: Tensor) -> Tensor:
    value = function(place)
    return torch.where(value.isnan(), function(place.clamp(-FAR, FAR)), value)


def product(left: Tensor, right: Tensor) -> Tensor:
    """Return a product in which 0 · ∞ is 0: ∞ stands for any number."""
    return torch.where((left == 0) | (right == 0), 0.0, left * right)


def _spread_over(values: Tensor, first: Tensor, axis: int) -> bool:
    return values.stride(axis) == 0 or bool((values == first).all())
