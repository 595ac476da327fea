"""VGG with batch norm (Simonyan & Zisserman, configurations A, B, D, E) under the paper's heads (Sec. 4)."""

from __future__ import annotations

from sparsity_audit.models.plain import ConvPlan, HeadPlan, PlainNet
from sparsity_audit.schema.spec import NetworkSpec

STAGES = {
    "vgg11": (1, 1, 2, 2, 2),
    "vgg13": (2, 2, 2, 2, 2),
    "vgg16": (2, 2, 3, 3, 3),
    "vgg19": (2, 2, 4, 4, 4),
}
"""3×3 convolutions in each of the five stages; their filters are ``STAGE_FILTERS``."""
STAGE_FILTERS = (64, 128, 256, 512, 512)


def vgg_head(name: str, head: list[int] | None, classes: int) -> HeadPlan:
    """Return the head of Sec. 4: [512] on CIFAR, [512][256] on TinyImageNet (200 classes).

    VGG-19 on CIFAR has Network Slimming's head: one linear layer after average pooling. On ImageNet (1000 classes)
    it is Simonyan & Zisserman's [4096][4096] on 7×7 planes, with dropout. Other class counts get CIFAR's.
    """
    imagenet = (4096, 4096)
    if classes == 1000 and head in (None, list(imagenet)):
        return HeadPlan(imagenet, side=7, norm=False)
    if head is not None:
        return HeadPlan(tuple(head))
    if classes == 200:
        return HeadPlan((512, 256))
    return HeadPlan(() if name == "vgg19" else (512,))


def vgg_convs(name: str, *, last_pool: bool = True) -> list[ConvPlan]:
    """Return the convolutions; a max-pool ends each stage, the last one only with ``last_pool``."""
    plans = []
    for stage, (count, filters) in enumerate(zip(STAGES[name], STAGE_FILTERS, strict=True), start=1):
        pooled = last_pool or stage < len(STAGE_FILTERS)
        plans += [ConvPlan(filters)] * (count - 1) + [ConvPlan(filters, pool=pooled)]
    return plans


class VGG(PlainNet):
    """VGG-11, 13, 16 or 19 with batch norm (Sec. 4): [N, C, H, W] → logits [N, classes].

    Images are at least 32×32. Under Network Slimming's head, a single linear layer, VGG-19 ends with average
    pooling in place of the last max-pool, as there.
    """

    def __init__(self, spec: NetworkSpec, in_channels: int, classes: int) -> None:
        head = vgg_head(spec.name, spec.head, classes)
        convs = vgg_convs(spec.name, last_pool=spec.name != "vgg19" or bool(head.hidden))
        super().__init__(spec, convs, head, in_channels, classes)
