"""The scalar experiment of Figure 4: against torch.optim stepping the same scalars, and what came of it in the plan."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from sparsity_audit.errors import UsageError
from sparsity_audit.studies.simulate import KINDS, OPTIMIZERS, Simulation, gradients, simulate

TORCH: dict[str, Any] = {
    "sgd": lambda p, l2: torch.optim.SGD([p], lr=0.1, momentum=0.9, weight_decay=l2),
    "adam": lambda p, l2: torch.optim.Adam([p], lr=1e-3, betas=(0.9, 0.99), eps=1e-8, weight_decay=l2),
    "adadelta": lambda p, l2: torch.optim.Adadelta([p], lr=1.0, rho=0.9, eps=1e-6, weight_decay=l2),
    "adagrad": lambda p, l2: torch.optim.Adagrad([p], lr=1e-2, weight_decay=l2),
    "amsgrad": lambda p, l2: torch.optim.Adam([p], lr=1e-3, betas=(0.9, 0.99), weight_decay=l2, amsgrad=True),
    "rmsprop": lambda p, l2: torch.optim.RMSprop([p], lr=1e-3, weight_decay=l2),
    "adamax": lambda p, l2: torch.optim.Adamax([p], lr=2e-3, weight_decay=l2),
}
"""The paper's learning rates (supplement Figure 3)."""


