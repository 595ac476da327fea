"""Updates against formulas written out in float64, and who is regularised."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from sparsity_audit.schema.spec import ZooSpec
from sparsity_audit.training.optimizers import Updater, parameter_groups

Array = np.ndarray[Any, np.dtype[np.float64]]
Rule = Callable[[dict[str, Any], int, float, Array, Array, dict[str, Any]], Array]

STEPS, MILESTONE, STRENGTH = 100, 60, 0.01
NAMES = ["sgd", "adam", "adadelta", "adagrad", "amsgrad", "rmsprop", "adamax"]
PAPER: dict[str, dict[str, Any]] = {
    "sgd": {"lr": 0.1, "momentum": 0.9, "dampening": 0.0, "nesterov": False},
    "adam": {"lr": 1e-3, "betas": (0.9, 0.99), "eps": 1e-8},
    "adadelta": {"lr": 1.0, "rho": 0.9, "eps": 1e-6},
    "adagrad": {"lr": 1e-2, "lr_decay": 0.0, "eps": 1e-10},
    "amsgrad": {"lr": 1e-3, "betas": (0.9, 0.99), "eps": 1e-8},
    "rmsprop": {"lr": 1e-3, "alpha": 0.99, "eps": 1e-8, "momentum": 0.0, "centered": False},
    "adamax": {"lr": 2e-3, "betas": (0.9, 0.999), "eps": 1e-8},
}
"""Sec. 2.1 and supplement Figure 3, with torch's values for what the paper does not print."""


