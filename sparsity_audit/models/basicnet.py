"""BasicNet, the paper's own network (Sec. 2.1, Figure 1; widths and heads: Sec. 4)."""

from __future__ import annotations

from sparsity_audit.models.plain import ConvPlan, HeadPlan, PlainNet
from sparsity_audit.schema.spec import NetworkSpec

FIRST = 64
"""Filters of C1 in the paper's 64-1x."""
BASE = (128, 128, 256, 256, 512, 512)
"""Filters of C2–C7 at width 1 (header of Table 2)."""
POOL_AFTER = (1, 3, 5)
"""Convolutions that a max-pool follows."""


def basicnet_filters(first: int, width: float) -> tuple[int, ...]:
    """Return the filters of C1–C7; ``width`` scales C2–C7, rounded, at least one filter each."""
    return (first, *(max(1, round(base * width)) for base in BASE))


def basicnet_head(head: list[int] | None, classes: int) -> HeadPlan:
    """Return the head of Sec. 4: [256] on CIFAR, [512][256] on TinyImageNet (200 classes), or ImageNet's.

    Other class counts get CIFAR's. ImageNet's (1000 classes) is [4096][2048] after average pooling 5/4, which makes
    6×6 of the 28×28 planes that a 224×224 image leaves after three max-pools.
    """
    imagenet = (4096, 2048)
    if classes == 1000 and head in (None, list(imagenet)):
        return HeadPlan(imagenet, side=6, pool=(5, 4))
    if head is not None:
        return HeadPlan(tuple(head))
    return HeadPlan((512, 256) if classes == 200 else (256,))


class BasicNet(PlainNet):
    """Seven convolutions and a fully connected head (Sec. 2.1): [N, C, H, W] → logits [N, classes].

    C1 is 5×5, C2–C7 are 3×3, each without bias and followed by batch norm and ReLU (or LeakyReLU, supplement
    Table 2): so the 64-1x has exactly the 4,649,664 convolution parameters of Table 2 on three input channels.
    Figure 1 is not in the paper's text: max-pooling after C1, C3 and C5, where the filters double, is our
    reconstruction. ``first`` and ``width`` of the spec give the variants of Table 4: 64-1x, 64-0.5x, 32-0.25x.
    """

    def __init__(self, spec: NetworkSpec, in_channels: int, classes: int) -> None:
        filters = basicnet_filters(spec.first or FIRST, spec.width or 1.0)
        convs = [
            ConvPlan(count, kernel=5 if number == 1 else 3, pool=number in POOL_AFTER)
            for number, count in enumerate(filters, start=1)
        ]
        super().__init__(spec, convs, basicnet_head(spec.head, classes), in_channels, classes)
