"""Updates against formulas written out in float64."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from training_nets import MILESTONE, STEPS, STRENGTH, fresh, give, gradients, spec, trained, worst
from update_formulas import NAMES, PAPER, RULES, Array

from sparsity_audit.training.optimizers import Updater, parameter_groups


def role(name: str) -> str:
    if name.startswith("norm"):
        return "gamma" if name.endswith("weight") else "beta"
    return "weights"


def reference(
    net: nn.Module,
    name: str,
    settings: dict[str, Any],
    kind: str,
    given: Iterable[dict[str, torch.Tensor]],
    factors: dict[str, float],
) -> dict[str, Array]:
    """Return all parameters after the given gradients, in float64."""
    values = {path: parameter.detach().double().numpy().copy() for path, parameter in net.named_parameters()}
    memory: dict[str, dict[str, Any]] = {path: {} for path in values}
    for step, now in enumerate(given):
        scale = 1.0 if step < MILESTONE else 0.1
        for path, theta in values.items():
            g = now[path].double().numpy()
            if kind == "l2":
                g = g + STRENGTH * theta
            if kind == "gamma_l1" and role(path) == "gamma":
                g = g + STRENGTH * np.sign(theta)
            rate = settings["lr"] * scale * factors.get(role(path), 1.0)
            theta = RULES[name](settings, step + 1, rate, theta, g, memory[path])
            values[path] = theta * (1 - STRENGTH * scale) if kind == "wd" else theta
    return values


@pytest.mark.parametrize("kind", ["none", "l2", "wd", "gamma_l1"])
@pytest.mark.parametrize("name", NAMES)
def test_a_hundred_updates_are_those_of_the_formulas(name: str, kind: str) -> None:
    for dtype, tolerance in ((torch.float32, 1e-6), (torch.float64, 1e-13)):
        net = fresh(dtype)
        given = gradients(net, STEPS)
        expected = reference(net, name, PAPER[name], kind, given, {})
        found = trained(net, spec(name, kind), given)
        assert net.conv.weight.is_contiguous(memory_format=torch.channels_last)
        assert worst(found, expected) <= tolerance


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("sgd", {"lr": 0.05, "momentum": 0.8, "nesterov": True}),
        ("sgd", {"lr": 0.2, "momentum": 0.5, "dampening": 0.3}),
        ("adam", {"lr": 3e-3, "betas": (0.8, 0.999), "eps": 1e-3}),
        ("adadelta", {"lr": 0.5, "rho": 0.95, "eps": 1e-4}),
        ("adagrad", {"lr": 0.1, "lr_decay": 0.05, "eps": 1e-2}),
        ("amsgrad", {"betas": (0.5, 0.9), "eps": 1e-2}),
        ("rmsprop", {"alpha": 0.9, "momentum": 0.7, "centered": True, "eps": 1e-2}),
        ("adamax", {"betas": (0.7, 0.9), "eps": 1e-1}),
    ],
)
def test_hyperparameters_of_the_spec_reach_the_optimizer(name: str, settings: dict[str, Any]) -> None:
    net = fresh(torch.float64)
    given = gradients(net, STEPS)
    expected = reference(net, name, {**PAPER[name], **settings}, "l2", given, {})
    assert worst(trained(net, spec(name, "l2", optimizer=settings), given), expected) <= 1e-13


@pytest.mark.parametrize(("name", "kind"), [("adam", "wd"), ("sgd", "wd"), ("sgd", "l2"), ("adamax", "gamma_l1")])
def test_multipliers_scale_the_rates_of_gamma_and_beta_but_not_the_decay(name: str, kind: str) -> None:
    factors = {"gamma": 0.1, "beta": 3.0}
    net = fresh(torch.float64)
    given = gradients(net, STEPS)
    expected = reference(net, name, PAPER[name], kind, given, factors)
    the_spec = spec(name, kind, lr_multipliers=factors)
    assert worst(trained(net, the_spec, given), expected) <= 1e-13
    rates = {group.role: group.record().lr for group in parameter_groups(net, the_spec)}
    lr = PAPER[name]["lr"]
    assert rates == {"weights": lr, "gamma": pytest.approx(0.1 * lr), "beta": pytest.approx(3 * lr)}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("factor", [0.1, 10.0])
def test_without_gradients_decay_is_the_same_power_for_every_optimizer_and_multiplier(name: str, factor: float) -> None:
    net = fresh(torch.float64)
    before = {path: parameter.detach().clone() for path, parameter in net.named_parameters()}
    nothing = [{path: torch.zeros_like(value) for path, value in before.items()}] * STEPS
    found = trained(net, spec(name, "wd", lr_multipliers={"gamma": factor, "beta": factor}), nothing)
    power = (1 - STRENGTH) ** MILESTONE * (1 - STRENGTH * 0.1) ** (STEPS - MILESTONE)
    assert worst(found, {path: value.numpy() * power for path, value in before.items()}) <= 1e-12


def adamw(net: nn.Module, given: Iterable[dict[str, torch.Tensor]]) -> dict[str, Array]:
    """Train with torch's AdamW at wd = λ / lr: the same factor, before the step."""
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, betas=(0.9, 0.99), weight_decay=STRENGTH / 1e-3)
    for now in given:
        optimizer.zero_grad()
        give(net, now)
        optimizer.step()
    return {name: parameter.detach().double().numpy() for name, parameter in net.named_parameters()}


def test_weight_decay_is_near_torchs_adamw_and_not_equal_to_it() -> None:
    nothing = [{name: torch.zeros_like(value) for name, value in fresh().named_parameters()}] * 50
    ours = trained(fresh(torch.float64), spec("adam", "wd"), nothing)
    assert worst(adamw(fresh(torch.float64), nothing), ours) <= 1e-12  # the same factor
    given = gradients(fresh(), 50)
    ours, theirs = trained(fresh(torch.float64), spec("adam", "wd"), given), adamw(fresh(torch.float64), given)
    # AdamW does not shrink the newest step: u₁ … uₙ differ by λ·Σ(1 − λ)ᵏ·u, below λ·n·lr.
    assert 1e-5 < worst(ours, theirs) < STRENGTH * 50 * 2e-3
    start = fresh(torch.float64)
    ours, theirs = trained(start, spec("adam", "wd"), given[:1]), adamw(fresh(torch.float64), given[:1])
    step = 1e-3 * np.sign(given[0]["linear.weight"].numpy())  # Adam's first step is the sign of the gradient
    difference = ours["linear.weight"] - theirs["linear.weight"]
    assert np.allclose(difference, STRENGTH * step, atol=1e-9)


def test_the_schedule_is_followed_wherever_a_run_goes_on() -> None:
    """A new Updater at a later step, as after a resume, has the rate of that step at once."""
    net = fresh(torch.float64)
    the_spec = spec("sgd", optimizer={"momentum": 0.0})
    updater = Updater(the_spec, parameter_groups(net, the_spec))
    before = net.linear.weight.detach().clone()
    for scale in (0.1, 1.0, 0.01, 0.01):
        give(net, {name: torch.ones_like(parameter) for name, parameter in net.named_parameters()})
        updater.step(scale)
    moved = (before - net.linear.weight.detach()).flatten().tolist()
    assert all(math.isclose(value, 0.1 * 1.12, rel_tol=1e-9) for value in moved)