class Net(nn.Module):
    """Every kind of parameter that a zoo network has."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.linear = nn.Linear(4, 5)
        self.norm1d = nn.BatchNorm1d(5)


def role(name: str) -> str:
    if name.startswith("norm"):
        return "gamma" if name.endswith("weight") else "beta"
    return "weights"


def spec(name: str = "sgd", kind: str = "none", *, on: str = "all", **sections: Any) -> ZooSpec:
    regularizer = {"kind": kind} if kind == "none" else {"kind": kind, "strength": STRENGTH, "on": on}
    return ZooSpec.model_validate(
        {
            "network": {"name": "basicnet"},
            "data": {"name": "digits"},
            "regularizer": regularizer,
            "schedule": {"unit": "iterations", "total": STEPS, "milestones": [MILESTONE]},
            "batch_size": 40,
            **sections,
            "optimizer": {"name": name, **sections.get("optimizer", {})},
        }
    )


def fresh(dtype: torch.dtype = torch.float32) -> Net:
    torch.manual_seed(5)
    net = Net()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_()
        net.norm.weight[1] = 0.0  # where the sign is 0
    return net.to(dtype).to(memory_format=torch.channels_last)


def gradients(net: nn.Module, steps: int) -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(9)
    return [
        {
            name: torch.randn(parameter.shape, generator=generator) * 0.05 * 3.0 ** (step % 5 - 2)
            for name, parameter in net.named_parameters()
        }
        for step in range(steps)
    ]


def give(net: nn.Module, values: dict[str, torch.Tensor]) -> None:
    """Set the gradients by way of autograd, which lays them out as the parameters are."""
    torch.stack([(parameter * values[name]).sum() for name, parameter in net.named_parameters()]).sum().backward()


# The formulas, as torch's documentation has them from the optimizers' papers: (settings, t from 1, lr, θ, g, memory).


def sgd(h: dict[str, Any], t: int, lr: float, theta: Array, g: Array, memory: dict[str, Any]) -> Array:
    memory["b"] = g if t == 1 else h["momentum"] * memory["b"] + (1 - h["dampening"]) * g
    return theta - lr * (g + h["momentum"] * memory["b"] if h["nesterov"] else memory["b"])


def moments(h: dict[str, Any], g: Array, memory: dict[str, Any]) -> tuple[Array, Array]:
    first, second = h["betas"]
    memory["m"] = first * memory.get("m", 0.0) + (1 - first) * g
    memory["v"] = second * memory.get("v", 0.0) + (1 - second) * g**2
    return memory["m"], memory["v"]


def adam(h: dict[str, Any], t: int, lr: float, theta: Array, g: Array, memory: dict[str, Any]) -> Array:
    m, v = moments(h, g, memory)
    return theta - lr * (m / (1 - h["betas"][0] ** t)) / (np.sqrt(v / (1 - h["betas"][1] ** t)) + h["eps"])


def amsgrad(h: dict[str, Any], t: int, lr: float, theta: Array, g: Array, memory: dict[str, Any]) -> Array:
    m, v = moments(h, g, memory)
    memory["top"] = np.maximum(memory.get("top", 0.0), v)
    root = np.sqrt(memory["top"] / (1 - h["betas"][1] ** t)) + h["eps"]
    return theta - lr * (m / (1 - h["betas"][0] ** t)) / root


def adadelta(h: dict[str, Any], _: int, lr: float, theta: Array, g: Array, memory: dict[str, Any]) -> Array:
    memory["v"] = h["rho"] * memory.get("v", 0.0) + (1 - h["rho"]) * g**2
    change = np.sqrt(memory.get("u", 0.0) + h["eps"]) / np.sqrt(memory["v"] + h["eps"]) * g
    memory["u"] = h["rho"] * memory.get("u", 0.0) + (1 - h["rho"]) * change**2
    return theta - lr * change


def adagrad(h: dict[str, Any], t: int, lr: float, theta: Array, g: Array, memory: dict[str, Any]) -> Array:
    memory["sum"] = memory.get("sum", 0.0) + g**2
    return theta - lr / (1 + (t - 1) * h["lr_decay"]) * g / (np.sqrt(memory["sum"]) + h["eps"])


def rmsprop(h: dict[str, Any], _: int, lr: float, theta: Array, g: Array, memory: dict[str, Any]) -> Array:
    memory["v"] = v = h["alpha"] * memory.get("v", 0.0) + (1 - h["alpha"]) * g**2
    if h["centered"]:
        memory["mean"] = h["alpha"] * memory.get("mean", 0.0) + (1 - h["alpha"]) * g
        v = v - memory["mean"] ** 2
    memory["b"] = h["momentum"] * memory.get("b", 0.0) + g / (np.sqrt(v) + h["eps"])
    return theta - lr * memory["b"]


def adamax(h: dict[str, Any], t: int, lr: float, theta: Array, g: Array, memory: dict[str, Any]) -> Array:
    first, second = h["betas"]
    memory["m"] = first * memory.get("m", 0.0) + (1 - first) * g
    memory["u"] = np.maximum(second * memory.get("u", 0.0), np.abs(g) + h["eps"])
    return theta - lr / (1 - first**t) * memory["m"] / memory["u"]


RULES: dict[str, Rule] = dict(
    zip(NAMES, [sgd, adam, adadelta, adagrad, amsgrad, rmsprop, adamax], strict=True),
)


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


def trained(net: nn.Module, the_spec: ZooSpec, given: Iterable[dict[str, torch.Tensor]]) -> dict[str, Array]:
    updater = Updater(the_spec, parameter_groups(net, the_spec))
    for step, now in enumerate(given):
        give(net, now)
        updater.step(the_spec.schedule.scale(step, per_epoch=7))
        assert all(parameter.grad is None for parameter in net.parameters())
    return {name: parameter.detach().double().numpy() for name, parameter in net.named_parameters()}


def worst(found: dict[str, Array], expected: dict[str, Array]) -> float:
    """Return the largest |difference| / max(1, |θ|)."""
    assert found.keys() == expected.keys()
    return max(
        float(np.max(np.abs(found[name] - theta) / np.maximum(1.0, np.abs(theta)))) for name, theta in expected.items()
    )


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


WEIGHTS = {"conv.weight", "conv.bias", "linear.weight", "linear.bias"}
GAMMA = {"norm.weight", "norm1d.weight"}
BETA = {"norm.bias", "norm1d.bias"}


@pytest.mark.parametrize(
    ("kind", "on", "reached"),
    [
        ("l2", "all", WEIGHTS | GAMMA | BETA),
        ("l2", "weights", WEIGHTS),
        ("l2", "norm", GAMMA | BETA),
        ("wd", "all", WEIGHTS | GAMMA | BETA),
        ("wd", "weights", WEIGHTS),
        ("wd", "norm", GAMMA | BETA),
        ("gamma_l1", "all", GAMMA),
        ("gamma_l1", "weights", GAMMA),
        ("gamma_l1", "norm", GAMMA),
        ("none", "all", set()),
    ],
)
def test_what_a_regulariser_is_on(kind: str, on: str, reached: set[str]) -> None:
    net = fresh()
    before = {path: parameter.detach().clone() for path, parameter in net.named_parameters()}
    give(net, {path: torch.zeros_like(value) for path, value in before.items()})
    the_spec = spec("sgd", kind, on=on)
    groups = parameter_groups(net, the_spec)
    Updater(the_spec, groups).step(1.0)
    changed = {path for path, parameter in net.named_parameters() if not torch.equal(parameter, before[path])}
    assert changed == reached
    told = {name for group in groups if group.record().strength for name in group.record().parameters}
    assert told == reached
    assert {group.kind for group in groups if not group.strength} <= {"none"}


def test_a_parameter_without_a_gradient_is_no_obstacle_to_gamma_l1() -> None:
    net = fresh()
    before = net.norm1d.weight.detach().clone()
    net.norm.weight.grad = torch.zeros(4)
    the_spec = spec("sgd", "gamma_l1", optimizer={"momentum": 0.0})
    gamma = net.norm.weight.detach().clone()
    Updater(the_spec, parameter_groups(net, the_spec)).step(1.0)
    assert torch.equal(net.norm1d.weight, before)
    assert torch.allclose(net.norm.weight, gamma - 0.1 * STRENGTH * gamma.sign(), atol=1e-7)


class Mixed(nn.Module):
    """Norms of all kinds, a module used twice, weights that are tied, a bare parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 6)
        self.second = nn.Linear(6, 6, bias=False)
        self.second.weight = self.first.weight
        self.group = nn.GroupNorm(2, 6)
        self.layer = nn.LayerNorm(6)
        self.layer_without_beta = nn.LayerNorm(6, bias=False)
        self.instance = nn.InstanceNorm2d(6, affine=True)
        self.instance_plain = nn.InstanceNorm2d(6)
        self.batch = nn.BatchNorm3d(6)
        self.batch_plain = nn.BatchNorm2d(6, affine=False)
        self.again = nn.ModuleList([self.group, nn.Embedding(3, 6)])
        self.scale = nn.Parameter(torch.ones(6))


