"""Stepping γ on: what must follow from the formulas whatever the constants are."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
import pytest

from sparsity_audit.schema.spec import OptimizerSpec
from sparsity_audit.stats.deaths import Regime, _draws, lull, predict_scales
from sparsity_audit.stats.scalars import Kind

LR = {"sgd": 0.1, "adam": 1e-3, "adadelta": 1.0, "adagrad": 1e-2, "amsgrad": 1e-3, "rmsprop": 1e-3, "adamax": 2e-3}


def regime(name: str, kind: Kind, strength: float = 1e-3, ratio: float = 1.0) -> Regime:
    return Regime(OptimizerSpec.model_validate({"name": name, "lr": LR[name]}), kind, strength, ratio)


def noise(deviations: list[float], batches: int = 50) -> Any:
    return np.random.default_rng(0).normal(size=(batches, len(deviations))) * deviations


def test_a_filter_without_gradients_under_weight_decay_is_a_power() -> None:
    gradients = noise([1e-2, 1e-2, 0.0])
    after = predict_scales([1.0, -1.0, 0.5], gradients, regime("adam", "wd"), [1.0] * 400)
    assert after[2] == pytest.approx(0.5 * 0.999**400, rel=1e-9)
    assert (after >= 0).all()


def test_without_gradients_adam_under_l2_kills_where_weight_decay_does_not() -> None:
    """Figure 4: a step of about lr whatever λ is, against e-folds of length 1/λ."""
    gradients = noise([1e-2, 1e-2, 0.0])
    by_l2, by_wd = (
        predict_scales([1.0, 1.0, 0.5], gradients, regime("adam", kind), [1.0] * 1000) for kind in ("l2", "wd")
    )
    assert by_l2[2] < 1e-3 < by_wd[2]
    assert (by_l2[:2] > 0.5).all()


def test_small_gradients_die_first_under_adam_with_l2_and_equally_under_weight_decay() -> None:
    gradients = noise([1e-2, 1e-2, 1e-4])
    steps = [1.0] * 3000
    by_l2 = predict_scales([0.5, 0.5, 0.5], gradients, regime("adam", "l2"), steps)
    assert by_l2[2] < 1e-3 < min(by_l2[:2])
    by_wd = predict_scales([0.5, 0.5, 0.5], gradients, regime("adam", "wd"), steps)
    assert np.ptp(by_wd) < 0.1 * by_wd.mean()


@pytest.mark.parametrize("name", LR)
def test_nothing_moves_without_a_regulariser(name: str) -> None:
    start = np.array([1.0, 0.2, 0.01])
    after = predict_scales(start, noise([1e-2, 1e-3, 0.0]), regime(name, "none", 0.0), [1.0] * 200)
    assert np.allclose(after, start, rtol=1e-2)


@pytest.mark.parametrize("name", LR)
def test_no_steps_leave_the_scales_as_they_are(name: str) -> None:
    start = np.array([1.0, -0.2, 0.0, 5e-4])
    assert np.array_equal(predict_scales(start, noise([1e-2] * 4), regime(name, "l2"), []), np.abs(start))


def test_a_lower_rate_takes_less_and_the_sign_does_not_matter() -> None:
    gradients = noise([1e-3, 1e-3, 0.0])
    given = regime("adam", "l2")
    full, low = (predict_scales([0.5, 0.4, 0.3], gradients, given, [scale] * 300) for scale in (1.0, 0.1))
    assert (full < low).all()
    mirrored = predict_scales([-0.5, 0.4, -0.3], gradients, given, [1.0] * 300)
    assert np.array_equal(full, mirrored)
    assert np.array_equal(full, predict_scales([0.5, 0.4, 0.3], gradients, given, [1.0] * 300))


def test_the_state_of_the_optimizer_is_taken_up() -> None:
    """Adagrad's steps shrink with the sum of all squares so far."""
    gradients = noise([1e-3, 1e-3])
    fresh, late = (
        predict_scales(
            [0.5, 0.5], gradients, regime("adagrad", "l2"), [1.0] * 500, memory={"sum": [total] * 2}, steps_done=9
        )
        for total in (1e-4, 1e2)
    )
    assert (0.5 - fresh > 10 * (0.5 - late)).all()


@pytest.mark.parametrize("ratio", [0.25, 0.5, 1.0, 2.0, 4.0])
def test_other_batch_sizes_change_noise_and_zeros(ratio: float) -> None:
    chance = np.random.default_rng(1)
    gradients = chance.normal(size=(4000, 2)) * (chance.random((4000, 2)) > [0.0, 0.3])
    drawn = np.stack(list(islice(_draws(gradients, ratio, 0), 20_000)))
    assert np.array_equal(drawn[:, 0], -drawn[:, 1])
    assert np.allclose(drawn[:, 0].std(axis=0), gradients.std(axis=0) / np.sqrt(ratio), rtol=0.05)
    assert np.allclose((drawn[:, 0] == 0).mean(axis=0), [0.0, 0.3**ratio], atol=0.02)


def test_a_lull_of_the_loss() -> None:
    gamma, gradients = [0.5, 0.5, 1e-4], noise([2e-3, 2e-3, 1.0], 2000)
    assert lull(gamma, gradients, regime("adam", "l2")) == pytest.approx(4.0, rel=0.05)
    assert lull(gamma, gradients * 5, regime("adam", "l2")) is None
    assert lull(gamma, gradients, regime("adam", "wd")) is None
    assert lull(gamma, gradients, regime("sgd", "l2")) is None


def test_a_network_of_dead_filters_stays_as_it_is() -> None:
    assert np.array_equal(predict_scales([1e-4, 0.0], noise([1.0, 1.0]), regime("adam", "l2"), [1.0]), [1e-4, 0.0])


def test_scales_of_any_size_never_blow_up() -> None:
    """γ of subnormal size, a strong weight decay, and a rate that diverges: no death is made up, nothing is raised."""
    start = [1.0, 1.1e-3, 1e-38, 0.5]
    after = predict_scales(start, noise([1e-2] * 4), regime("adam", "wd", 0.9), [1.0] * 3000)
    assert np.isfinite(after).all()
    assert after[2] == 1e-38
    wild = Regime(OptimizerSpec(name="sgd", lr=1e200), "l2", 1.0)
    assert not (predict_scales(start, noise([1e-2] * 4), wild, [1.0] * 50)[[0, 3]] < 1e-3).any()
