"""Paired latency of two networks on the CPU: what fewer MACs are worth on the machine at hand.

Both run in turns on the same images, so that whatever else the machine does meets both; each round gives a ratio, and
what is told is the median of these with its quartiles, never the ratio of two means.
"""

from __future__ import annotations

import copy
import functools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

BATCH_SIZES = (1, 8, 64)
ROUNDS = 30
BUDGET = 60.0
"""Seconds."""
MIN_ROUNDS = 4
"""Rounds that are run even where the time is up: fewer have no quartiles to speak of."""
WARM_UP = 2
"""Calls of each that are not timed: the first ones allocate memory and choose kernels."""

Clock = Callable[[], float]


@dataclass(frozen=True)
class Spread:
    """Median and quartiles of what the rounds gave."""

    median: float
    lower: float
    upper: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the spread of at least one value; quartiles are interpolated."""
        lower, median, upper = np.quantile(np.asarray(values, dtype=np.float64), [0.25, 0.5, 0.75]).tolist()
        return cls(median, lower, upper)


@dataclass(frozen=True)
class LatencyRow:
    """Two networks on batches of one size."""

    batch_size: int
    rounds: int
    threads: int
    before: Spread
    """Seconds a batch."""
    after: Spread
    """Seconds a batch."""
    ratio: Spread
    """After / before of each round: 0.8 takes a fifth less time."""

    @property
    def faster(self) -> bool:
        """Three rounds in four or more were won: a median below 1 alone may be chance."""
        return self.ratio.upper < 1.0


def measure_latency(
    before: nn.Module,
    after: nn.Module,
    shape: tuple[int, int, int],
    batch_sizes: Sequence[int] = BATCH_SIZES,
    *,
    rounds: int = ROUNDS,
    seconds_budget: float = BUDGET,
    clock: Clock = time.perf_counter,
) -> list[LatencyRow]:
    """Time two eager networks in inference mode, on torch's present number of threads.

    Copies run: the networks stay in the mode they are in. Images are standard normal numbers.

    Args:
        shape: channels, height, width.
        batch_sizes: those that both networks take; a network may fix its own.
        rounds: of each batch size, unless the time is up before.
        seconds_budget: for all batch sizes together; each gets an equal share of what is left.
    """
    pair = [nn.Module.eval(copy.deepcopy(network)) for network in (before, after)]
    rows = []
    start = clock()
    for place, batch_size in enumerate(batch_sizes):
        images = torch.randn(batch_size, *shape, generator=torch.Generator().manual_seed(0))
        share = (seconds_budget - (clock() - start)) / (len(batch_sizes) - place)
        a, b = (functools.partial(network, images) for network in pair)
        with torch.inference_mode():
            times = paired_seconds(a, b, rounds, seconds_budget=share, clock=clock)
        ratios = [new / old for old, new in zip(*times, strict=True)]
        spreads = [Spread.of(values) for values in (*times, ratios)]
        rows.append(LatencyRow(batch_size, len(ratios), torch.get_num_threads(), *spreads))
    return rows


def paired_seconds(
    a: Callable[[], object],
    b: Callable[[], object],
    rounds: int,
    *,
    seconds_budget: float = math.inf,
    clock: Clock = time.perf_counter,
) -> tuple[list[float], list[float]]:
    """Return what each call took, round by round, after a warm-up.

    The order turns with every round (a b, b a, a b, …): a machine that gets slower or faster meanwhile favours neither.
    No round starts once the budget is spent, warm-up included, but for the first few.
    """
    start = clock()
    for call in (a, b) * WARM_UP:
        call()
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds):
        if number >= MIN_ROUNDS and clock() - start >= seconds_budget:
            break
        for which in (0, 1) if number % 2 == 0 else (1, 0):
            before = clock()
            (a, b)[which]()
            times[which].append(clock() - before)
    return times
