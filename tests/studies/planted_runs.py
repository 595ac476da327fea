"""Runs whose facts are planted: what a study would have found, without a training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sparsity_audit.schema.spec import ZooSpec
from sparsity_audit.schema.study_report import LayerFacts, RunFacts

BASE: dict[str, Any] = {
    "network": {"name": "basicnet", "first": 8, "width": 0.125, "head": [32]},
    "data": {"name": "digits", "test_size": 397, "flip": False},
    "optimizer": {"name": "adam"},
    "regularizer": {"kind": "l2", "strength": 1e-3},
    "schedule": {"unit": "iterations", "total": 12000, "milestones": [9200]},
    "batch_size": 40,
}
T_975 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776}
"""The t table of any textbook, two-sided 95 %, by degrees of freedom."""


def planted(
    name: str, dead: Sequence[float | None], error: float | Sequence[float] = 0.10, **changes: Any
) -> list[RunFacts]:
    """Return one run for each seed 0, 1, …: ``dead`` by seed, and a test error for all of them or by seed.

    ``changes`` are facts by name, or sections of the spec; both decay budgets are ample unless given.
    """
    errors = list(error) if isinstance(error, Sequence) else [error] * len(dead)
    sections = {key: changes.pop(key) for key in list(changes) if key in ZooSpec.model_fields}
    facts = {"decay_budget": 9.48, "rate_sum": 9.48, **changes}
    runs = []
    for seed, (share, wrong) in enumerate(zip(dead, errors, strict=True)):
        spec = ZooSpec.model_validate({**BASE, **sections, "seed": seed})
        runs.append(
            RunFacts(
                name=name,
                path=f"runs/{name}-seed{seed}",
                digest=spec.digest(),
                spec=spec,
                training=spec.settings(),
                seed=seed,
                error=wrong,
                by_scale=share,
                **{key: value[seed] if isinstance(value, list) else value for key, value in facts.items()},
            )
        )
    return runs


def regularised(kind: str, strength: float = 1e-3) -> dict[str, Any]:
    """Return a regulariser's section."""
    return {"kind": kind, "strength": strength}


def layers(
    dead: Sequence[int], filters: int = 10, beta: float = 0.0, selectivity: float | None = None
) -> list[LayerFacts]:
    """Return layers of equal size with some filters dead by scale."""
    return [
        LayerFacts(key=f"c{i}", filters=filters, inactive_by_scale=each, mean_beta=beta, selectivity=selectivity)
        for i, each in enumerate(dead, 1)
    ]
