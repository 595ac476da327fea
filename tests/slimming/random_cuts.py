"""Random networks of all that cuts have to do with, drawn from a seed; images [N, 3, 8, 8] → [N, 5].

Steps are data, not closures over modules, so that a copy of a network runs its own parts.
"""

from __future__ import annotations

import random

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparsity_audit.models.cifar_resnet import OptionA

SHAPE = (3, 8, 8)
ACTIVATIONS = {
    "relu": F.relu,
    "leaky": F.leaky_relu,
    "silu": F.silu,
    "relu6": F.relu6,
    "hardswish": F.hardswish,
    "none": lambda x: x,
}
POOLS = {
    "max": lambda x: F.max_pool2d(x, 3, 1, 1),
    "mean": lambda x: F.avg_pool2d(x, 3, 1, 1),
    "mean of what is there": lambda x: F.avg_pool2d(x, 3, 1, 1, count_include_pad=False),
    "up and down": lambda x: F.max_pool2d(F.interpolate(x, scale_factor=2), 2),
}


class RandomCut(nn.Module):
    """Convolutions of every kind, joined by sums, gates, concatenations, shuffles, shortcuts and norms."""

    def __init__(self, seed: int, steps: int = 9) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.draw = random.Random(seed)  # noqa: S311
        self.parts = nn.ModuleList()
        self.steps: list[tuple[str, tuple[object, ...]]] = []
        self.widths = [3]
        self._convolution(0)
        kinds = [self._convolution] * 6 + [self._sum] * 2 + [self._again, self._cat, self._gate, self._gate, self._pool]
        kinds += [self._norm, self._shortcut, self._shuffle, self._slice]
        for _ in range(steps):
            self.draw.choice(kinds)(self.draw.randrange(1, len(self.widths)))
        # What nobody reads is not in the graph, while the network goes on computing it.
        read = {source for kind, arguments in self.steps for source in _sources(kind, arguments)}
        loose = [place for place in range(1, len(self.widths)) if place not in read]
        self._step("all", tuple(loose), sum(self.widths[place] for place in loose))
        self._convolution(len(self.widths) - 1)
        self._add(nn.Linear(4 * self.widths[-1], 7), nn.BatchNorm1d(7), nn.Linear(7, 5))

    def forward(self, x: Tensor) -> Tensor:
        seen = [x]
        for kind, arguments in self.steps:
            seen.append(getattr(self, f"_run_{kind}")(seen, *arguments))
        first, norm, last = list(self.parts)[-3:]
        return last(F.relu(norm(first(F.adaptive_avg_pool2d(seen[-1], 2).flatten(1)))))

    def _add(self, *parts: nn.Module) -> int:
        self.parts.extend(parts)
        return len(self.parts) - len(parts)

    def _step(self, kind: str, arguments: tuple[object, ...], width: int) -> None:
        self.steps.append((kind, arguments))
        self.widths.append(width)

    def _convolution(self, source: int) -> None:
        width = self.widths[source]
        groups = self.draw.choice([groups for groups in (1, 1, 1, 2, width) if width % groups == 0])
        filters = width * self.draw.choice([1, 1, 2]) if groups == width else self.draw.choice([4, 6, 8])
        if self.draw.random() < 0.4:  # one that a sum can take up
            filters = width if groups != width else filters
        kernel, mode = self.draw.choice([1, 3, 3]), self.draw.choice(["zeros", "zeros", "zeros", "circular"])
        order = self.draw.choice(["norm first", "norm first", "norm first", "norm last", "no norm"])
        bias = self.draw.random() < 0.3
        conv = nn.Conv2d(width, filters, kernel, padding=kernel // 2, groups=groups, bias=bias, padding_mode=mode)
        slopes = nn.PReLU(filters) if self.draw.random() < 0.1 else None
        place = self._add(conv, nn.BatchNorm2d(filters), slopes or nn.Identity())
        self._step("convolution", (source, place, self.draw.choice(list(ACTIVATIONS)), order), filters)

    def _run_convolution(self, seen: list[Tensor], source: int, place: int, name: str, order: str) -> Tensor:
        conv, norm, slopes = (self.parts[place + i] for i in range(3))
        x = conv(seen[source])
        if order == "norm first":
            x = norm(x)
        x = slopes(ACTIVATIONS[name](x))
        return norm(x) if order == "norm last" else x

    def _again(self, source: int) -> None:
        """Call a convolution again, on what is as wide as what it read."""
        calls = [arguments for kind, arguments in self.steps if kind == "convolution"]
        source, place, name, order = self.draw.choice(calls)
        alike = [i for i, width in enumerate(self.widths) if width == self.widths[source] and i > 0]
        if alike:
            width = self.parts[place].out_channels
            self._step("convolution", (self.draw.choice(alike), place, name, order), width)

    def _sum(self, source: int) -> None:
        width = self.widths[source]
        other = self.draw.choice([i for i, size in enumerate(self.widths) if size == width])
        self._step("sum", (source, other), width)

    def _run_sum(self, seen: list[Tensor], source: int, other: int) -> Tensor:
        return F.relu(seen[source] + seen[other])

    def _cat(self, source: int) -> None:
        other = self.draw.randrange(len(self.widths))
        self._step("cat", (source, other), self.widths[source] + self.widths[other])

    def _run_all(self, seen: list[Tensor], *sources: int) -> Tensor:
        return torch.cat([seen[source] for source in sources], 1)

    def _run_cat(self, seen: list[Tensor], source: int, other: int) -> Tensor:
        return torch.cat([seen[source], seen[other]], 1)

    def _gate(self, source: int) -> None:
        width, linear = self.widths[source], self.draw.random() < 0.5
        make = nn.Linear if linear else lambda a, b: nn.Conv2d(a, b, 1)
        self._step("gate", (source, self._add(make(width, 4), make(4, width))), width)

    def _run_gate(self, seen: list[Tensor], source: int, place: int) -> Tensor:
        x = seen[source]
        squeeze, excite = self.parts[place], self.parts[place + 1]
        mean = x.mean((2, 3), keepdim=isinstance(squeeze, nn.Conv2d))
        return x * torch.sigmoid(excite(F.relu(squeeze(mean)))).view(*x.shape[:2], 1, 1)

    def _pool(self, source: int) -> None:
        self._step("pool", (source, self.draw.choice(list(POOLS))), self.widths[source])

    def _run_pool(self, seen: list[Tensor], source: int, name: str) -> Tensor:
        return POOLS[name](seen[source])

    def _norm(self, source: int) -> None:
        self._step("norm", (source, self._add(nn.BatchNorm2d(self.widths[source]))), self.widths[source])

    def _run_norm(self, seen: list[Tensor], source: int, place: int) -> Tensor:
        return F.relu(self.parts[place](seen[source]))

    def _shortcut(self, source: int) -> None:
        width = self.widths[source] + 2 * self.draw.choice([1, 2])
        self._step("shortcut", (source, self._add(OptionA(self.widths[source], width, 1))), width)

    def _run_shortcut(self, seen: list[Tensor], source: int, place: int) -> Tensor:
        return self.parts[place](seen[source])

    def _shuffle(self, source: int) -> None:
        if self.widths[source] % 2 == 0:
            self._step("shuffle", (source,), self.widths[source])

    def _run_shuffle(self, seen: list[Tensor], source: int) -> Tensor:
        x = seen[source]
        return x.unflatten(1, (2, x.shape[1] // 2)).transpose(1, 2).flatten(1, 2)

    def _slice(self, source: int) -> None:
        width = self.widths[source]
        self._step("slice", (source, width // 3, width), width - width // 3)

    def _run_slice(self, seen: list[Tensor], source: int, start: int, end: int) -> Tensor:
        return seen[source][:, start:end]


def _sources(kind: str, arguments: tuple[object, ...]) -> tuple[object, ...]:
    return arguments[:2] if kind in ("sum", "cat") else arguments[:1]
