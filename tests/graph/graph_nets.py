"""Small networks with planted filters, and by hand what their filters put out: the oracle knows no graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FILTERS = 8
SHAPE = (3, 8, 8)
#        dead    constant  small γ  silent  small γ, β > 0  selective  healthy  negative γ
GAMMA = (0.0, 0.0, 5e-4, 1.2, -5e-4, 1.0, 1.1, -0.9)
BETA = (-0.5, 0.7, -0.3, -50.0, 0.2, -1.3, 0.1, 0.3)


class Measured(NamedTuple):
    """What one layer's filters put out, [images, filters, …plane], and whether a nonlinearity comes last."""

    activation: Tensor
    fires: bool


def plant(module: nn.Module) -> nn.Module:
    """Plant filters of every kind in each norm; where a convolution has a bias, in its weights as well."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d | nn.GroupNorm | nn.InstanceNorm2d) and part.weight is not None:
            repeats = part.weight.numel() // FILTERS
            part.weight.data = torch.tensor(GAMMA).repeat(repeats)
            part.bias.data = torch.tensor(BETA).repeat(repeats)
        if isinstance(part, nn.BatchNorm2d) and part.running_mean is not None:
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.2, 0.4)
        if isinstance(part, nn.Conv2d) and part.bias is not None:
            part.weight.data[:2] = 0
            part.bias.data[:4] = torch.tensor([-0.5, 0.7, -50.0, -1.2])
    return module.eval()


def images(count: int, seed: int = 0) -> Tensor:
    """Return images [count, 3, 8, 8] of growing contrast, so that selective filters respond to some of them."""
    torch.manual_seed(seed)
    return torch.randn(count, *SHAPE) * torch.linspace(0.3, 1.5, count).view(-1, 1, 1, 1)


def conv(channels: int = 3, filters: int = FILTERS, kernel: int | tuple[int, int] = 3, **options: object) -> nn.Conv2d:
    return nn.Conv2d(channels, filters, kernel, **{"padding": 1, "bias": False, **options})  # type: ignore[arg-type]


def norm(filters: int = FILTERS) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(filters)


class Functional(nn.Module):
    """A module of a plain function."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Steps(NamedTuple):
    """One convolution, steps in a row after it, and after which step its filters are measured."""

    steps: list[Callable[[], nn.Module]]
    measured: int
    fires: bool


def _fn(function: Callable[[Tensor], Tensor]) -> Callable[[], nn.Module]:
    return lambda: Functional(function)


STEPS: dict[str, Steps] = {
    "functional-relu": Steps([conv, norm, _fn(F.relu)], 2, True),
    "module-relu": Steps([conv, norm, nn.ReLU], 2, True),
    "in-place-relu": Steps([conv, norm, lambda: nn.ReLU(inplace=True)], 2, True),
    "relu_": Steps([conv, norm, _fn(torch.relu_)], 2, True),
    "clamp": Steps([conv, norm, _fn(lambda x: x.clamp(min=0))], 2, True),
    "leaky": Steps([conv, norm, lambda: nn.LeakyReLU(0.1)], 2, True),
    "prelu": Steps([conv, norm, lambda: nn.PReLU(FILTERS)], 2, True),
    "silu": Steps([conv, norm, lambda: nn.SiLU(inplace=True)], 2, True),
    "relu6": Steps([conv, norm, nn.ReLU6], 2, True),
    "hardswish": Steps([conv, norm, nn.Hardswish], 2, True),
    "gelu": Steps([conv, norm, nn.GELU], 2, True),
    "dropout-between": Steps([conv, norm, nn.Dropout2d, nn.ReLU, nn.Dropout], 3, True),
    "no-norm": Steps([lambda: conv(bias=True), nn.ReLU, lambda: conv(FILTERS, 4, bias=True)], 1, True),
    "no-norm-no-act": Steps([lambda: conv(bias=True), lambda: conv(FILTERS, 4, bias=True)], 0, False),
    "norm-last": Steps([conv, norm], 1, False),
    "act-then-norm": Steps([conv, nn.ReLU, norm], 2, False),
    "act-pool-norm": Steps([conv, nn.ReLU, lambda: nn.MaxPool2d(2), norm], 3, False),
    "act-norm-act": Steps([conv, nn.LeakyReLU, norm, nn.ReLU], 3, True),
    "max-pool-between": Steps([conv, norm, lambda: nn.MaxPool2d(2), nn.ReLU], 3, True),
    "pool-with-indices": Steps(
        [conv, norm, _fn(lambda x: F.max_pool2d(x, 2, return_indices=True)[0]), nn.ReLU], 3, True
    ),
    "pooled-later": Steps([conv, norm, nn.ReLU, lambda: nn.AvgPool2d(2)], 2, True),
    "norm-then-pool": Steps([conv, norm, lambda: nn.MaxPool2d(2)], 1, False),
    "no-norm-pool": Steps([lambda: conv(bias=True), nn.ReLU, lambda: nn.AvgPool2d(4)], 1, True),
    "two-norms": Steps([conv, norm, norm, nn.ReLU], 1, False),
    "no-affine": Steps([conv, lambda: nn.BatchNorm2d(FILTERS, affine=False), nn.ReLU], 2, True),
    "group-norm": Steps([conv, lambda: nn.GroupNorm(2, FILTERS), nn.ReLU], 2, True),
    "instance-norm": Steps([conv, lambda: nn.InstanceNorm2d(FILTERS, affine=True), nn.ReLU], 2, True),
    "dilated-strided": Steps([lambda: conv(dilation=2, stride=2), norm, nn.ReLU], 2, True),
    "asymmetric": Steps([lambda: conv(kernel=(1, 5), padding=(0, 2), stride=(2, 1)), norm, nn.ReLU], 2, True),
    "same-padding": Steps([lambda: conv(kernel=(2, 3), padding="same"), norm, nn.ReLU], 2, True),
    "circular": Steps([lambda: conv(padding_mode="circular"), norm, nn.ReLU], 2, True),
    "transposed": Steps([lambda: nn.ConvTranspose2d(3, FILTERS, 3, stride=2, bias=False), norm, nn.ReLU], 2, True),
    "one-pixel": Steps([lambda: conv(kernel=8, padding=0), norm, nn.ReLU], 2, True),
}


class InARow(nn.Sequential):
    """The steps of one entry of ``STEPS``; the first convolution is ``0``."""

    def __init__(self, name: str) -> None:
        self.plan = STEPS[name]
        super().__init__(*[build() for build in self.plan.steps])

    def measured(self, x: Tensor) -> dict[str, Measured]:
        found = {}
        for place, step in enumerate(self):
            x = step(x.clone())  # a copy, for the steps that work in place
            if place == self.plan.measured:
                found["0"] = Measured(x.clone(), self.plan.fires)
            elif place and isinstance(step, nn.Conv2d):
                found[str(place)] = Measured(x.clone(), False)
        return found


class AllRows(nn.Module):
    """Every entry of ``STEPS`` side by side on the same images: one capture for all of them."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = nn.ModuleDict({name: InARow(name) for name in STEPS})

    def forward(self, x: Tensor) -> list[Tensor]:
        return [row(x) for row in self.rows.values()]

    def measured(self, x: Tensor) -> dict[str, Measured]:
        found = {}
        for name, row in self.rows.items():
            assert isinstance(row, InARow)
            found |= {f"rows.{name}.{key}": measured for key, measured in row.measured(x).items()}
        return found
