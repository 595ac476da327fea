"""Pooled maxima beyond the budget: bucket counts against the whole array, the same for any order and grouping."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest

from sparsity_audit.stats.feature_stats import FeatureStats
from sparsity_audit.stats.sketch import BUCKETS, Sketch

FILTERS = 40


def pooled(images: int, seed: int = 0) -> np.ndarray:
    """Return maxima [images, FILTERS] of the kinds that make it hard: wide, tiny, huge, rare, rising, equal."""
    generator = np.random.default_rng(seed)
    values = np.exp(generator.normal(0, 4, (images, FILTERS)))
    values[:, 1] = 0
    values[:, 2] *= generator.random(images) < 0.02
    values[:, 3] *= 1e-9
    values[:, 4] *= 1e30
    values[:, 5] = np.logspace(-6, 6, images)
    values[:, 6] = values[::-1, 5]
    values[:, 7] = 0.25
    values[:, 8] = np.where(np.arange(images) == images // 2, 1e4, 1.0)  # one outlier lifts the threshold
    values[:, 9] = 1e-40  # subnormal: below what counts as a response
    values[:, 10] *= 1e-11
    return values.astype(np.float32)


def stats_of(values: np.ndarray, batch: int, budget: int = 0) -> FeatureStats:
    stats = FeatureStats(np.ones(values.shape[1], bool), budget)
    for start in range(0, len(values), batch):
        part = values[start : start + batch]
        stats.update(part, np.zeros_like(part))
    return stats


def oracle(values: np.ndarray, threshold: float = 1e-3) -> np.ndarray:
    top = values.max(0).astype(np.float64)
    share = (values / np.where(top > 0, top, 1) > threshold).mean(0)
    return np.where(top > 1e-12, share, 0.0)


def counts_of(stats: FeatureStats) -> tuple[list[int], list[list[int]]]:
    sketch = stats.pooled.sketch
    assert sketch is not None
    return sketch.top.tolist(), sketch.counts.tolist()


@pytest.mark.parametrize("threshold", [1e-3, 1e-2, 0.5, 1e-4, 1e-7])
def test_within_its_bound_of_the_whole_array(threshold: float) -> None:
    values = pooled(3000)
    stats = stats_of(values, 128)
    found, bound = stats.universality(threshold), stats.universality_bound(threshold)
    assert found is not None
    assert bound is not None
    wanted = oracle(values, threshold)
    assert (np.abs(found - wanted) <= bound + 1e-12).all()
    assert (found >= 0).all()
    assert (found + bound <= 1 + 1e-12).all()
    if threshold >= 1e-4:  # inside the kept buckets
        assert bound[11:].max() < 0.01
    if threshold == 1e-3:
        assert bound[11:].max() > 0


def test_bound_is_half_of_what_lies_in_the_bucket_that_the_threshold_cuts() -> None:
    # The threshold is 1.0; its bucket is [1, 1.0625), of which 1.0 itself does not count.
    column = [1000.0, 0.99, 1.0, 1.01, 1.06, 1.0625, 2.0, 0.0]
    stats = stats_of(np.array(column, np.float32)[:, None], 3)
    assert stats_of(np.array(column, np.float32)[:, None], 3, 8 * 4).universality() == [5 / 8]
    low, high = 3 / 8, 6 / 8
    assert stats.universality() == [(low + high) / 2]
    assert stats.universality_bound() == [(high - low) / 2]


def test_nothing_in_the_cut_bucket_is_exact() -> None:
    stats = stats_of(np.array([[5.0, 0.0], [4.0, 0.0], [0.0, 0.0], [0.004, 0.0]], np.float32), 1)
    assert stats.universality().tolist() == [0.5, 0]  # type: ignore[union-attr]
    assert stats.universality_bound().tolist() == [0, 0]  # type: ignore[union-attr]


@pytest.mark.parametrize("images", [1, 97])
def test_counts_do_not_depend_on_batches_or_order(images: int) -> None:
    values = pooled(images)
    whole = counts_of(stats_of(values, images))
    for seed, batch in enumerate((1, 8, 96)):
        shuffled = np.random.default_rng(seed).permutation(values)
        assert counts_of(stats_of(shuffled, batch)) == whole
        assert counts_of(stats_of(values[::-1], batch)) == whole


@pytest.mark.parametrize("budget", [0, 30 * FILTERS * 4, 55 * FILTERS * 4])
def test_shards_merged_in_any_order_and_grouping_give_the_same_counts(budget: int) -> None:
    values = pooled(97)
    cuts = [0, 5, 45, 46, 97]  # with a budget of 30 or 55 images some shards are exact, some not
    shards = [stats_of(values[a:b], 7, budget) for a, b in itertools.pairwise(cuts)]
    whole = counts_of(stats_of(values, 97))
    for order in itertools.permutations(shards):
        assert counts_of(functools.reduce(FeatureStats.merge, order)) == whole
        assert counts_of(order[0].merge(order[1]).merge(order[2].merge(order[3]))) == whole


def test_exact_up_to_the_budget_and_counted_from_there_on() -> None:
    values = pooled(20)
    stats = FeatureStats(np.ones(FILTERS, bool), 20 * FILTERS * 4)
    stats.update(values, values)
    assert stats.pooled.exact
    np.testing.assert_array_equal(stats.universality(), oracle(values))
    np.testing.assert_array_equal(stats.universality_bound(), np.zeros(FILTERS))
    stats.update(values[:1], values[:1])
    assert not stats.pooled.exact
    assert counts_of(stats) == counts_of(stats_of(np.concatenate([values, values[:1]]), 21))


def test_two_halves_that_fit_and_together_do_not() -> None:
    values = pooled(20)
    halves = [stats_of(part, 4, 12 * FILTERS * 4) for part in (values[:10], values[10:])]
    assert [half.pooled.exact for half in halves] == [True, True]
    assert counts_of(halves[0].merge(halves[1])) == counts_of(stats_of(values, 20))
    assert [half.pooled.exact for half in halves] == [True, True]


def test_merge_changes_neither_operand() -> None:
    values = pooled(60)
    left, right = stats_of(values[:30], 9), stats_of(values[30:], 9)
    before = counts_of(left), counts_of(right)
    left.merge(right).update(values, values)
    assert (counts_of(left), counts_of(right)) == before


def test_memory_does_not_grow_with_the_images() -> None:
    small, large = stats_of(pooled(50), 10), stats_of(pooled(5000), 100)
    for stats in (small, large):
        assert stats.pooled.rows is None
        assert stats.pooled.sketch is not None
        assert stats.pooled.sketch.counts.nbytes == FILTERS * BUCKETS * 4


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_not_finite_counts_as_when_all_is_kept(bad: float) -> None:
    values = pooled(30)
    values[7, 12] = bad
    exact, counted = stats_of(values, 7, 10**9).universality(), stats_of(values, 7).universality()
    bound = stats_of(values, 7).universality_bound()
    assert exact is not None
    assert np.isfinite(counted).all()  # type: ignore[arg-type]
    assert (np.abs(exact - counted) <= bound + 1e-12).all()
    assert bound[12] <= 0.05  # type: ignore[index]


def test_value_that_dwarfs_all_before_it_leaves_only_itself() -> None:
    sketch = Sketch(1)
    sketch.add(np.array([[1.0], [2.0], [3.0]], np.float32))
    assert sketch.counts.sum() == 3
    sketch.add(np.array([[1e9]], np.float32))
    assert sketch.counts.sum() == 1
    sketch.add(np.array([[1.0], [1e6]], np.float32))
    assert sketch.counts.sum() == 2


def test_filters_without_a_nonlinearity_stay_undefined() -> None:
    stats = FeatureStats(np.array([False, True]), 0)
    stats.update(np.ones((3, 2), np.float32), np.zeros((3, 2), np.float32))
    np.testing.assert_array_equal(stats.universality(), [np.nan, 1])
    np.testing.assert_array_equal(stats.universality_bound(), [np.nan, 0])
