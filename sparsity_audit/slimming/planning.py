"""From a cut to the plan that can be read, and applied again; and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import get_args

from sparsity_audit.errors import UsageError
from sparsity_audit.pruning.classify import DeadFilter
from sparsity_audit.pruning.holds import Holds
from sparsity_audit.schema.plan import (
    ComparisonFigures,
    CutSettings,
    PlannedLayer,
    PruningClass,
    PruningPlan,
    Tolerances,
)
from sparsity_audit.slimming.attempt import Attempt
from sparsity_audit.thresholds import ACTIVATION_THRESHOLD, CONSTANT_TOLERANCE

CLASSES: tuple[PruningClass, ...] = get_args(PruningClass)


def plan_of(
    tried: Attempt,
    dead: Mapping[str, Sequence[DeadFilter]],
    kind: PruningClass,
    settings: CutSettings,
    gamma_threshold: float,
) -> PruningPlan:
    """Return the plan that a slim network was made by, its verification included.

    Args:
        dead: all filters that could go, by layer key.
    """
    original = tried.original
    layers = [
        _planned(
            layer.key, layer.filters, dead[layer.key], tried, (before.params - after.params, before.macs - after.macs)
        )
        for layer, before, after in zip(original.graph.layers, original.sizes, tried.sizes, strict=True)
        if dead[layer.key] or tried.fates[layer.key].removed or before != after
    ]
    return PruningPlan(
        model_sha256=original.subject.checkpoint.sha256,
        criterion="scale" if original.corpus is None else "union",
        pruning_class=kind,
        settings=settings,
        tolerances=Tolerances(gamma=gamma_threshold, activation=ACTIVATION_THRESHOLD, constant=CONSTANT_TOLERANCE),
        images=None if original.corpus is None else len(original.corpus),
        layers=layers,
        params_before=original.size[0],
        params_after=tried.size[0],
        macs_before=original.size[1],
        macs_after=tried.size[1],
        verification=figures(tried),
    )


def figures(tried: Attempt) -> list[ComparisonFigures]:
    """Return the comparisons of a slim network with the original."""
    return [ComparisonFigures.model_validate(asdict(each)) for each in tried.verification.comparisons]


def holds_in(plan: PruningPlan, graph_layers: Mapping[str, int]) -> Holds:
    """Return the filters that a plan removes, and their constants.

    Args:
        graph_layers: the number of filters of the model's layers, by key.

    Raises:
        UsageError: a layer or filter that the model does not have, or a plan that does not say where filters are held.
    """
    holds: dict[str, dict[int, float]] = {}
    for layer in plan.layers:
        if not layer.removed and not layer.carriers:
            continue
        if layer.key not in graph_layers:
            raise UsageError(
                f"the plan speaks of a layer {layer.key!r} that the model has not: give the plan's own model"
            )
        wanted = {*layer.removed, *layer.held, *layer.scattered, *layer.carriers}
        if layer.filters != graph_layers[layer.key] or not wanted <= set(range(layer.filters)):
            raise UsageError(
                f"the plan speaks of filters of {layer.key} that the model has not: it has {graph_layers[layer.key]}"
            )
        missing = sorted({*layer.removed, *layer.carriers} - {*layer.held, *layer.derived})
        if missing:
            raise UsageError(
                f"the plan does not say at which value filter {missing[0]} of {layer.key} is held: make it with prune"
            )
        holds[layer.key] = dict(layer.held)
    return holds


def _planned(
    key: str, filters: int, dead: Sequence[DeadFilter], tried: Attempt, saved: tuple[int, int]
) -> PlannedLayer:
    fate, by_index = tried.fates[key], {each.index: each for each in dead}
    held = tried.slim.cut.holds.get(key, {})
    gone = [i for i in fate.removed if i not in fate.derived]
    classes: dict[PruningClass, list[int]] = {kind: [] for kind in CLASSES}
    for i in gone:
        classes[by_index[i].kind if i in by_index else "small"].append(i)
    return PlannedLayer(
        key=key,
        filters=filters,
        removed=fate.removed,
        classes=classes,
        constants={i: value for i in gone if i in by_index and (value := by_index[i].leaves)},
        held={i: held[i] for i in sorted(held)},
        derived=fate.derived,
        scattered=fate.scattered,
        carriers=fate.carriers,
        kept=_reasons(tried.slim.cut.held_back.get(key, {}), tried.rolled_back.get(key)),
        params_saved=saved[0],
        macs_saved=saved[1],
        evidence=f"verified on {sum(c.images for c in tried.verification.comparisons if c.against == 'held')} images",
    )


def _reasons(kept: Mapping[int, str], rolled_back: str | None) -> dict[str, list[int]]:
    """Return filters by the reason why they stay."""
    found: dict[str, list[int]] = {}
    for i, why in sorted(kept.items()):
        found.setdefault(why, []).append(i)
    if rolled_back is not None:
        found[f"its cut failed: {rolled_back}"] = []
    return found
