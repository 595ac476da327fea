"""CIFAR ResNets of He et al. (2016), Sec. 4.2, with option-A shortcuts."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

BLOCKS = {"resnet20": 3, "resnet32": 5, "resnet44": 7, "resnet56": 9, "resnet110": 18}
"""Residual blocks in each of the three stages: depth = 6n + 2."""
STAGE_FILTERS = (16, 32, 64)


class BasicBlock(nn.Module):
    """Two 3×3 convolutions and a shortcut: [N, in, H, W] → [N, out, H/stride, W/stride]."""

    def __init__(self, channels: int, filters: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, filters, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(filters)
        self.conv2 = nn.Conv2d(filters, filters, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(filters)
        self.stride = stride
        self.widen = filters - channels

    def shortcut(self, x: Tensor) -> Tensor:
        """Return option A, which has no parameters: every second pixel, zero channels added on both sides."""
        if self.stride == 1 and self.widen == 0:
            return x
        before = self.widen // 2
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, before, self.widen - before))

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
