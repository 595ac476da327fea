"""Scalars under an optimizer: against torch.optim stepping the same scalars, and cases worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from sparsity_audit.schema.spec import OptimizerSpec, ZooOptimizerSpec
from sparsity_audit.stats.scalars import Kind, Scalars, trajectory

PAPER = {
    "sgd": 0.1,
    "adam": 1e-3,
    "adadelta": 1.0,
    "adagrad": 1e-2,
    "amsgrad": 1e-3,
    "rmsprop": 1e-3,
    "adamax": 2e-3,
}
"""Learning rates of Sec. 2.1 and supplement Figure 3."""
TORCH: dict[str, Any] = {
    "sgd": lambda p, lr, wd: torch.optim.SGD([p], lr=lr, momentum=0.9, weight_decay=wd),
    "adam": lambda p, lr, wd: torch.optim.Adam([p], lr=lr, betas=(0.9, 0.99), eps=1e-8, weight_decay=wd),
    "adadelta": lambda p, lr, wd: torch.optim.Adadelta([p], lr=lr, rho=0.9, eps=1e-6, weight_decay=wd),
    "adagrad": lambda p, lr, wd: torch.optim.Adagrad([p], lr=lr, weight_decay=wd),
    "amsgrad": lambda p, lr, wd: torch.optim.Adam(
        [p], lr=lr, betas=(0.9, 0.99), eps=1e-8, weight_decay=wd, amsgrad=True
    ),
    "rmsprop": lambda p, lr, wd: torch.optim.RMSprop([p], lr=lr, weight_decay=wd),
    "adamax": lambda p, lr, wd: torch.optim.Adamax([p], lr=lr, weight_decay=wd),
}
KINDS: list[Kind] = ["none", "l2", "wd"]


def paper(name: str, **given: Any) -> ZooOptimizerSpec:
    return ZooOptimizerSpec.model_validate({"name": name, "lr": PAPER[name], **given})


def figure4(steps: int, scalars: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Gradients of Figure 4: std 1e-3 for 100 steps, then 1e-5; some of them exactly 0."""
    rng = np.random.default_rng(seed)
    given = rng.normal(0.0, 1.0, (steps, scalars))
    given[:100] *= 1e-3
    given[100:] *= 1e-5
    given[:, 0] = 0.0
    given[rng.random(given.shape) < 0.2] = 0.0
    return given


def stepped_by_torch(
    optimizer: Any, parameter: torch.nn.Parameter, given: Any, kind: Kind, strength: float, scales: Any, base: float
) -> Any:
    """θ after every step of a torch optimizer, weight decay after the step as in Sec. 2.1."""
    kept = [parameter.detach().clone().numpy()]
    for gradient, scale in zip(given, scales, strict=True):
        parameter.grad = torch.from_numpy(gradient)
        for group in optimizer.param_groups:
            group["lr"] = base * scale
        optimizer.step()
        if kind == "wd":
            with torch.no_grad():
                parameter.mul_(1 - strength * scale)
        kept.append(parameter.detach().clone().numpy())
    return np.stack(kept)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", PAPER)
def test_same_as_torch(name: str, kind: Kind) -> None:
    given = figure4(600, 16)
    scales = np.where(np.arange(600) < 400, 1.0, 0.1)
    start = np.linspace(-1.0, 1.0, 16)
    parameter = torch.nn.Parameter(torch.from_numpy(start.copy()))
    optimizer = TORCH[name](parameter, PAPER[name], 2e-3 if kind == "l2" else 0.0)
    expected = stepped_by_torch(optimizer, parameter, given, kind, 2e-3, scales, PAPER[name])
    found = trajectory(Scalars(paper(name), start, kind, 2e-3), given, scales)
    assert found.shape == (601, 16)
    assert np.abs(found - expected).max() < 1e-9
    assert np.abs(found[-1] - start).max() > 1e-4  # something moved, so that equality says something


