"""The networks that faults are planted in: three of the zoo, and one for each way in which filters meet."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparsity_audit.models.registry import build_network
from sparsity_audit.schema.spec import NetworkSpec

FILTERS = 16
CLASSES = 10


@dataclass(frozen=True)
class Specimen:
    """A network and what the audit cannot know of it beforehand.

    Attributes:
        joined: endings of the paths of those norms whose output meets others before any nonlinearity.
    """

    name: str
    module: nn.Module
    joined: tuple[str, ...] = ()


def networks() -> list[Specimen]:
    """Return all networks, with torch's own initial weights, from its global generator."""
    return [
        Specimen("basicnet", _zoo(NetworkSpec(name="basicnet", first=16, width=0.125))),
        Specimen("resnet20", _zoo(NetworkSpec(name="resnet20")), (".bn2",)),
        Specimen("vgg11", _zoo(NetworkSpec(name="vgg11"))),
        Specimen("residual", Residual(), ("second.norm",)),
        Specimen("depthwise", Depthwise(), ("project.norm",)),
        Specimen("concatenation", Concatenation(), ("left.norm", "right.norm")),
        Specimen("shuffle", Shuffle()),
    ]


def _zoo(spec: NetworkSpec) -> nn.Module:
    return build_network(spec, 3, CLASSES)


class ConvNorm(nn.Module):
    """Convolution and batch norm: [N, in, H, W] → [N, filters, H, W]."""

    def __init__(self, channels: int, filters: int = FILTERS, *, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, filters, 3, padding=1, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(filters)

    def forward(self, x: Tensor) -> Tensor:
        """Return the norm's output."""
        out: Tensor = self.norm(self.conv(x))
        return out


class _Classifier(nn.Module):
    """A stem, a body that subclasses define, average pooling and a linear layer."""

    def __init__(self, channels: int = FILTERS) -> None:
        super().__init__()
        self.stem = ConvNorm(3)
        self.linear = nn.Linear(channels, CLASSES)

    def body(self, x: Tensor) -> Tensor:
        """Return what is pooled, of the stem's activations."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Return logits [N, classes] of images [N, 3, H, W]."""
        logits: Tensor = self.linear(self.body(F.relu(self.stem(x))).mean((2, 3)))
        return logits


class Residual(_Classifier):
    """A block whose last norm is added to a shortcut, in place, by a ReLU module used three times."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = ConvNorm(FILTERS), ConvNorm(FILTERS), ConvNorm(FILTERS)
        self.relu = nn.ReLU(inplace=True)

    def body(self, x: Tensor) -> Tensor:
        """Return the activations after the block and one more layer."""
        out = self.second(self.relu(self.first(x)))
        out += x
        last: Tensor = self.relu(self.last(self.relu(out)))
        return last


class Depthwise(_Classifier):
    """An inverted residual: expand, depthwise convolution with ReLU6, projection added to the shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.expand = ConvNorm(FILTERS)
        self.depthwise = ConvNorm(FILTERS, groups=FILTERS)
        self.project = ConvNorm(FILTERS)

    def body(self, x: Tensor) -> Tensor:
        """Return the block's output, which no nonlinearity follows."""
        out = F.relu6(self.depthwise(F.relu6(self.expand(x))))
        result: Tensor = x + self.project(out)
        return result


class Concatenation(_Classifier):
    """Two branches that meet before their ReLU, and then what they read, as in DenseNet."""

    def __init__(self) -> None:
        super().__init__(2 * FILTERS)
        self.left, self.right = ConvNorm(FILTERS), ConvNorm(FILTERS)
        self.last = ConvNorm(3 * FILTERS)

    def body(self, x: Tensor) -> Tensor:
        """Return the last layer beside what came in."""
        both = F.relu(torch.cat([self.left(x), self.right(x)], 1))
        return torch.cat([F.relu(self.last(torch.cat([both, x], 1))), x], 1)


class Shuffle(_Classifier):
    """Grouped convolutions with their channels shuffled in between."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = ConvNorm(FILTERS, groups=2), ConvNorm(FILTERS, groups=2)

    def body(self, x: Tensor) -> Tensor:
        """Return the activations of the second grouped convolution."""
        out = F.relu(self.first(x))
        images, channels, height, width = out.shape
        out = out.view(images, 2, channels // 2, height, width).transpose(1, 2).reshape(out.shape)
        return F.relu(self.second(out))
