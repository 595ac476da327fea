"""Planting filters of known kinds, and what each rule must say of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Kind:
    """A kind of filter by its γ and β, and the rules that must find it.

    Attributes:
        after_relu: ids of rules, where a nonlinearity follows the norm.
        joined: ids of rules, where the norm's output meets others first.
    """

    gamma: float
    beta: float
    after_relu: frozenset[str] = frozenset()
    joined: frozenset[str] = frozenset()


def _rules(text: str) -> frozenset[str]:
    return frozenset(f"SA{number}" for number in text.split())


# A batch-normalised value of M is at most √(M − 1) away from 0, and the self-test's M is 65,536 at most: no
# input reaches −300. At a norm's output that filter is as alive as any other.
KINDS = {
    "dead": Kind(0.0, -0.5, _rules("101 102 104"), _rules("101 103 104")),
    "constant": Kind(0.0, 0.3, _rules("101 103 104"), _rules("101 103 104")),
    "small": Kind(5e-4, 0.3, _rules("101 104 107"), _rules("101 104 107")),
    "between thresholds": Kind(5e-3, 0.3, _rules("106"), _rules("106")),
    "silent": Kind(1.0, -300.0, _rules("102 104 107 203")),
    "healthy": Kind(1.0, 0.1),
}
RULES = sorted({rule for kind in KINDS.values() for rule in kind.after_relu | kind.joined})
"""Ids of the rules whose findings are checked."""

Filter = tuple[str, int]
"""A norm's path and the number of a filter."""


def plant(module: nn.Module, joined: tuple[str, ...]) -> dict[str, set[Filter]]:
    """Make the first filters of each 2-d batch norm one of each kind, and the others healthy.

    Args:
        joined: endings of the paths of norms whose output meets others before any nonlinearity.

    Returns:
        For each rule of ``RULES`` the filters that it must find.
    """
    wanted: dict[str, set[Filter]] = {rule: set() for rule in RULES}
    for path, norm in module.named_modules():
        if not isinstance(norm, nn.BatchNorm2d):
            continue
        nn.init.constant_(norm.weight, KINDS["healthy"].gamma)
        nn.init.constant_(norm.bias, KINDS["healthy"].beta)
        for index, kind in enumerate(KINDS.values()):
            norm.weight.data[index], norm.bias.data[index] = kind.gamma, kind.beta
            for rule in kind.joined if path.endswith(joined) else kind.after_relu:
                wanted[rule].add((path, index))
    return wanted


def calibrate(module: nn.Module, images: Tensor) -> None:
    """Give every batch norm the statistics of ``images`` [N, C, H, W], so that healthy filters are healthy."""
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
            norm.reset_running_stats()
            norm.momentum = None  # the mean over all batches, of which there is one
    module.train()
    with torch.no_grad():
        module(images)
    module.eval()