@pytest.mark.parametrize(
    ("name", "given", "build"),
    [
        ("sgd", {"momentum": 0.0}, lambda p: torch.optim.SGD([p], lr=0.1, weight_decay=1e-3)),
        (
            "sgd",
            {"nesterov": True},
            lambda p: torch.optim.SGD([p], lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-3),
        ),
        (
            "sgd",
            {"dampening": 0.3},
            lambda p: torch.optim.SGD([p], lr=0.1, momentum=0.9, dampening=0.3, weight_decay=1e-3),
        ),
        (
            "rmsprop",
            {"centered": True, "momentum": 0.5},
            lambda p: torch.optim.RMSprop([p], lr=1e-3, centered=True, momentum=0.5, weight_decay=1e-3),
        ),
        ("adagrad", {"lr_decay": 0.01}, lambda p: torch.optim.Adagrad([p], lr=1e-2, lr_decay=0.01, weight_decay=1e-3)),
    ],
)
def test_hyperparameters_reach_the_step(name: str, given: dict[str, Any], build: Any) -> None:
    gradients = figure4(200, 4) * 10
    parameter = torch.nn.Parameter(torch.ones(4, dtype=torch.float64))
    expected = stepped_by_torch(build(parameter), parameter, gradients, "l2", 1e-3, np.ones(200), PAPER[name])
    found = trajectory(Scalars(paper(name, **given), np.ones(4), "l2", 1e-3), gradients)
    assert np.abs(found - expected).max() < 1e-9


@pytest.mark.parametrize("name", PAPER)
def test_goes_on_from_the_state_of_a_torch_optimizer(name: str) -> None:
    gradients = figure4(300, 8)
    parameter = torch.nn.Parameter(torch.ones(8, dtype=torch.float64))
    optimizer = TORCH[name](parameter, PAPER[name], 1e-3)
    stepped_by_torch(optimizer, parameter, gradients[:150], "l2", 1e-3, np.ones(150), PAPER[name])
    start = parameter.detach().clone().numpy()
    kept = {key: value.clone().numpy() for key, value in optimizer.state[parameter].items() if key != "step"}
    scalars = Scalars(paper(name), start, "l2", 1e-3, memory=kept, steps_done=150)
    expected = stepped_by_torch(optimizer, parameter, gradients[150:], "l2", 1e-3, np.ones(150), PAPER[name])
    assert np.abs(trajectory(scalars, gradients[150:]) - expected).max() < 1e-9


def test_weight_decay_alone_is_a_power_of_one_minus_lambda() -> None:
    found = trajectory(Scalars(paper("adam"), [1.0, -2.0], "wd", 1e-3), np.zeros((500, 2)))
    assert np.allclose(found, np.outer(0.999 ** np.arange(501), [1.0, -2.0]), rtol=1e-12)


def test_weight_decay_follows_the_schedule_and_not_the_learning_rate() -> None:
    scalars = Scalars(paper("sgd", lr=7.0), 1.0, "wd", 0.5)
    scalars.step(0.0, scale=0.1)
    assert scalars.values == pytest.approx(0.95)


def test_l1_adds_the_sign() -> None:
    scalars = Scalars(paper("sgd", momentum=0.0), [1.0, -1.0, 0.0], "gamma_l1", 0.5)
    scalars.step(0.0)
    assert np.allclose(scalars.values, [0.95, -0.95, 0.0])


def test_one_lambda_for_each_row_of_scalars() -> None:
    """A range of λ × a number of draws at once equals each λ by itself."""
    gradients = figure4(120, 5)
    strengths = np.array([[1e-4], [1e-3], [1e-2]])
    together = trajectory(Scalars(paper("adam"), np.ones((3, 5)), "l2", strengths), gradients)
    for row, strength in enumerate(strengths[:, 0]):
        alone = trajectory(Scalars(paper("adam"), np.ones(5), "l2", strength), gradients)
        assert np.array_equal(together[:, row], alone)


def test_keeps_every_tenth_value_the_start_and_the_last() -> None:
    gradients = figure4(25, 3)
    whole = trajectory(Scalars(paper("adam"), np.ones(3), "l2", 1e-3), gradients)
    kept = trajectory(Scalars(paper("adam"), np.ones(3), "l2", 1e-3), iter(gradients), every=10)
    assert np.array_equal(kept, whole[[0, 10, 20, 25]])


def test_none_takes_no_notice_of_lambda_and_start_is_copied() -> None:
    start = np.ones(3)
    scalars = Scalars(paper("sgd"), start, "none", 0.5)
    scalars.step(np.zeros(3))
    assert np.array_equal(scalars.values, start)
    scalars.step(np.ones(3))
    assert np.array_equal(start, np.ones(3))


def test_hyperparameters_left_out_are_the_papers() -> None:
    """torch's own default for Adam's β₂ is 0.999."""
    bare = Scalars(OptimizerSpec(name="adam", lr=1e-3), np.ones(2), "none")
    whole = Scalars(paper("adam", betas=(0.9, 0.99), eps=1e-8), np.ones(2), "none")
    gradients = figure4(50, 2)
    assert np.array_equal(trajectory(bare, gradients), trajectory(whole, gradients))
