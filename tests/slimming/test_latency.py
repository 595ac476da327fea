"""Latency on a clock that only the networks move: order, budget, medians and quartiles are exact."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from sparsity_audit.slimming.latency import MIN_ROUNDS, WARM_UP, Spread, measure_latency, paired_seconds

SHAPE = (3, 4, 4)


class Clock:
    """Stands still but for what is added to it."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Timed(nn.Module):
    """Takes a time for each image, plus one that grows with every call: a machine that gets slower."""

    def __init__(self, seconds: float, clock: Clock, drift: float = 0.0) -> None:
        super().__init__()
        self.seen = seen = list[tuple[tuple[int, ...], bool, bool]]()

        def note(x: Tensor, training: bool) -> None:
            seen.append((tuple(x.shape), training, torch.is_inference_mode_enabled()))
            clock.now += seconds * len(x) + drift * len(seen)

        self.note = note  # copies of the network share it, as they do every function

    def forward(self, x: Tensor) -> Tensor:
        self.note(x, self.training)
        return x


def test_order_turns_with_every_round() -> None:
    clock, calls = Clock(), ""

    def call(name: str, seconds: float) -> Callable[[], None]:
        def run() -> None:
            nonlocal calls
            calls += name
            clock.now += seconds * len(calls)

        return run

    a, b = paired_seconds(call("a", 1.0), call("b", 2.0), 4, clock=clock)
    assert calls == "ab" * WARM_UP + "abbaabba"
    places = range(2 * WARM_UP + 1, 2 * WARM_UP + 9)
    assert a == [place for place, name in zip(places, "abbaabba", strict=True) if name == "a"]
    assert b == [2.0 * place for place, name in zip(places, "abbaabba", strict=True) if name == "b"]


@pytest.mark.parametrize(
    ("budget", "rounds"),
    [(1e9, 20), (0.0, MIN_ROUNDS), (3.0 * (WARM_UP + 9), 9), (3.0 * (WARM_UP + 8) + 0.1, 9)],
)
def test_no_round_starts_once_the_time_is_up(budget: float, rounds: int) -> None:
    clock = Clock()
    networks = [Timed(seconds, clock) for seconds in (1.0, 2.0)]
    image = torch.zeros(1, *SHAPE)
    times = paired_seconds(
        lambda: networks[0](image), lambda: networks[1](image), 20, seconds_budget=budget, clock=clock
    )
    assert [len(each) for each in times] == [rounds, rounds]


def test_rows_hold_medians_and_quartiles_of_the_rounds() -> None:
    clock = Clock()
    before, after = Timed(0.5, clock, drift=0.25), Timed(0.125, clock, drift=0.5)
    before.train()
    rows = measure_latency(before, after, SHAPE, (1, 4), rounds=7, seconds_budget=1e9, clock=clock)
    assert [(row.batch_size, row.rounds, row.threads) for row in rows] == [
        (1, 7, torch.get_num_threads()),
        (4, 7, torch.get_num_threads()),
    ]
    for place, row in enumerate(rows):
        timed = [place * (WARM_UP + 7) + WARM_UP + call for call in range(1, 8)]
        old = [0.5 * row.batch_size + 0.25 * call for call in timed]
        new = [0.125 * row.batch_size + 0.5 * call for call in timed]
        for spread, values in (
            (row.before, old),
            (row.after, new),
            (row.ratio, [b / a for a, b in zip(old, new, strict=True)]),
        ):
            lower, median, upper = statistics.quantiles(values, n=4, method="inclusive")
            assert (spread.lower, spread.median, spread.upper) == pytest.approx((lower, median, upper))
    assert {seen[0] for seen in before.seen} == {(1, *SHAPE), (4, *SHAPE)}
    assert {seen[1:] for seen in before.seen + after.seen} == {(False, True)}  # evaluating, in inference mode
    assert before.training


def test_faster_means_three_rounds_in_four() -> None:
    for seconds, faster in ((0.9, True), (1.0, False), (1.1, False)):
        clock = Clock()
        (row,) = measure_latency(Timed(1.0, clock), Timed(seconds, clock), SHAPE, (8,), rounds=5, clock=clock)
        assert row.faster is faster
        assert row.ratio.median == pytest.approx(seconds)
    chance = Spread.of([0.5, 0.9, 1.2, 0.9, 1.3])  # a median below 1
    assert not replace(row, ratio=chance).faster


def test_each_batch_size_gets_its_share_of_the_time() -> None:
    clock = Clock()
    networks = Timed(1.0, clock), Timed(1.0, clock)
    rows = measure_latency(*networks, SHAPE, (1, 2, 4), rounds=1000, seconds_budget=600.0, clock=clock)
    assert [row.rounds for row in rows] == [100 - WARM_UP, 50 - WARM_UP, 25 - WARM_UP]
    assert clock.now == 100.0 + 600.0
    little = measure_latency(*networks, SHAPE, (1, 2), rounds=1000, seconds_budget=0.0, clock=clock)
    assert [row.rounds for row in little] == [MIN_ROUNDS, MIN_ROUNDS]


def test_real_networks_on_the_real_clock() -> None:
    before = nn.Conv2d(3, 4, 3)
    state = {name: value.clone() for name, value in before.state_dict().items()}
    (row,) = measure_latency(before, nn.Conv2d(3, 2, 3), SHAPE, (2,), rounds=4)
    assert 0 < row.before.lower <= row.before.median <= row.before.upper
    assert row.rounds == 4
    assert all(torch.equal(value, state[name]) for name, value in before.state_dict().items())
