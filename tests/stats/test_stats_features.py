"""Statistics of filters: merged exactly, NaN never dead, thresholds strict where the paper's are."""

from __future__ import annotations

import copy
import functools
import itertools

import numpy as np
import pytest

from sparsity_audit.stats.feature_stats import POOLED_BUDGET, FeatureStats

FILTERS = 6
FIRES = np.array([True, True, True, True, False, False])


def batch(images: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    values = generator.normal(size=(images, FILTERS, 5)).astype(np.float32)
    values[:, 0] = 0  # silent
    values[:, 1] = np.maximum(values[:, 1] - 1.5, 0)  # selective
    values[:, 4] = 0.25  # constant
    return values.max(2), values.min(2)


def stats_of(*batches: tuple[np.ndarray, np.ndarray], budget: int = POOLED_BUDGET) -> FeatureStats:
    stats = FeatureStats(FIRES, budget)
    for high, low in batches:
        stats.update(high, low)
    return stats


def facts(stats: FeatureStats) -> dict[str, list[float] | int | None]:
    universality = stats.universality()
    return {
        "images": stats.images,
        "maximum": stats.maximum.tolist(),
        "minimum": stats.minimum.tolist(),
        "fired": stats.fired.tolist(),
        "nonfinite": stats.nonfinite.tolist(),
        "inactive": stats.inactive().tolist(),
        "constant": stats.constant(1e-6).tolist(),
        "universality": None if universality is None else np.nan_to_num(universality, nan=-1).tolist(),
        "bound": None if universality is None else np.nan_to_num(stats.universality_bound(), nan=-1).tolist(),
        "firing": np.nan_to_num(stats.firing_rate(), nan=-1).tolist(),
    }


def test_any_order_and_grouping_of_shards_gives_exactly_the_whole() -> None:
    shards = [batch(images, seed) for seed, images in enumerate((7, 1, 12, 3))]
    whole = facts(stats_of(*shards))
    for order in itertools.permutations(range(4)):
        parts = [stats_of(shards[i]) for i in order]
        assert facts(functools.reduce(FeatureStats.merge, parts)) == whole
        right = parts[0].merge(parts[1].merge(parts[2].merge(parts[3])))
        assert facts(right) == whole
        assert facts(parts[0].merge(parts[1]).merge(parts[2].merge(parts[3]))) == whole


def test_merged_statistics_can_go_on() -> None:
    shards = [batch(5, seed) for seed in range(3)]
    merged = stats_of(shards[0]).merge(stats_of(shards[1]))
    merged.update(*shards[2])
    assert facts(merged) == facts(stats_of(*shards))


@pytest.mark.parametrize("budget", [0, 9 * 4 * 4 - 1, 9 * 4 * 4, POOLED_BUDGET])
def test_empty_is_the_identity(budget: int) -> None:
    whole = stats_of(batch(9, 1), budget=budget)
    empty = FeatureStats(FIRES, budget)
    assert facts(empty.merge(whole)) == facts(whole.merge(empty)) == facts(whole)
    assert facts(empty.merge(empty))["images"] == 0
    assert whole.pooled.exact == empty.merge(whole).pooled.exact == (budget >= 9 * 4 * 4)


def test_merge_changes_neither_operand() -> None:
    left, right = stats_of(batch(4, 1)), stats_of(batch(6, 2))
    before = copy.deepcopy((facts(left), facts(right)))
    merged = left.merge(right)
    merged.update(*batch(3, 3))
    assert (facts(left), facts(right)) == before


def test_batches_are_not_written_to() -> None:
    high, low = batch(4, 1)
    high.setflags(write=False)
    low.setflags(write=False)
    stats_of((high, low), (high, low))


def test_different_filters_do_not_merge() -> None:
    with pytest.raises(ValueError, match="different filters"):
        FeatureStats(FIRES).merge(FeatureStats(~FIRES))


def test_nothing_seen_decides_nothing() -> None:
    empty = FeatureStats(FIRES)
    empty.update(np.zeros((0, FILTERS), np.float32), np.zeros((0, FILTERS), np.float32))
    assert not empty.decided.any()
    assert not empty.inactive().any()
    assert not empty.constant(1e-6).any()
    assert empty.universality() is None


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_not_finite_is_counted_and_never_dead(bad: float) -> None:
    high, low = np.zeros((8, FILTERS), np.float32), np.zeros((8, FILTERS), np.float32)
    high[2:5, 1], low[2:5, 1] = bad, bad
    high[6, 2] = bad  # only one side of the plane
    low[6, 2] = bad if np.isnan(bad) else 0
    stats = stats_of((high[:3], low[:3]), (high[3:], low[3:]))
    assert stats.nonfinite.tolist() == [0, 3, 1, 0, 0, 0]
    assert stats.inactive().tolist() == [True, False, False, True, True, True]
    assert not stats.constant(1e9).any()
    assert stats.decided.tolist() == [True, False, False, True, True, True]


def test_universality_counts_strictly_above_a_thousandth_of_the_maximum() -> None:
    high = np.zeros((5, FILTERS), np.float32)
    high[:, 0] = [1024.0, 1.024, 1.0241, 0.0, 5.0]  # 1.024 as float32 lies just above 1.024
    high[:, 1] = [1000.0, 1.0, 1.0001, 0.0, 0.5]  # exactly a thousandth does not count
    high[:, 2] = [2e-12, 1e-12, 3e-12, 0, 0]
    stats = stats_of((high, np.zeros_like(high)))
    universality = stats.universality()
    assert universality is not None
    above = [int(np.float64(np.float32(1.024)) / 1024.0 > 1e-3)]
    assert universality[:4].tolist() == [(3 + above[0]) / 5, 2 / 5, 3 / 5, 0]
    assert np.isnan(universality[4:]).all()


def test_universality_threshold_is_relative_to_the_whole_corpus() -> None:
    small, large = np.full((3, FILTERS), 0.5, np.float32), np.full((1, FILTERS), 1000.0, np.float32)
    low = np.zeros_like(small)
    assert stats_of((small, low)).universality()[0] == 1  # type: ignore[index]
    assert stats_of((small, low), (large, low[:1])).universality()[0] == 0.25  # type: ignore[index]


def test_filters_that_do_not_fire_keep_the_columns_apart() -> None:
    fires = np.array([False, True, False, True])
    stats = FeatureStats(fires)
    high = np.array([[9, 1, 9, 0], [9, 0, 9, 0], [9, 0, 9, 2]], np.float32)
    stats.update(high, np.zeros_like(high))
    universality = stats.universality()
    np.testing.assert_array_equal(universality, [np.nan, 1 / 3, np.nan, 1 / 3])
    np.testing.assert_array_equal(stats.firing_rate(), [np.nan, 1 / 3, np.nan, 1 / 3])


def test_only_positive_responses_fire() -> None:
    """A leaky filter that is never positive has no universality, and isn't inactive either."""
    high = np.tile(np.array([-0.01, -0.5, 1e-12, 1.1e-12, 1, 1], np.float32), (4, 1))
    high[2, 1] = 1  # on the other images, half as far below 0: no response
    low = np.tile(np.array([-3, -3, -3, 0, 0, 0], np.float32), (4, 1))
    stats = stats_of((high, low))
    assert stats.firing_rate()[:4].tolist() == [0, 0.25, 0, 1]
    assert stats.universality()[:4].tolist() == [0, 0.25, 0, 1]  # type: ignore[index]
    assert not stats.inactive().any()


@pytest.mark.parametrize(
    ("high", "low", "inactive", "constant"),
    [
        (0.0, 0.0, True, False),
        (1e-12, -1e-12, True, False),
        (2e-12, 0.0, False, True),
        (0.0, -2e-12, False, True),
        (0.5, 0.5, False, True),
        (0.5 + 5e-7, 0.5, False, True),
        (0.5 + 2e-6, 0.5, False, False),
        (-0.5, -0.5, False, True),
        (1e-3, -1e-3, False, False),
    ],
)
def test_inactive_and_constant(high: float, low: float, inactive: bool, constant: bool) -> None:
    stats = stats_of((np.full((2, FILTERS), high, np.float32), np.full((2, FILTERS), low, np.float32)))
    assert stats.inactive()[0] == inactive
    assert stats.constant(1e-6)[0] == constant


def test_one_image_is_enough_to_be_alive() -> None:
    high = np.zeros((100, FILTERS), np.float32)
    high[57, 3] = 1e-6
    assert stats_of((high, np.zeros_like(high))).inactive().tolist() == [True, True, True, False, True, True]
