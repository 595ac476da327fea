"""A small module, gradients for it, and a spec to train it by."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import nn
from update_formulas import Array

from sparsity_audit.schema.spec import ZooSpec
from sparsity_audit.training.optimizers import Updater, parameter_groups

STEPS, MILESTONE, STRENGTH = 100, 60, 0.01


class Net(nn.Module):
    """Every kind of parameter that a zoo network has."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.linear = nn.Linear(4, 5)
        self.norm1d = nn.BatchNorm1d(5)


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
