"""The capacity ledger: what dead filters take with them, as in the '% param pruned' column of Table 2.

A weight of a convolution is lost when the filter it belongs to is dead, or when the channel it reads is: every
filter that feeds the channel is dead then. A weight that reads a channel of which only some producers are dead
(a residual stream) stays; it is *held back*.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sparsity_audit.schema.report import Lost

if TYPE_CHECKING:
    from sparsity_audit.graph.feature_graph import FeatureLayer

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Ledger:
    """Convolution parameters (biases not counted) and MACs per image of each call, and what is lost of them.

    A weight that several calls share is counted with the first of them, and lost only where all agree.
    """

    calls: tuple[FeatureLayer, ...]

    @property
    def params(self) -> list[int]:
        """Convolution parameters of each call; 0 for the later calls of a shared weight."""
        return [math.prod(call.weight_shape) if self._first_use(i) else 0 for i, call in enumerate(self.calls)]

    @property
    def macs(self) -> list[int]:
        """Multiply-accumulates of each call, for one image."""
        return [math.prod(call.weight_shape) * call.positions for call in self.calls]

    def lost(self, dead: Bools) -> list[Lost]:
        """Return what is lost in each call when the marked filters are dead.

        Args:
            dead: [filters of all calls], numbered in order of the calls.
        """
        return [self._lost(i, dead) for i in range(len(self.calls))]

    def _lost(self, place: int, dead: Bools) -> Lost:
        call = self.calls[place]
        removed, held = _weights(call, dead)
        for other in self._sharing(place):
            other_removed, other_held = _weights(other, dead)
            held = (held | other_held | (removed ^ other_removed)) & ~(removed & other_removed)
            removed = removed & other_removed
        kernel = math.prod(call.weight_shape[2:])
        first_use = self._first_use(place)
        return Lost(
            filters=int(dead[call.first : call.first + call.filters].sum()),
            params=int(removed.sum()) * kernel * first_use,
            macs=int(removed.sum()) * kernel * call.positions,
            held_back=int(held.sum()) * kernel * first_use,
        )

    def _sharing(self, place: int) -> list[FeatureLayer]:
        weight = self.calls[place].weight
        return [
            other for i, other in enumerate(self.calls) if i != place and weight is not None and other.weight == weight
        ]

    def _first_use(self, place: int) -> bool:
        weight = self.calls[place].weight
        return weight is None or all(call.weight != weight for call in self.calls[:place])


def _weights(call: FeatureLayer, dead: Bools) -> tuple[Bools, Bools]:
    """Return which kernels are removed and which are held back, both over the weight's own first two axes."""
    filters_dead = dead[call.first : call.first + call.filters]
    inputs_dead = np.array([_all_dead(producers, dead) for producers in call.reads], bool)
    inputs_partly = np.array([_some_dead(producers, dead) for producers in call.reads], bool) & ~inputs_dead
    per_group = len(call.reads) // call.groups
    group = np.arange(call.filters) // (call.filters // call.groups)
    channel = group[:, None] * per_group + np.arange(per_group)[None, :]
    removed = filters_dead[:, None] | inputs_dead[channel]
    held = inputs_partly[channel] & ~removed
    return (_inputs_first(removed, call), _inputs_first(held, call)) if call.transposed else (removed, held)


def _inputs_first(kernels: Bools, call: FeatureLayer) -> Bools:
    """Turn [filters, inputs / groups] into [inputs, filters / groups], as a transposed convolution has it.

    So that a weight which it shares with an ordinary convolution is compared kernel by kernel.
    """
    grouped = kernels.reshape(call.groups, -1, kernels.shape[1])
    turned: Bools = grouped.transpose(0, 2, 1).reshape(len(call.reads), -1)
    return turned


def _all_dead(producers: frozenset[int], dead: Bools) -> bool:
    """Tell whether a channel is dead; one that no filter produces (padding) is nobody's loss."""
    return bool(producers) and all(producer >= 0 and dead[producer] for producer in producers)


def _some_dead(producers: frozenset[int], dead: Bools) -> bool:
    return any(producer >= 0 and dead[producer] for producer in producers)


def total_lost(parts: Iterable[Lost]) -> Lost:
    """Add up what several layers lost; a part that is unknown makes the sum unknown."""
    known = list(parts)

    def add(values: list[int | None]) -> int | None:
        return None if None in values else sum(value for value in values if value is not None)

    return Lost(
        filters=sum(part.filters for part in known),
        params=add([part.params for part in known]),
        macs=add([part.macs for part in known]),
        held_back=add([part.held_back for part in known]),
    )