def test_every_parameter_stands_in_exactly_one_group() -> None:
    net = Mixed()
    groups = {group.role: group for group in parameter_groups(net, spec("adam", "l2", on="norm"))}
    names = {which: set(group.names) for which, group in groups.items()}
    assert names == {
        "weights": {"scale", "first.weight", "first.bias", "again.1.weight"},
        "gamma": {f"{norm}.weight" for norm in ("group", "layer", "layer_without_beta", "instance", "batch")},
        "beta": {f"{norm}.bias" for norm in ("group", "layer", "instance", "batch")},
    }
    held = [id(parameter) for group in groups.values() for parameter in group.parameters]
    assert sorted(held) == sorted(id(parameter) for parameter in net.parameters())
    known = dict(net.named_parameters())
    for group in groups.values():
        assert all(known[name] is found for name, found in zip(group.names, group.parameters, strict=True))
    assert list(groups["weights"].names) == [name for name in known if name in names["weights"]]


def test_small_decay_is_not_lost_in_rounding() -> None:
    """The factor 1 − 1e-5 is not a float32: rounded, it would decay by another λ."""
    net = nn.Linear(200, 200, bias=False)
    base = spec("sgd", "wd").model_dump()
    the_spec = ZooSpec.model_validate({**base, "regularizer": {"kind": "wd", "strength": 1e-5}})
    updater = Updater(the_spec, parameter_groups(net, the_spec))
    before = net.weight.detach().double()
    for _ in range(1000):
        updater.step(1.0)
    folds = -torch.log(net.weight.detach().double() / before).median().item()
    assert folds == pytest.approx(1000 * 1e-5, rel=2e-4)


def test_tied_weights_are_decayed_once() -> None:
    net = Mixed()
    before = net.first.weight.detach().clone()
    the_spec = spec("sgd", "wd")
    Updater(the_spec, parameter_groups(net, the_spec)).step(0.5)
    assert torch.allclose(net.second.weight, before * (1 - STRENGTH * 0.5), rtol=1e-6)


def test_roles_without_parameters_make_no_group() -> None:
    groups = parameter_groups(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, affine=False)), spec())
    assert [(group.role, group.names) for group in groups] == [("weights", ("0.weight", "0.bias"))]


def test_records_tell_rates_and_strengths() -> None:
    the_spec = spec("adam", "wd", on="weights", lr_multipliers={"gamma": 0.5})
    records = [group.record() for group in parameter_groups(fresh(), the_spec)]
    assert [(r.role, r.lr, r.regularizer, r.strength) for r in records] == [
        ("weights", 1e-3, "wd", STRENGTH),
        ("gamma", 5e-4, "none", 0.0),
        ("beta", 1e-3, "none", 0.0),
    ]


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
