"""Which share of each layer is inactive (Table 2, and Table 1 of the supplement)."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sparsity_audit.errors import UsageError
from sparsity_audit.plots.points import SparsityCriterion, training_of
from sparsity_audit.plots.style import INK, LIGHT_BLUE, SMALL, label, new_figure, say, styled
from sparsity_audit.reporters.text import points
from sparsity_audit.schema.study_report import LayerFacts, RunFacts

Shares = dict[str, list[float]]
"""By layer key: the share of inactive filters, one a seed; none where it was not measured."""


def layerwise_figure(runs: Sequence[RunFacts], criterion: SparsityCriterion = "scale") -> Figure:
    """Draw a bar a layer, a row a training, with the percentage above the bar.

    Runs of one name that differ in their seed only are one row: bars are means over them, whiskers go from the least
    to the most.

    Raises:
        UsageError: no run with layers.
    """
    groups: dict[tuple[str, str], list[RunFacts]] = {}
    for run in runs:
        groups.setdefault((run.name, training_of(run)), []).append(run)
    rows = [(group, _shares(group, criterion)) for group in groups.values()]
    keys = list(dict.fromkeys(key for _, shares in rows for key in shares))
    if not keys:
        raise UsageError("no run tells of its layers; there is nothing to draw")
    with styled():
        figure = new_figure(1.6 + max(0.62 * len(keys), 3.5), 0.9 + 1.35 * len(rows))
        grid = figure.subplots(len(rows), 1, sharex=True, sharey=True, squeeze=False)
        for axes, (group, shares) in zip(grid[:, 0], rows, strict=True):
            axes.set_title(f"{label(group[0].name, 60, 1)}{_seed_words(group)}", loc="left")
            _panel(axes, keys, shares)
        grid[0, 0].set(ylim=(0, 118), yticks=[0, 50, 100], xlim=(-0.6, len(keys) - 0.4))
        longest = max(len(key) for key in keys)
        grid[-1, 0].set_xticks(range(len(keys)), [label(key, 24, 1) for key in keys], rotation=0 if longest < 8 else 90)
        figure.supylabel(f"filters inactive by {criterion}, %", fontsize=SMALL + 1)
    return figure


def _shares(group: Sequence[RunFacts], criterion: SparsityCriterion) -> Shares:
    shares: Shares = {}
    for run in group:
        for layer in run.layers:
            share = _share(layer, criterion)
            shares.setdefault(layer.key, []).extend([] if share is None else [share])
    return shares


def _share(layer: LayerFacts, criterion: SparsityCriterion) -> float | None:
    inactive = layer.inactive_by_scale if criterion == "scale" else layer.inactive_by_activation
    return None if inactive is None or not layer.filters else inactive / layer.filters


def _seed_words(group: Sequence[RunFacts]) -> str:
    if len(group) < 2:
        return ""
    seeds = [run.seed for run in group]
    if None in seeds:
        return f": mean and range of {len(group)} runs"
    return f": mean and range of seeds {', '.join(map(str, seeds))}"


def _panel(axes: Axes, keys: Sequence[str], shares: Shares) -> None:
    axes.grid(visible=False, axis="x")
    if not any(shares.values()):
        say(axes, "not measured")
        return
    for place, key in enumerate(keys):
        values = [100 * share for share in shares.get(key, [])]
        if not values:
            axes.text(place, 4, "–" if key in shares else "", ha="center", va="bottom", fontsize=SMALL)
            continue
        mean, most = statistics.fmean(values), max(values)
        axes.bar(place, mean, width=0.7, color=LIGHT_BLUE)
        if len(values) > 1:
            axes.vlines(place, min(values), most, color=INK, linewidth=1.0)
        axes.text(place, most + 2, points(mean / 100, 0), ha="center", va="bottom", fontsize=SMALL)
