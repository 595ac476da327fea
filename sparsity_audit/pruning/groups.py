"""Grouped convolutions: each group must lose as many channels, and as many filters, as the others."""

from __future__ import annotations

from collections.abc import Callable

from sparsity_audit.graph.label_run import example_shape
from sparsity_audit.graph.ops import is_convolution, is_transposed
from sparsity_audit.pruning.channels import ChannelClasses

_WHY = "the groups of a convolution must lose equally many"


def keep_groups_even(classes: ChannelClasses, gone: set[int], keep: Callable[[int, str], None]) -> None:
    """Keep classes until every group of every grouped convolution loses the same number of channels and of filters.

    Which positions those are may differ from group to group. Depthwise convolutions are no matter here: a filter and
    its channel are one class.

    Args:
        gone: classes that are to go.
        keep: takes a class out of ``gone``, with the reason.
    """
    before = -1
    while len(gone) != before:
        before = len(gone)
        for reader in classes.readers:
            if not is_convolution(reader.node) or is_transposed(reader.node):
                continue
            per_group = example_shape(reader.node.args[1].meta["val"])[1]  # type: ignore[union-attr]
            if per_group == len(reader.items):
                continue
            groups = len(reader.items) // per_group
            _even(classes.classes(reader.items), groups, gone, keep)
            _even(classes.classes(classes.outputs[reader.node]), groups, gone, keep)


def _even(items: list[int], groups: int, gone: set[int], keep: Callable[[int, str], None]) -> None:
    size = len(items) // groups
    lost = [[item for item in items[g * size : (g + 1) * size] if item in gone] for g in range(groups)]
    least = min(len(group) for group in lost)
    for group in lost:
        for item in group[least:]:
            keep(item, _WHY)
