"""Small networks for each way that channels meet, move and share weights; images [N, 3, 8, 8]."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from cut_nets import Activated, Make, Wired, conv, first, norm, pooled, read_by
from torch import Tensor, nn

from sparsity_audit.models.cifar_resnet import OptionA

JOINS: dict[str, Make] = {}


def network(make: Make) -> Make:
    JOINS[make.__name__] = make
    return make


@network
def norm_after_relu() -> nn.Module:
    return read_by(lambda m, y: m.b2(F.relu(m.r(y))), r=conv(8, 6, padding=0), b2=norm(6))


@network
def norm_after_pool() -> nn.Module:
    return read_by(lambda m, y: m.b2(F.avg_pool2d(m.r(y), 3, 2, 1)), r=conv(8, 6, padding=0), b2=norm(6))


@network
def slopes_between() -> nn.Module:
    return Wired(lambda m, x: m.r(m.b(m.p(m.c(x)))), c=conv(), p=nn.PReLU(8), b=norm(), r=conv(8, 6))


@network
def flattened() -> nn.Module:
    reading = {"r": nn.Linear(72, 10, bias=False), "b1": nn.BatchNorm1d(10)}
    return read_by(lambda m, y: F.relu(m.b1(m.r(F.adaptive_max_pool2d(y, 3).flatten(1))))[..., None], 10, **reading)


@network
def flattened_norm() -> nn.Module:
    return read_by(lambda m, y: m.b1(F.adaptive_avg_pool2d(y, 2).flatten(1))[..., None], 32, b1=nn.BatchNorm1d(32))


@network
def four_readers() -> nn.Module:
    readers = nn.ModuleList([conv(8, 4), conv(8, 4, 5), conv(8, 4, padding=0), conv(8, 4, 1)])
    return read_by(
        lambda m, y: torch.cat([pooled(reader(y)) for reader in m.readers], 1)[..., None], 16, readers=readers
    )


@network
def residual() -> nn.Module:
    def reading(m: nn.Module, x: Tensor) -> Tensor:
        x = F.relu(m.b3(m.c3(F.relu(m.b2(m.c2(x))))) + x)
        return F.relu(m.b5(m.c5(F.relu(m.b4(m.c4(x))))) + x)

    convs = {"c2": conv(8, 6), "c3": conv(6, 8), "c4": conv(8, 6), "c5": conv(6, 8)}
    return read_by(reading, 8, **convs, b2=norm(6), b3=norm(), b4=norm(6), b5=norm())


@network
def in_place() -> nn.Module:
    def wiring(m: nn.Module, x: Tensor) -> Tensor:
        x = m.relu(m.b(m.c(x)))
        out = m.b2(m.c2(m.relu(x)))
        out += x
        out = m.relu(out)
        return m.r(out.mul_(2).add_(1).clamp_(0, 5))

    return Wired(wiring, c=conv(), b=norm(), c2=conv(8, 8), b2=norm(), relu=nn.ReLU(inplace=True), r=conv(8, 6))


@network
def activated() -> nn.Module:
    return Wired(
        lambda m, x: m.r((y := m.b(m.c(x))) + m.b2(m.c2(y))),
        c=conv(),
        b=Activated(8),
        c2=conv(8, 8),
        b2=Activated(8),
        r=conv(8, 6),
    )


@network
def pre_activation() -> nn.Module:
    parts = {
        "c": conv(),
        "b2": norm(),
        "c2": conv(8, 6),
        "b3": norm(6),
        "c3": conv(6, 8),
        "b4": norm(),
        "r": conv(8, 6),
    }
    return Wired(lambda m, x: m.r(F.relu(m.b4((y := m.c(x)) + m.c3(F.relu(m.b3(m.c2(F.relu(m.b2(y))))))))), **parts)


@network
def option_a() -> nn.Module:
    def reading(m: nn.Module, x: Tensor) -> Tensor:
        x = F.relu(m.b2(m.c2(x)) + m.s1(x))
        return m.b4(m.c4(F.relu(m.b3(m.c3(x)) + m.s2(x))))

    convs = {"c2": conv(8, 12, stride=2), "c3": conv(12, 12), "c4": conv(12, 6)}
    return read_by(reading, **convs, b2=norm(12), b3=norm(12), b4=norm(6), s1=OptionA(8, 12, 2), s2=OptionA(12, 12, 1))


@network
def option_a_twice() -> nn.Module:
    parts = {"c": conv(), "b": norm(), "c2": conv(), "s": OptionA(8, 12, 2), "r": conv(12, 6), "r2": conv(12, 6)}
    return Wired(lambda m, x: pooled(m.r(m.s(first(m, x)))) + pooled(m.r2(m.s(m.c2(x)))), **parts)


def mobile(multiplier: int = 1, **options: object) -> nn.Module:
    """Return c → b → depthwise d → b2 → r."""
    width = 8 * multiplier
    depthwise = conv(8, width, groups=8, **options)
    return read_by(lambda m, y: m.r(F.relu6(m.b2(m.d(y)))), d=depthwise, b2=norm(width), r=conv(width, 6))


JOINS |= {
    "depthwise": mobile,
    "depthwise_doubled": lambda: mobile(2, bias=True),
    "depthwise_unpadded": lambda: mobile(padding=0),
}


def deconvolved(filters: int, groups: int) -> nn.Module:
    up = nn.ConvTranspose2d(8, filters, 3, stride=2, groups=groups)
    return read_by(lambda m, y: m.r(F.silu(m.b2(m.d(y)))), d=up, b2=norm(filters), r=conv(filters, 6))


JOINS |= {
    "transposed": lambda: deconvolved(10, 1),
    "transposed_groups": lambda: deconvolved(10, 2),
    "transposed_depthwise": lambda: deconvolved(8, 8),
    "transposed_depthwise_doubled": lambda: deconvolved(16, 8),
}


def grouped(groups: int, **options: object) -> nn.Module:
    """Return c → b → g, with groups → b2 → r."""
    group = conv(8, 12, groups=groups, **options)
    return read_by(lambda m, y: m.r(F.relu(m.b2(m.g(y)))), g=group, b2=norm(12), r=conv(12, 6))


JOINS |= {
    "grouped": lambda: grouped(2),
    "grouped_unpadded": lambda: grouped(4, padding=0, bias=True),
    "grouped_one_by_one": lambda: grouped(2, kernel=1),
}


@network
def grouped_concatenation() -> nn.Module:
    parts = {"c2": conv(8, 8), "b2": norm(), "g": conv(24, 6, groups=2)}
    return read_by(lambda m, y: m.g(torch.cat([y, F.relu(m.b2(m.c2(y))), y], 1)), **parts)


@network
def dense() -> nn.Module:
    def wiring(m: nn.Module, x: Tensor) -> Tensor:
        x = m.c(x)
        for convolution, bn in zip(m.convs, m.norms, strict=True):
            x = torch.cat([x, convolution(F.relu(bn(x)))], 1)
        return m.r(F.relu(m.b4(x)))

    norms = nn.ModuleList([norm(8), norm(12)])
    return Wired(
        wiring, c=conv(), convs=nn.ModuleList([conv(8, 4), conv(12, 4)]), norms=norms, b4=norm(16), r=conv(16, 6)
    )


@network
def inception() -> nn.Module:
    parts = {"c2": conv(8, 4, 1), "b2": norm(4), "c3": conv(8, 4, bias=True), "r": conv(16, 6)}
    return read_by(lambda m, y: m.r(torch.cat([F.relu(m.b2(m.c2(y))), m.c3(y), F.max_pool2d(y, 3, 1, 1)], 1)), **parts)


@network
def shuffled() -> nn.Module:
    def reading(m: nn.Module, y: Tensor) -> Tensor:
        left, right = y.chunk(2, 1)
        y = torch.cat([left, F.relu(m.b2(m.c2(right)))], 1)
        n, c, h, w = y.shape
        return m.r(y.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w))

    return read_by(reading, c2=conv(4, 4), b2=norm(4), r=conv(8, 6))


def excited(squeeze: nn.Module, excite: nn.Module) -> nn.Module:
    def reading(m: nn.Module, y: Tensor) -> Tensor:
        n, c = y.shape[:2]
        means = F.adaptive_avg_pool2d(y, 1)
        gate = m.e(F.relu(m.q(means if isinstance(m.q, nn.Conv2d) else means.view(n, c)))).view(n, c, 1, 1)
        return m.r(y * torch.sigmoid(gate).expand_as(y))

    return read_by(reading, q=squeeze, e=excite, r=conv(8, 6))


JOINS |= {
    "squeeze_excite": lambda: excited(conv(8, 4, 1, bias=True), conv(4, 8, 1, bias=True)),
    "squeeze_excite_linear": lambda: excited(nn.Linear(8, 4), nn.Linear(4, 8)),
}


@network
def attention_over_the_plane() -> nn.Module:
    parts = {"a": conv(8, 1), "a2": conv(8, 1), "r": conv(8, 6), "r2": conv(8, 6)}
    return read_by(lambda m, y: m.r(y * torch.sigmoid(m.a(y))) + m.r2(y * m.a2(y).expand_as(y)), **parts)


@network
def gated() -> nn.Module:
    parts = {"c2": conv(8, 8), "b2": norm(), "c3": conv(8, 8), "b3": norm(), "r": conv(8, 6)}
    return read_by(lambda m, y: m.r(y * F.relu(m.b2(m.c2(y))) - F.max_pool2d(F.relu(m.b3(m.c3(y))), 3, 1, 1)), **parts)
