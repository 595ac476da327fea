"""CIFAR ResNets of He et al. (2016), Sec. 4.2, with option-A shortcuts."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

BLOCKS = {"resnet20": 3, "resnet32": 5, "resnet44": 7, "resnet56": 9, "resnet110": 18}
"""Residual blocks in each of the three stages: depth = 6n + 2."""
STAGE_FILTERS = (16, 32, 64)


class OptionA(nn.Module):
    """The shortcut without parameters: every second pixel, zero channels added on both sides.

    A slim network's has buffers: ``source`` [filters], the channel that each of its filters' channels is taken from
    (the number of channels there are stands for none), and perhaps ``fill`` [filters], what is added to each.
    """

    source: Tensor
    fill: Tensor

    def __init__(self, channels: int, filters: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.before = (filters - channels) // 2
        self.after = filters - channels - self.before

    def forward(self, x: Tensor) -> Tensor:
        """Return [N, filters, H/stride, W/stride] of [N, channels, H, W]."""
        if self.stride > 1:
            x = x[:, :, :: self.stride, :: self.stride]
        if "source" not in self._buffers:
            widens = self.before or self.after
            return F.pad(x, (0, 0, 0, 0, self.before, self.after)) if widens else x
        picked = F.pad(x, (0, 0, 0, 0, 0, 1)).index_select(1, self.source)
        return picked + self.fill.view(1, -1, 1, 1) if "fill" in self._buffers else picked


class BasicBlock(nn.Module):
    """Two 3×3 convolutions and a shortcut: [N, in, H, W] → [N, out, H/stride, W/stride]."""

    def __init__(self, channels: int, filters: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, filters, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(filters)
        self.conv2 = nn.Conv2d(filters, filters, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(filters)
        self.shortcut = OptionA(channels, filters, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Return the activations of the block."""
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return F.relu(out + self.shortcut(x))


class CifarResNet(nn.Module):
    """ResNet-20, 32, 44, 56 or 110 for 32×32 images: [N, C, H, W] → logits [N, classes].

    Module names are those of Y. Idelbayev's public checkpoints, so these load as they are.
    """

    def __init__(self, name: str, in_channels: int, classes: int) -> None:
        super().__init__()
        first = STAGE_FILTERS[0]
        self.conv1 = nn.Conv2d(in_channels, first, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(first)
        stages = []
        channels = first
        for filters in STAGE_FILTERS:
            strides = [1 if filters == first else 2] + [1] * (BLOCKS[name] - 1)
            blocks = []
            for stride in strides:
                blocks.append(BasicBlock(channels, filters, stride))
                channels = filters
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3 = stages
        self.linear = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.linear(F.adaptive_avg_pool2d(x, 1).flatten(1))
        return logits
