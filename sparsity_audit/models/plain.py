"""What BasicNet and VGG share: a row of conv → norm → activation blocks, pooling, a fully connected head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from sparsity_audit.schema.spec import NetworkSpec


@dataclass(frozen=True)
class ConvPlan:
    """One convolution of a plain network."""

    filters: int
    kernel: int = 3
    pool: bool = False
    """Whether a 2×2 max-pool follows the block."""


@dataclass(frozen=True)
class HeadPlan:
    """What follows the last convolution (Sec. 4)."""

    hidden: tuple[int, ...]
    """Nodes of the hidden fully connected layers."""
    side: int = 1
    """Height and width of the plane that the first fully connected layer sees; 1: global average pooling."""
    pool: tuple[int, int] | None = None
    """Kernel and stride of the average pooling; where left out it adapts to ``side``."""
    norm: bool = True
    """Batch norm between the fully connected layers; without it dropout, as in Simonyan & Zisserman."""


def activation(spec: NetworkSpec) -> nn.Module:
    """Return the nonlinearity that a spec names."""
    if spec.activation == "leaky_relu":
        return nn.LeakyReLU(spec.negative_slope, inplace=True)
    return nn.ReLU(inplace=True)


class ConvBlock(nn.Module):
    """Convolution without bias (β does its work), batch norm, nonlinearity: [N, in, H, W] → [N, out, H, W]."""

    def __init__(self, channels: int, plan: ConvPlan, act: nn.Module) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, plan.filters, plan.kernel, padding=plan.kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(plan.filters)
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        """Return the activations of the block's filters."""
        out: Tensor = self.act(self.norm(self.conv(x)))
        return out


def fully_connected(features: int, plan: HeadPlan, classes: int, spec: NetworkSpec) -> nn.Sequential:
    """Return the head [N, features] → [N, classes]; norm and nonlinearity follow each hidden layer (Sec. 4)."""
    layers: list[nn.Module] = []
    for nodes in plan.hidden:
        layers.append(nn.Linear(features, nodes))
        layers += [nn.BatchNorm1d(nodes), activation(spec)] if plan.norm else [activation(spec), nn.Dropout()]
        features = nodes
    return nn.Sequential(*layers, nn.Linear(features, classes))


def final_pool(plan: HeadPlan) -> nn.Module:
    """Return the pooling between the last block and the head."""
    return nn.AvgPool2d(*plan.pool) if plan.pool else nn.AdaptiveAvgPool2d(plan.side)


class PlainNet(nn.Module):
    """Blocks ``c1`` … ``cN`` in a row, then pooling and ``head``: [N, C, H, W] → logits [N, classes]."""

    def __init__(
        self, spec: NetworkSpec, convs: Sequence[ConvPlan], head: HeadPlan, in_channels: int, classes: int
    ) -> None:
        super().__init__()
        self._steps: list[tuple[str, bool]] = []
        channels = in_channels
        for number, plan in enumerate(convs, start=1):
            self.add_module(f"c{number}", ConvBlock(channels, plan, activation(spec)))
            self._steps.append((f"c{number}", plan.pool))
            channels = plan.filters
        self.max_pool = nn.MaxPool2d(2)
        self.final_pool = final_pool(head)
        self.head = fully_connected(channels * head.side**2, head, classes, spec)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        for name, pool in self._steps:
            x = self.get_submodule(name)(x)
            if pool:
                x = self.max_pool(x)
        logits: Tensor = self.head(self.final_pool(x).flatten(1))
        return logits
