"""Runs as points of a picture: those that differ in their seed only are one, with mean and range."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from sparsity_audit.schema.study_report import RunFacts
from sparsity_audit.specs.describe import settings_line

SparsityCriterion = Literal["scale", "activation"]
ELSEWHERE = "trained elsewhere"
"""Stands for an optimizer that nobody told."""


@dataclass(frozen=True)
class Point:
    """One training, over its seeds; shares and errors are 0–1."""

    regime: str
    """Equal for points that differ in λ only."""
    corpus: str
    """What it was trained on; empty where nobody told. Errors compare within one only."""
    optimizer: str
    kind: str
    strength: float | None
    """λ; None where it is unknown, or there is no regulariser."""
    words: str
    """What else sets it apart from most others of its corpus; empty where that is nothing."""
    errors: tuple[float, ...]
    sparsities: tuple[float, ...]
    """One a seed, as ``errors``."""

    @property
    def error(self) -> float:
        """Mean over the seeds."""
        return statistics.fmean(self.errors)

    @property
    def sparsity(self) -> float:
        """Mean over the seeds."""
        return statistics.fmean(self.sparsities)


def sparsity_of(run: RunFacts, criterion: SparsityCriterion) -> float | None:
    """Return the share of a run's filters that are inactive by a criterion; None where it was not measured."""
    return run.by_scale if criterion == "scale" else run.by_activation


def points_of(runs: Iterable[RunFacts], criterion: SparsityCriterion) -> list[Point]:
    """Return the points, in the order of their first runs; runs without error or sparsity are left out."""
    groups: dict[str, list[RunFacts]] = {}
    for run in runs:
        if run.error is not None and sparsity_of(run, criterion) is not None:
            groups.setdefault(training_of(run), []).append(run)
    firsts = [group[0] for group in groups.values()]
    usual = {corpus: _usual([run for run in firsts if _corpus(run) == corpus]) for corpus in map(_corpus, firsts)}
    return [_point(group, criterion, usual[_corpus(group[0])]) for group in groups.values()]


def training_of(run: RunFacts, *, strength: bool = True) -> str:
    """Return a text that is equal for runs trained alike but for the seed, and, where not wanted, for λ."""
    if run.spec is None:
        return f"elsewhere {run.name}"
    spec = run.spec.model_dump(mode="json", exclude={"seed", "observe"})
    if not strength:
        del spec["regularizer"]["strength"]
    return json.dumps(spec)


def _corpus(run: RunFacts) -> str:
    return run.spec.data.name if run.spec is not None else ""


def _settings(run: RunFacts) -> list[str]:
    """Return the words on all that was set but corpus, optimizer and regulariser, which the picture shows by itself."""
    if run.spec is None:
        return [run.name]
    network, _, _, _, *rest = settings_line(run.spec).split(", ")
    return [*network.split(" "), *rest]


def _usual(firsts: Sequence[RunFacts]) -> set[str]:
    """Return the settings of the most points; in a study they are the base's."""
    counts = Counter(tuple(_settings(run)) for run in firsts if run.spec is not None)
    return set(counts.most_common(1)[0][0]) if counts else set()


def _words(run: RunFacts, usual: set[str]) -> str:
    return ", ".join(part for part in _settings(run) if part not in usual)


def _point(group: Sequence[RunFacts], criterion: SparsityCriterion, usual: set[str]) -> Point:
    first = group[0]
    optimizer = first.training.optimizer if first.training is not None else None
    regularizer = first.training.regularizer if first.training is not None else None
    kind = regularizer.kind if regularizer is not None else "unknown"
    return Point(
        regime=training_of(first, strength=False),
        corpus=_corpus(first),
        optimizer=optimizer.name if optimizer is not None else ELSEWHERE,
        kind=kind,
        strength=regularizer.strength if regularizer is not None and kind != "none" else None,
        words=_words(first, usual),
        errors=tuple(run.error for run in group if run.error is not None),
        sparsities=tuple(share for run in group if (share := sparsity_of(run, criterion)) is not None),
    )
