"""A detector in the manner of YOLOv5: Conv-BN-SiLU, C3 and SPPF blocks, a top-down path, two heads."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Conv(nn.Module):
    def __init__(self, channels: int, filters: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, filters, kernel, stride, kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(filters, eps=1e-3, momentum=0.03)
        self.act = nn.SiLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.conv(x)))


class Bottleneck(nn.Module):
    def __init__(self, channels: int, *, shortcut: bool) -> None:
        super().__init__()
        self.cv1, self.cv2 = Conv(channels, channels), Conv(channels, channels, 3)
        self.add = shortcut

    def forward(self, x: Tensor) -> Tensor:
        return x + self.cv2(self.cv1(x)) if self.add else self.cv2(self.cv1(x))


class C3(nn.Module):
    def __init__(self, channels: int, filters: int, *, shortcut: bool = True) -> None:
        super().__init__()
        half = filters // 2
        self.cv1, self.cv2, self.cv3 = Conv(channels, half), Conv(channels, half), Conv(2 * half, filters)
        self.m = nn.Sequential(*(Bottleneck(half, shortcut=shortcut) for _ in range(2)))

    def forward(self, x: Tensor) -> Tensor:
        return self.cv3(torch.cat((self.m(self.cv1(x)), self.cv2(x)), 1))


class SPPF(nn.Module):
    def __init__(self, channels: int, filters: int) -> None:
        super().__init__()
        half = channels // 2
        self.cv1, self.cv2 = Conv(channels, half), Conv(4 * half, filters)
        self.m = nn.MaxPool2d(5, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.cv1(x)
        once = self.m(x)
        twice = self.m(once)
        return self.cv2(torch.cat((x, once, twice, self.m(twice)), 1))


class Detect(nn.Module):
    def __init__(self, widths: tuple[int, ...], outputs: int = 8, anchors: int = 3) -> None:
        super().__init__()
        self.outputs, self.anchors = outputs, anchors
        self.m = nn.ModuleList(nn.Conv2d(width, outputs * anchors, 1) for width in widths)

    def forward(self, features: list[Tensor]) -> Tensor:
        boxes = []
        for head, feature in zip(self.m, features, strict=True):
            raw = head(feature)
            batch, _, height, width = raw.shape
            raw = raw.view(batch, self.anchors, self.outputs, height, width).permute(0, 1, 3, 4, 2).contiguous()
            centre, size, rest = raw.sigmoid().split((2, 2, self.outputs - 4), 4)
            boxes.append(torch.cat((centre * 2 - 0.5, (size * 2) ** 2, rest), 4).view(batch, -1, self.outputs))
        return torch.cat(boxes, 1)


class Detector(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layers = [Conv(3, 8, 3, 2), Conv(8, 16, 3, 2), C3(16, 16), Conv(16, 32, 3, 2), C3(32, 32), SPPF(32, 32)]
        neck = [Conv(32, 16), nn.Upsample(None, 2, "nearest"), C3(32, 16, shortcut=False)]
        self.model = nn.ModuleList([*layers, *neck, Detect((16, 32))])

    def forward(self, x: Tensor) -> Tensor:
        stem, down, shallow, deeper, c3, pooled, lateral, up, merge, detect = self.model
        early = shallow(down(stem(x)))
        late = pooled(c3(deeper(early)))
        return detect([merge(torch.cat((up(lateral(late)), early), 1)), late])
