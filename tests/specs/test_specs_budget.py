"""The decay budget and the sum of rates, against a walk step by step."""

from __future__ import annotations

import math
import random

import pytest

from sparsity_audit.schema.spec import ZooSpec
from sparsity_audit.specs.budget import decay_budget, known_steps_per_epoch, rate_sum, steps_per_epoch
from sparsity_audit.specs.load import load_spec


def spec_of(optimizer: dict, regularizer: dict, schedule: dict, **rest) -> ZooSpec:
    return ZooSpec.model_validate(
        {
            "network": {"name": "basicnet"},
            "data": {"name": "cifar10"},
            "optimizer": optimizer,
            "regularizer": regularizer,
            "schedule": schedule,
            "batch_size": 40,
            **rest,
        }
    )


def walked(spec: ZooSpec, per_epoch: int) -> list[float]:
    """Return lr_t / lr_0 of every step."""
    return [spec.schedule.scale(step, per_epoch) for step in range(spec.schedule.iterations(per_epoch))]


SCHEDULES = [
    {"unit": "iterations", "total": 1},
    {"unit": "iterations", "total": 500, "milestones": []},
    {"unit": "iterations", "total": 500, "milestones": [1, 499]},
    {"unit": "iterations", "total": 500, "milestones": [100, 101, 350], "factor": 0.3},
    {"unit": "epochs", "total": 12, "milestones": [3, 9]},
    {"unit": "epochs", "total": 5, "milestones": [4], "factor": 2.0},
]


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("per_epoch", [1, 7, 32])
def test_sums_are_those_of_every_step(schedule, per_epoch):
    wd = spec_of({"name": "adam", "lr": 2e-3}, {"kind": "wd", "strength": 1e-2}, schedule)
    scales = walked(wd, per_epoch)
    assert decay_budget(wd, per_epoch) == pytest.approx(1e-2 * math.fsum(scales), rel=1e-12)
    assert rate_sum(wd, per_epoch) == pytest.approx(2e-3 * math.fsum(scales), rel=1e-12)
    sgd = spec_of({"name": "sgd", "lr": 0.5, "momentum": 0.8}, {"kind": "l2", "strength": 1e-3}, schedule)
    assert decay_budget(sgd, per_epoch) == pytest.approx(1e-3 * 0.5 * math.fsum(scales) / 0.2, rel=1e-12)


def test_random_schedules():
    dice = random.Random(5)  # noqa: S311
    for _ in range(50):
        total = dice.randrange(2, 300)
        milestones = sorted(dice.sample(range(1, total), dice.randrange(0, min(5, total - 1) + 1)))
        unit = dice.choice(["iterations", "epochs"])
        schedule = {"unit": unit, "total": total, "milestones": milestones, "factor": dice.uniform(0.05, 1.5)}
        spec, per_epoch = spec_of({"name": "adagrad"}, {"kind": "none"}, schedule), dice.randrange(1, 9)
        assert rate_sum(spec, per_epoch) == pytest.approx(1e-2 * math.fsum(walked(spec, per_epoch)), rel=1e-12)


@pytest.mark.parametrize(
    "settings", [{}, {"momentum": 0.0}, {"momentum": 0.5, "dampening": 0.25}, {"momentum": 0.0, "dampening": 0.5}]
)
def test_sgd_l2_is_what_a_parameter_without_a_loss_loses(settings):
    """Walk θ ← θ − lr · buffer with torch's momentum: ln(θ₀ / θ) is the budget, but for the start of the buffer."""
    schedule = {"unit": "iterations", "total": 20_000, "milestones": [15_000]}
    spec = spec_of({"name": "sgd", "lr": 0.1, **settings}, {"kind": "l2", "strength": 5e-4}, schedule)
    momentum, dampening = settings.get("momentum", 0.9), settings.get("dampening", 0.0)
    theta, buffer = 1.0, 0.0
    for step, scale in enumerate(walked(spec, 1)):
        gradient = 5e-4 * theta
        if momentum and step:
            gradient = momentum * buffer + (1 - dampening) * gradient
        buffer = gradient
        theta -= 0.1 * scale * buffer
    assert decay_budget(spec, 1) == pytest.approx(-math.log(theta), rel=2e-2)


def test_weight_decay_is_what_its_factors_multiply_to():
    spec = spec_of(
        {"name": "adam"}, {"kind": "wd", "strength": 1e-3}, {"unit": "epochs", "total": 8, "milestones": [6]}
    )
    theta = math.prod(1 - 1e-3 * scale for scale in walked(spec, 1250))
    assert decay_budget(spec, 1250) == pytest.approx(-math.log(theta), rel=1e-3)


@pytest.mark.parametrize("name", ["adam", "amsgrad", "adadelta", "adagrad", "rmsprop", "adamax"])
def test_adaptive_methods_have_a_budget_with_weight_decay_alone(name):
    schedule = {"unit": "iterations", "total": 10}
    for kind, expected in (("none", None), ("l2", None), ("gamma_l1", None), ("wd", 0.1)):
        strength = {} if kind == "none" else {"strength": 1e-2}
        assert decay_budget(spec_of({"name": name}, {"kind": kind, **strength}, schedule), 1) == (
            expected if expected is None else pytest.approx(expected)
        )


@pytest.mark.parametrize("kind", ["none", "gamma_l1"])
def test_sgd_without_l2_has_none(kind):
    assert decay_budget(spec_of({"name": "sgd"}, {"kind": kind}, {"unit": "iterations", "total": 10}), 1) is None


def test_the_figures_of_the_plan():
    """CIFAR quarter: 10,000 steps, ÷10 after 7,700, λ = 1e-3: a budget of 7.9."""
    schedule = {"unit": "iterations", "total": 10_000, "milestones": [7700]}
    wd = spec_of({"name": "adam"}, {"kind": "wd", "strength": 1e-3}, schedule)
    sgd = spec_of({"name": "sgd"}, {"kind": "l2", "strength": 1e-3}, schedule)
    assert decay_budget(wd, 1250) == pytest.approx(7.93)
    assert decay_budget(sgd, 1250) == pytest.approx(7.93)
    assert rate_sum(wd, 1250) == pytest.approx(7.93)


@pytest.mark.parametrize(
    ("images", "batch", "expected"), [(80, 40, 2), (81, 40, 2), (82, 40, 3), (2, 40, 1), (1, 40, 0)]
)
def test_a_last_batch_of_one_is_left_out(images, batch, expected):
    assert steps_per_epoch(images, batch) == expected


@pytest.mark.usefixtures("own")
def test_steps_per_epoch_of_corpora_known_by_name():
    assert known_steps_per_epoch(load_spec("own.toml").spec) == 35  # of the 1,797 digits 1,400 are trained on
    assert known_steps_per_epoch(load_spec("own.toml", ["data.name=cifar10"]).spec) == 1250
    assert known_steps_per_epoch(load_spec("own.toml", ["data.name=imagenet", "batch_size=64"]).spec) == 20_019
    assert known_steps_per_epoch(load_spec("own.toml", ["data.name=imagefolder:x"]).spec) is None
