"""Observers of the fused program: plane extrema, read before a rectifier and mapped through it.

A nonlinearity that never falls maps the extrema of its input to those of its output, exactly, because the same
function is applied to the same numbers. So it is the input that is observed: that leaves the nonlinearity free
to work in place, and tells how far below zero a silent filter stays, which its output cannot.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Rectifier = Callable[[Tensor], Tensor]

RECTIFIERS: dict[str, Rectifier] = {"relu": F.relu, "relu6": F.relu6}
"""Nonlinearities that never fall and have 0 as their least value."""


class PlaneObserver(nn.Module):
    """Returns [2, batch, channels]: the largest and the smallest value of each plane.

    With a rectifier the tensor observed is its input and the extrema are those of its output. A channel that
    was once at 0 can sink no further, so from then on 0 stands for its minima without being computed: exact over
    the corpus, though not image by image.

    Attributes:
        on: whether to observe at all; an observer that is off returns [2, batch, 0].
        margin: [channels] the largest input seen, which for a silent filter is how far it stays from responding;
            None before the first batch and without a rectifier.
    """

    def __init__(self, rectifier: Rectifier | None) -> None:
        super().__init__()
        self.rectifier = rectifier
        self.on = True
        self.forget()

    def forget(self) -> None:
        """Start afresh, as before the first batch."""
        self.margin: Tensor | None = None
        self._above: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Observe [batch, channels, …plane]."""
        if not self.on:
            return x.new_empty(2, len(x), 0)
        high = plane_extreme(x, torch.amax)
        if self.rectifier is None:
            return torch.stack([high, plane_extreme(x, torch.amin)])
        top = high.amax(0)
        self.margin = top if self.margin is None else torch.maximum(self.margin, top)
        return torch.stack([self.rectifier(high), self._rectified_low(x, self.rectifier)])

    def _rectified_low(self, x: Tensor, rectifier: Rectifier) -> Tensor:
        """Return the minima of the rectified planes, computed only where they may still be above 0."""
        low = x.new_zeros(x.shape[:2])
        if self._above is None:
            self._above = torch.arange(x.shape[1], device=x.device)
        if len(self._above):
            part = x if len(self._above) == x.shape[1] else x[:, self._above]
            seen = rectifier(plane_extreme(part, torch.amin))
            low[:, self._above] = seen
            self._above = self._above[~(seen.amin(0) <= 0)]
        return low


def plane_extreme(x: Tensor, reduce: Callable[..., Tensor]) -> Tensor:
    """Return [batch, channels]: each plane reduced by ``torch.amax`` or ``torch.amin``; NaN where it holds NaN."""
    if x.dim() == 2:
        return x
    if x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous():
        # One axis at a time: both at once are many times slower in this layout when channels are few.
        return reduce(reduce(x.permute(0, 2, 3, 1), 1), 1)
    return reduce(x, list(range(2, x.dim())))
