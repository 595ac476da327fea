"""Small networks that share, compute or misuse weights, or that a cut has to stop at; images [N, 3, 8, 8]."""

from __future__ import annotations

import warnings

import torch
import torch.nn.functional as F
from cut_nets import Make, Wired, conv, first, norm, pooled, read_by
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune
from torchvision.ops import FrozenBatchNorm2d

SHARING: dict[str, Make] = {}


def network(make: Make) -> Make:
    SHARING[make.__name__] = make
    return make


@network
def called_twice() -> nn.Module:
    return read_by(lambda m, y: F.relu(m.b2(m.c2(F.relu(m.b2(m.c2(y)))))), 8, c2=conv(8, 8), b2=norm())


@network
def called_twice_with_norms() -> nn.Module:
    parts = {"c2": conv(8, 8, padding=0), "b2": norm(), "b3": norm(), "r": conv(8, 6)}
    return read_by(lambda m, y: m.r(F.relu(m.b3(m.c2(F.relu(m.b2(m.c2(y))))))), **parts)


@network
def called_on_two() -> nn.Module:
    parts = {"c": conv(), "b": norm(), "c2": conv(), "b2": norm(), "c3": conv(8, 6, padding=0), "r": conv(12, 6)}
    return Wired(lambda m, x: m.r(torch.cat([m.c3(first(m, x)), m.c3(F.relu(m.b2(m.c2(x))))], 1)), **parts)


@network
def norm_called_twice() -> nn.Module:
    parts = {"c": conv(), "b": norm(), "c2": conv(), "r": conv(8, 6), "r2": conv(8, 6), "r3": conv(8, 6)}
    return Wired(lambda m, x: m.r(F.relu(m.b(m.c(x)))) + m.r2(m.b(m.c(x) + m.c2(x))) + m.r3(m.b(m.c2(x))), **parts)


@network
def one_norm_for_two() -> nn.Module:
    parts = {"c": conv(), "b": norm(), "c2": conv(), "r": conv(8, 6), "r2": conv(8, 6)}
    return Wired(lambda m, x: m.r(F.relu(m.b(m.c(x)))) + m.r2(F.relu(m.b(m.c2(x)))), **parts)


def pair(**second: nn.Module) -> nn.Module:
    """Return c → b → relu → c2 → b2 → relu → c3."""
    parts = {"c2": conv(8, 8), "b2": norm(), "c3": conv(8, 8), **second}
    return read_by(lambda m, y: m.c3(F.relu(m.b2(m.c2(y)))), 8, **parts)


@network
def tied() -> nn.Module:
    net = pair()
    net.c3.weight = net.c2.weight
    return net


@network
def two_names() -> nn.Module:
    convolution = conv(8, 8)
    return pair(c2=convolution, c3=convolution)


@network
def weight_norm() -> nn.Module:
    return pair(c2=parametrizations.weight_norm(conv(8, 8)))


@network
def weight_norm_by_hook() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pair(c2=nn.utils.weight_norm(conv(8, 8)))


@network
def masked() -> nn.Module:
    return pair(c2=prune.l1_unstructured(conv(8, 8), "weight", 0.3))


@network
def frozen_norm() -> nn.Module:
    return pair(b2=FrozenBatchNorm2d(8))


@network
def synchronised() -> nn.Module:
    return pair(b2=nn.SyncBatchNorm(8))


@network
def layer_scale() -> nn.Module:
    return read_by(lambda m, y: m.r(m.g * y), g=nn.Parameter(torch.rand(8, 1, 1)), r=conv(8, 6))


@network
def computed_scale() -> nn.Module:
    return read_by(lambda m, y: m.r(torch.sigmoid(m.g) * y), g=nn.Parameter(torch.rand(1, 8, 1, 1)), r=conv(8, 6))


@network
def one_scale() -> nn.Module:
    return read_by(lambda m, y: m.r(torch.exp(m.g) * y), g=nn.Parameter(torch.rand(1)), r=conv(8, 6))


@network
def weight_alone() -> nn.Module:
    return read_by(lambda m, y: F.conv2d(y, m.w, padding=1), w=nn.Parameter(torch.randn(6, 8, 3, 3)))


@network
def weight_turned() -> nn.Module:
    return read_by(lambda m, y: F.conv2d(y, m.r.weight.flip(2)[:6], padding=1), r=conv(8, 8))


@network
def weight_read_elsewhere() -> nn.Module:
    return read_by(lambda m, y: m.r(y) * m.r.weight.norm() + m.b.bias.sum(), r=conv(8, 6))


