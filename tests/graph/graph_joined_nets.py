"""Networks whose filters meet: sums, concatenations, gates, shared modules; with the oracle by hand."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from graph_nets import FILTERS, Measured, conv, norm
from torch import Tensor, nn

from sparsity_audit.models.cifar_resnet import BasicBlock, CifarResNet


class Residual(nn.Module):
    """One in-place ReLU module used three times, ``add_`` of the shortcut, then ``F.relu(bn(x) + shortcut)``."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv(), norm()
        self.conv2, self.bn2 = conv(FILTERS), norm()
        self.conv3, self.bn3 = conv(FILTERS), norm()
        self.conv4, self.bn4 = conv(FILTERS), norm()
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(x)))
        out = self.bn3(self.conv3(out))
        out += x
        out = self.relu(out)
        return F.relu(self.bn4(self.conv4(out)) + out).mean((2, 3))

    def measured(self, x: Tensor) -> dict[str, Measured]:
        first = self.bn1(self.conv1(x)).clamp(min=0)
        second = self.bn2(self.conv2(first)).clamp(min=0)
        third = self.bn3(self.conv3(second))
        fourth = self.bn4(self.conv4((third + first).clamp(min=0)))
        return {
            "conv1": Measured(first, True),
            "conv2": Measured(second, True),
            "conv3": Measured(third, False),
            "conv4": Measured(fourth, False),
        }


class PreActivation(nn.Module):
    """Norm and nonlinearity come before the convolution: those on a sum belong to no filter."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv()
        self.bn1, self.conv1 = norm(), conv(FILTERS)
        self.bn2, self.conv2 = norm(), conv(FILTERS)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        out = self.conv1(F.relu(self.bn1(x)))
        return x + self.conv2(F.relu(self.bn2(out)))

    def measured(self, x: Tensor) -> dict[str, Measured]:
        stem = self.stem(x)
        inner = self.bn2(self.conv1(self.bn1(stem).clamp(min=0))).clamp(min=0)
        return {
            "stem": Measured(stem, False),
            "conv1": Measured(inner, True),
            "conv2": Measured(self.conv2(inner), False),
        }


class Mobile(nn.Module):
    """Expand, depthwise, squeeze-excite, grouped projection, channel shuffle, concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self.expand, self.bn1 = conv(kernel=1, padding=0), norm()
        self.depthwise, self.bn2 = conv(FILTERS, groups=FILTERS), norm()
        self.squeeze, self.excite = nn.Conv2d(FILTERS, 4, 1), nn.Conv2d(4, FILTERS, 1)
        self.project, self.bn3 = conv(FILTERS, groups=2), norm()
        self.last, self.bn4 = conv(2 * FILTERS), norm()

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu6(self.bn1(self.expand(x)))
        out = F.relu6(self.bn2(self.depthwise(x)))
        gate = F.relu(self.squeeze(F.adaptive_avg_pool2d(out, 1)))
        out = out * torch.sigmoid(self.excite(gate))
        out = F.relu(self.bn3(self.project(out)))
        n, c, h, w = out.shape
        out = out.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        return F.relu(self.bn4(self.last(torch.cat([out, x], 1))))

    def measured(self, x: Tensor) -> dict[str, Measured]:
        expanded = self.bn1(self.expand(x)).clamp(0, 6)
        depthwise = self.bn2(self.depthwise(expanded)).clamp(0, 6)
        squeezed = self.squeeze(depthwise.mean((2, 3), keepdim=True)).clamp(min=0)
        excited = 1 / (1 + (-self.excite(squeezed)).exp())
        projected = self.bn3(self.project(depthwise * excited)).clamp(min=0)
        shuffled = projected[:, [0, 4, 1, 5, 2, 6, 3, 7]]
        last = self.bn4(self.last(torch.cat([shuffled, expanded], 1))).clamp(min=0)
        return {
            "expand": Measured(expanded, True),
            "depthwise": Measured(depthwise, True),
            "squeeze": Measured(squeezed, True),
            "excite": Measured(excited, True),
            "project": Measured(projected, True),
            "last": Measured(last, True),
        }


class CalledTwice(nn.Module):
    """One convolution with its norm called twice: two feature layers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.bn = conv(), norm()
        self.body, self.body_bn = conv(FILTERS), norm()

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn(self.stem(x)))
        for _ in range(2):
            x = F.relu(self.body_bn(self.body(x)))
        return x

    def measured(self, x: Tensor) -> dict[str, Measured]:
        stem = self.bn(self.stem(x)).clamp(min=0)
        first = self.body_bn(self.body(stem)).clamp(min=0)
        second = self.body_bn(self.body(first)).clamp(min=0)
        return {"stem": Measured(stem, True), "body": Measured(first, True), "body@2": Measured(second, True)}


class Folded(nn.Module):
    """Groups of channels folded into the batch: each image is several rows of the inner convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.bn = conv(), norm()
        self.inner, self.inner_bn = conv(FILTERS // 2), norm()

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn(self.stem(x)))
        folded = x.view(-1, FILTERS // 2, *x.shape[2:])
        return F.relu(self.inner_bn(self.inner(folded))).reshape(-1, 2 * FILTERS, *x.shape[2:])

    def measured(self, x: Tensor) -> dict[str, Measured]:
        stem = self.bn(self.stem(x)).clamp(min=0)
        halves = [self.inner_bn(self.inner(half)).clamp(min=0) for half in stem.split(FILTERS // 2, dim=1)]
        return {"stem": Measured(stem, True), "inner": Measured(torch.stack(halves, 2), True)}


class OptionA(CifarResNet):
    """The zoo's ResNet-20, shortcuts without parameters."""

    def __init__(self) -> None:
        super().__init__("resnet20", 3, 10)

    def measured(self, x: Tensor) -> dict[str, Measured]:
        x = self.bn1(self.conv1(x)).clamp(min=0)
        found = {"conv1": Measured(x, True)}
        for stage, blocks in (("layer1", self.layer1), ("layer2", self.layer2), ("layer3", self.layer3)):
            for place, block in enumerate(blocks):
                assert isinstance(block, BasicBlock)
                inner = block.bn1(block.conv1(x)).clamp(min=0)
                last = block.bn2(block.conv2(inner))
                shortcut = torch.zeros_like(last)
                kept = x[:, :, ::2, ::2] if last.shape[2] < x.shape[2] else x
                before = (last.shape[1] - x.shape[1]) // 2
                shortcut[:, before : before + x.shape[1]] = kept
                x = (last + shortcut).clamp(min=0)
                found[f"{stage}.{place}.conv1"] = Measured(inner, True)
                found[f"{stage}.{place}.conv2"] = Measured(last, False)
        return found


class FixedBatch(nn.Module):
    """Takes batches of six images and no others."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = conv(), norm()

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x))).view(6, -1)

    def measured(self, x: Tensor) -> dict[str, Measured]:
        return {"conv": Measured(self.bn(self.conv(x)).clamp(min=0), True)}


JOINED: dict[str, type[nn.Module]] = {
    "residual": Residual,
    "pre-activation": PreActivation,
    "mobile": Mobile,
    "called-twice": CalledTwice,
    "folded": Folded,
    "option-a": OptionA,
}
