"""LPRNet, a public reader of licence plates, as its published weights need it; images of 24 × 94."""

from __future__ import annotations

import torch
from torch import Tensor, nn

CLASSES = 68


class SmallBasicBlock(nn.Module):
    def __init__(self, channels: int, filters: int) -> None:
        super().__init__()
        quarter = filters // 4
        self.block = nn.Sequential(
            nn.Conv2d(channels, quarter, 1),
            nn.ReLU(),
            nn.Conv2d(quarter, quarter, (3, 1), padding=(1, 0)),
            nn.ReLU(),
            nn.Conv2d(quarter, quarter, (1, 3), padding=(0, 1)),
            nn.ReLU(),
            nn.Conv2d(quarter, filters, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x)


class LPRNet(nn.Module):
    """Its three-dimensional pooling takes every second or fourth channel; its means run over the whole batch."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(3, 64, 3),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.MaxPool3d((1, 3, 3), stride=(1, 1, 1)),
            SmallBasicBlock(64, 128),
            nn.BatchNorm2d(128),
            nn.ReLU(),
            nn.MaxPool3d((1, 3, 3), stride=(2, 1, 2)),
            SmallBasicBlock(64, 256),
            nn.BatchNorm2d(256),
            nn.ReLU(),
            SmallBasicBlock(256, 256),
            nn.BatchNorm2d(256),
            nn.ReLU(),
            nn.MaxPool3d((1, 3, 3), stride=(4, 1, 2)),
            nn.Dropout(0.5),
            nn.Conv2d(64, 256, (1, 4)),
            nn.BatchNorm2d(256),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Conv2d(256, CLASSES, (13, 1)),
            nn.BatchNorm2d(CLASSES),
            nn.ReLU(),
        )
        self.container = nn.Sequential(nn.Conv2d(448 + CLASSES, CLASSES, 1))

    def forward(self, x: Tensor) -> Tensor:
        kept = []
        for place, layer in enumerate(self.backbone):
            x = layer(x)
            if place in (2, 6, 13, 22):
                kept.append(x)
        pooled = [
            nn.functional.avg_pool2d(kept[0], 5, 5),
            nn.functional.avg_pool2d(kept[1], 5, 5),
            nn.functional.avg_pool2d(kept[2], (4, 10), (4, 2)),
            kept[3],
        ]
        context = torch.cat([part / part.pow(2).mean() for part in pooled], 1)
        return self.container(context).mean(2)