def stepped_by_torch(name: str, kind: str, strength: float, given: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """|θ| before the first step and after each one, [1 + steps, draws]."""
    parameter = torch.nn.Parameter(torch.ones(given.shape[1], dtype=torch.float64))
    optimizer = TORCH[name](parameter, strength if kind == "l2" else 0.0)
    kept = [parameter.detach().abs().numpy().copy()]
    for gradient in torch.from_numpy(given):
        parameter.grad = gradient.clone()
        optimizer.step()
        if kind == "wd":
            parameter.data.mul_(1 - strength)
        kept.append(parameter.detach().abs().numpy().copy())
    return np.stack(kept)


def median_passage(sizes: np.ndarray[Any, Any], limit: float) -> int | None:
    """The step by which more than half of the draws have been below a limit, counted the slow way."""
    for step in range(len(sizes)):
        if 2 * (sizes[: step + 1] < limit).any(axis=0).sum() > sizes.shape[1]:
            return step
    return None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_same_as_torch(name: str, kind: str) -> None:
    strengths, steps, draws = [1e-3, 2e-2], 400, 8
    found = simulate([name], [kind], strengths, steps=steps, draws=draws, seed=3)
    given = np.stack(list(gradients(steps, draws, 3)))
    for curve in found.curves:
        sizes = stepped_by_torch(name, kind, curve.strength, given)
        read = sizes[found.at]
        assert np.abs(np.array(curve.mean) - read.mean(axis=1)).max() < 1e-6
        assert np.abs(np.array(curve.low) - np.quantile(read, 0.05, axis=1)).max() < 1e-6
        assert np.abs(np.array(curve.high) - np.quantile(read, 0.95, axis=1)).max() < 1e-6
        assert curve.to_half == median_passage(sizes, 0.5)
        assert curve.to_threshold == median_passage(sizes, 1e-3)
        assert curve.inactive == (sizes[-1] < 1e-3).mean()
        assert curve.end == pytest.approx(sizes[-1].mean(), abs=1e-6)
        assert curve.lr == TORCH[name](torch.nn.Parameter(torch.ones(1)), 0.0).defaults["lr"]
    assert found.at[0] == 0
    assert found.at[-1] == steps


def test_gradients_are_those_of_figure_4() -> None:
    given = np.stack(list(gradients(300, 5000, 0)))
    deviations = given.std(axis=1)
    assert deviations[:100] == pytest.approx(1e-3, rel=0.06)
    assert deviations[100:] == pytest.approx(1e-5, rel=0.06)
    assert np.array_equal(given[:50], np.stack(list(gradients(50, 5000, 0))))
    assert not np.array_equal(given, np.stack(list(gradients(300, 5000, 1))))


def test_all_curves_meet_the_same_gradients() -> None:
    """A λ of 0 leaves the optimizer alone with them: L2 and weight decay come out the same."""
    found = simulate(["rmsprop"], ["l2", "wd"], [0.0], steps=200, draws=4)
    assert found.curve("rmsprop", "l2", 0.0).mean == found.curve("rmsprop", "wd", 0.0).mean


def test_a_curve_does_not_depend_on_the_others() -> None:
    alone = simulate(["adam"], ["l2"], [2e-3], steps=300, draws=5)
    among = simulate(["sgd", "adam"], ["wd", "l2"], [1e-4, 2e-3], steps=300, draws=5)
    assert among.curve("adam", "l2", 2e-3) == alone.curves[0]


def test_order_over_lambda() -> None:
    """Up to 2e-3 Adam with L2 is the first below 1e-3, of Figure 4's methods; from 5e-3 on it is not."""
    found = simulate(["adam", "sgd"], draws=9, steps=4500)
    fastest = {strength: found.order(strength) for strength in (1e-4, 1e-3, 2e-3, 5e-3, 1e-2)}
    for strength in (1e-4, 1e-3, 2e-3):
        assert (fastest[strength][0].optimizer, fastest[strength][0].kind) == ("adam", "l2")
    for strength in (5e-3, 1e-2):
        assert (fastest[strength][-1].optimizer, fastest[strength][-1].kind) == ("adam", "l2")
        assert len(fastest[strength]) == 4
    steps = [curve.to_threshold for curve in fastest[2e-3]]
    assert steps == sorted(steps, key=lambda step: step or 0)
    assert found.order(0.5) == []


def test_steps_that_are_not_reached_are_unknown() -> None:
    curve = simulate(["sgd"], ["wd"], [1e-4], steps=500, draws=3).curves[0]
    assert curve.to_half is None
    assert curve.to_threshold is None
    assert curve.inactive == 0


def test_weight_decay_without_momentum_of_the_loss_is_a_power() -> None:
    """SGD under such gradients hardly moves by them: 1 − λ to the power of the steps."""
    curve = simulate(["sgd"], ["wd"], [1e-2], steps=200, draws=50).curves[0]
    assert curve.end == pytest.approx(0.99**200, abs=5e-3)
    assert curve.to_half == pytest.approx(np.log(0.5) / np.log(0.99), abs=2)


def test_one_step_of_one_scalar() -> None:
    found = simulate(["sgd"], ["l2"], [1e-3], steps=1, draws=1)
    gradient = next(gradients(1, 1, 0))[0]
    assert found.at == [0, 1]
    assert found.curves[0].mean == pytest.approx([1.0, 1.0 - 0.1 * (gradient + 1e-3)], abs=1e-12)


def test_goes_through_json() -> None:
    found = simulate(["adam"], ["l2"], [1e-3], steps=20, draws=2)
    assert Simulation.model_validate_json(found.to_json()) == found
    with pytest.raises(KeyError):
        found.curve("sgd", "l2", 1e-3)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"optimizers": ["adm"]}, "did you mean 'adam'"),
        ({"kinds": ["l1"]}, "no regularizer 'l1'"),
        ({"strengths": [1.0]}, "strength = 1.0"),
        ({"strengths": [-1e-3]}, "strength = -0.001"),
        ({"strengths": [float("nan")]}, "strength = nan"),
        ({"strengths": []}, "no strength given"),
        ({"optimizers": []}, "no optimizer given"),
        ({"kinds": []}, "no regularizer given"),
        ({"strengths": [1e-3, 0.001]}, "stands there twice"),
        ({"optimizers": ["sgd", "sgd"]}, "stands there twice"),
        ({"steps": 0}, "steps = 0"),
        ({"draws": 0}, "draws = 0"),
        ({"seed": -1}, "seed = -1"),
    ],
)
def test_what_cannot_be_is_one_line(given: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=r"^simulate: ") as caught:
        simulate(**{"steps": 5, "draws": 2, **given})
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
