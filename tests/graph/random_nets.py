"""Random small networks, and by perturbation which filters each channel that a convolution reads comes from."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

PLANE = 4
IMAGE = -1


class RandomNet(nn.Module):
    """Convolutions joined by sums, concatenations, shuffles, slices and pooling, all drawn from a seed."""

    def __init__(self, seed: int, steps: int = 9) -> None:
        super().__init__()
        self.draw = random.Random(seed)  # noqa: S311
        self.convs = nn.ModuleList()
        self.norms = nn.ModuleList()
        self.program: list[Callable[[list[Tensor]], Tensor]] = []
        self.widths = [4]
        self._conv(0)
        for _ in range(steps):
            self.draw.choice([self._conv, self._conv, self._sum, self._cat, self._shuffle, self._slice])(
                self.draw.randrange(len(self.widths))
            )
        self.program.append(lambda seen: torch.cat(seen, 1))
        self.widths.append(sum(self.widths))
        self._conv(len(self.widths) - 1)

    def forward(self, x: Tensor) -> Tensor:
        seen = [x]
        for step in self.program:
            seen.append(step(seen))
        return seen[-1]

    def _conv(self, source: int) -> None:
        width = self.widths[source]
        groups = self.draw.choice([groups for groups in (1, 1, 2, width) if width % groups == 0])
        filters = width if groups == width else self.draw.choice([4, 6, 8])
        conv = nn.Conv2d(width, filters, self.draw.choice([1, 3]), padding="same", groups=groups)
        norm = nn.BatchNorm2d(filters)
        place = len(self.convs)
        self.convs.append(conv)
        self.norms.append(norm)
        act = self.draw.choice([nn.functional.relu, nn.functional.leaky_relu, lambda x: x])
        self._add(lambda seen: act(self.norms[place](self.convs[place](seen[source]))), filters)

    def _sum(self, source: int) -> None:
        width = self.widths[source]
        other = self.draw.choice([i for i, size in enumerate(self.widths) if size == width])
        self._add(lambda seen: seen[source] + seen[other], width)

    def _cat(self, source: int) -> None:
        other = self.draw.randrange(len(self.widths))
        self._add(lambda seen: torch.cat([seen[source], seen[other]], 1), self.widths[source] + self.widths[other])

    def _shuffle(self, source: int) -> None:
        width = self.widths[source]
        self._add(lambda seen: seen[source].unflatten(1, (2, width // 2)).transpose(1, 2).flatten(1, 2), width)

    def _slice(self, source: int) -> None:
        start = self.draw.randrange(0, self.widths[source] // 2)
        width = 2 * ((self.widths[source] - start) // 2)
        self._add(lambda seen: seen[source][:, start : start + width].flip(1), width)

    def _add(self, step: Callable[[list[Tensor]], Tensor], width: int) -> None:
        self.program.append(step)
        self.widths.append(width)


@dataclass
class Tape:
    """Inputs of all convolution calls in order; their outputs can be held fixed, one filter changed."""

    outputs: list[Tensor] = field(default_factory=list)
    inputs: list[Tensor] = field(default_factory=list)
    held: list[Tensor] | None = None
    changed: tuple[int, int] | None = None

    def __call__(self, _module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        call = len(self.inputs)
        self.inputs.append(args[0].clone())
        if self.held is None:
            self.outputs.append(output.clone())
            return output
        result = self.held[call].clone()
        if self.changed is not None and self.changed[0] == call:
            result[:, self.changed[1]] += 7 * torch.randn_like(result[:, self.changed[1]])
        return result


@contextmanager
def taped(net: nn.Module, tape: Tape) -> Iterator[None]:
    kinds = nn.modules.conv._ConvNd
    hooks = [part.register_forward_hook(tape) for part in net.modules() if isinstance(part, kinds)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def reads_by_perturbation(net: nn.Module, shape: tuple[int, int, int]) -> list[list[set[int]]]:
    """Return, per convolution call and input channel, the filters (numbered over all calls) that change it.

    All convolutions' outputs are held at what they were, but for one filter at a time: so only direct readers
    change. The image counts as ``IMAGE``.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, *shape, generator=generator)
    base = Tape()
    with torch.no_grad(), taped(net, base):
        net(x)
    found: list[list[set[int]]] = [[set() for _ in range(tensor.shape[1])] for tensor in base.inputs]
    sources = [(IMAGE, None)]
    for call, output in enumerate(base.outputs):
        sources += [(len(sources) - 1 + i, (call, i)) for i in range(output.shape[1])]  # type: ignore[misc]
    for label, changed in sources:
        tape = Tape(held=base.outputs, changed=changed)
        other = torch.randn(3, *shape, generator=generator) if changed is None else x
        with torch.no_grad(), taped(net, tape):
            net(other)
        for call, (before, after) in enumerate(zip(base.inputs, tape.inputs, strict=True)):
            for channel in (before != after).transpose(0, 1).flatten(1).any(1).nonzero().flatten().tolist():
                found[call][channel].add(label)
    return found