@network
def bias_unused() -> nn.Module:
    return read_by(lambda m, y: F.conv2d(y, m.r.weight), r=conv(8, 6, bias=True))


@network
def weights_exchanged() -> nn.Module:
    parts = {"r": conv(8, 6, 1), "l": nn.Linear(8, 6)}
    return read_by(
        lambda m, y: (
            F.linear(pooled(y), m.r.weight.flatten(1))[..., None] + F.conv2d(y, m.l.weight[..., None, None]).amax(3)
        ),
        **parts,
    )


@network
def stacked() -> nn.Module:
    return read_by(
        lambda m, y: m.r(torch.stack([y, m.c2(y)], 2)).mean(2), c2=conv(8, 8), r=nn.Conv3d(8, 6, 3, padding=1)
    )


@network
def in_three_dimensions() -> nn.Module:
    convs = {"c2": nn.Conv3d(8, 8, (1, 3, 3)), "r": nn.Conv3d(8, 6, (1, 3, 3), padding=(0, 1, 1))}
    return read_by(lambda m, y: m.r(F.relu(m.b2(m.c2(y.unsqueeze(2))))), **convs, b2=nn.BatchNorm3d(8))


@network
def in_one_dimension() -> nn.Module:
    convs = {"c2": nn.Conv1d(8, 8, 3), "r": nn.Conv1d(8, 6, 3, padding=1)}
    return read_by(lambda m, y: m.r(F.relu(m.b2(m.c2(y.flatten(2))))), **convs, b2=nn.BatchNorm1d(8))


@network
def rows_as_channels() -> nn.Module:
    return read_by(lambda m, y: m.r(F.adaptive_max_pool2d(y, 4).flatten(1, 2)), r=nn.Conv1d(32, 6, 3, padding=1))


@network
def every_second_channel() -> nn.Module:
    parts = {"c2": conv(8, 8), "r": conv(4, 6), "r2": conv(8, 6)}
    return read_by(
        lambda m, y: (
            m.r(F.max_pool3d(y, (1, 3, 3), (2, 1, 1)))
            + m.r2(F.avg_pool3d(m.c2(y), (1, 3, 3), 1, (0, 1, 1)))[..., 1:-1, 1:-1]
        ),
        **parts,
    )


@network
def chosen_channels() -> nn.Module:
    parts = {"r": conv(4, 6), "r2": conv(16, 6), "c2": conv(8, 8), "r3": conv(4, 6)}
    return read_by(
        lambda m, y: m.r(y[:, 2:6]) + m.r2(y.repeat_interleave(2, 1)) + m.r3(m.c2(y)[:, torch.tensor([3, 1, 0, 5])]),
        **parts,
    )


@network
def pooled_with_indices() -> nn.Module:
    def reading(m: nn.Module, y: Tensor) -> Tensor:
        values, indices = F.max_pool2d(y, 2, return_indices=True)
        return m.r(values) + m.r2(indices.to(y.dtype) / 64)

    return read_by(reading, r=conv(8, 6), r2=conv(8, 6))


@network
def over_channels() -> nn.Module:
    parts = {"r": conv(8, 6), "r2": conv(2, 6)}
    return read_by(
        lambda m, y: (
            m.r(F.normalize(y, dim=1)) + m.r2(torch.cat([y.mean(1, keepdim=True), y.amax(1, keepdim=True)], 1))
        ),
        **parts,
    )


@network
def tokens() -> nn.Module:
    attention = nn.MultiheadAttention(8, 2, batch_first=True)
    return read_by(lambda m, y: m.a(t := y.flatten(2).transpose(1, 2), t, t)[0].transpose(1, 2), 8, a=attention)


@network
def several_outputs() -> nn.Module:
    parts = {"c": conv(), "b": norm(), "r": conv(8, 6), "c2": conv(8, 8)}
    return Wired(lambda m, x: {"features": (y := first(m, x)), "others": (m.r(y), [m.c2(y)])}, **parts)


@network
def narrow() -> nn.Module:
    parts = {"b0": norm(1), "c": conv(1, 1), "b": norm(1), "c2": conv(1, 2), "b2": norm(2), "r": conv(2, 6)}
    return Wired(lambda m, x: m.r(F.relu(m.b2(m.c2(F.relu(m.b(m.c(m.b0(x[:, :1])))))))), **parts)


class Shadowing(nn.Module):
    """Has an attribute of the name of a method of nn.Module."""

    def __init__(self) -> None:
        super().__init__()
        self.modules = []
        self.c, self.b, self.r = conv(), norm(), conv(8, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.r(first(self, x))


SHARING["shadowing"] = Shadowing
