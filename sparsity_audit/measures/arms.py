"""Runs as the arms of an experiment: what is equal but for the seed, and arms that differ in named settings only."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sparsity_audit.measures.quantities import Quantity
from sparsity_audit.schema.spec import ZooSpec
from sparsity_audit.schema.study_report import RunFacts
from sparsity_audit.specs.budget import known_steps_per_epoch

Settings = Mapping[str, Hashable]
"""What decides how a run was trained, by dotted key: ``optimizer.name``, ``regularizer.strength``, …"""


@dataclass(frozen=True)
class Arm:
    """Runs that are equal but for the seed."""

    settings: Settings
    runs: Mapping[int, RunFacts]
    """By seed; runs without one are numbered as they come."""

    @property
    def name(self) -> str:
        """The row or spec that the runs belong to."""
        return self.first.name

    @property
    def first(self) -> RunFacts:
        """One of the runs: what does not depend on the seed is the same in all."""
        return next(iter(self.runs.values()))

    @property
    def kind(self) -> str:
        """Kind of the regulariser; ``none`` where λ is 0 or nothing is known."""
        return str(self.settings.get("regularizer.kind") or "none") if self.strength else "none"

    @property
    def strength(self) -> float:
        """λ; 0 without a regulariser."""
        return _number(self.settings.get("regularizer.strength")) or 0.0

    def number(self, key: str) -> float | None:
        """Return a setting that is a number; None where it is none, or not set."""
        return _number(self.settings.get(key))

    def values(self, quantity: Quantity) -> dict[int, float]:
        """Return a quantity by seed, of the runs that it is known of."""
        found = {seed: quantity.of(run) for seed, run in sorted(self.runs.items())}
        return {seed: value for seed, value in found.items() if value is not None}

    def mean(self, quantity: Quantity, seeds: Iterable[int]) -> float:
        """Return the mean over some seeds, all of which must have the quantity."""
        values = self.values(quantity)
        chosen = [values[seed] for seed in seeds]
        return sum(chosen) / len(chosen)


def arms_of(runs: Sequence[RunFacts]) -> list[Arm]:
    """Return the arms in the order in which their first runs come; of one training twice, the first counts."""
    grouped: dict[frozenset[tuple[str, Hashable]], dict[int, RunFacts]] = {}
    settings: dict[frozenset[tuple[str, Hashable]], Settings] = {}
    for run in runs:
        known = settings_of(run)
        key = frozenset(known.items())
        settings.setdefault(key, known)
        seeds = grouped.setdefault(key, {})
        seeds.setdefault(run.seed if run.seed is not None else len(seeds), run)
    return [Arm(settings[key], seeds) for key, seeds in grouped.items()]


def alike(arms: Iterable[Arm], but_for: Sequence[str]) -> list[list[Arm]]:
    """Return groups of arms that are equal but for some settings; a name stands for all the keys below it, too."""
    groups: dict[frozenset[tuple[str, Hashable]], list[Arm]] = {}
    for arm in arms:
        key = frozenset((name, value) for name, value in arm.settings.items() if not _under(name, but_for))
        groups.setdefault(key, []).append(arm)
    return list(groups.values())


def ordered(arms: Iterable[Arm], key: str) -> list[Arm]:
    """Return the arms that have a number under a key, the smallest first."""
    known = [(number, arm) for arm in arms if (number := arm.number(key)) is not None]
    return [arm for _, arm in sorted(known, key=lambda pair: pair[0])]


def regimes(arms: Iterable[Arm]) -> list[list[Arm]]:
    """Return arms that are equal but for λ, the smallest first, of each kind of regulariser.

    A run without a regulariser is λ = 0 of every kind that its like were trained with.
    """
    found = []
    for group in alike(arms, ("regularizer.kind", "regularizer.strength")):
        free = [arm for arm in group if arm.kind == "none"][:1]
        kinds = sorted({arm.kind for arm in group} - {"none"})
        of_kinds = [[arm for arm in group if arm.kind == kind] for kind in kinds]
        found += [[*free, *ordered(of_kind, "regularizer.strength")] for of_kind in of_kinds]
    return found


def common_seeds(arms: Sequence[Arm], quantity: Quantity) -> list[int]:
    """Return the seeds for which every arm has a quantity."""
    known = [arm.values(quantity).keys() for arm in arms]
    return sorted(set.intersection(*map(set, known))) if known else []


def settings_of(run: RunFacts) -> Settings:
    """Return what a run's training was: its spec without seed, or what is known of a model from elsewhere."""
    if run.spec is None:
        return _settings_elsewhere(run)
    content = run.spec.model_dump(mode="json", exclude={"schema_version", "seed", "observe", "schedule"})
    return _flat({**content, "schedule": _in_iterations(run.spec)})


def _settings_elsewhere(run: RunFacts) -> Settings:
    """Return what is known of a model without a spec; its layers stand for its network."""
    known = run.training.model_dump(mode="json") if run.training is not None else {}
    length = {"total": run.steps} if run.steps is not None else {"batch_size": known.get("batch_size")}
    network = tuple((layer.key, layer.filters) for layer in run.layers)
    return {"elsewhere": run.group, "network.layers": network, **_flat({**known, "schedule": length})}


def _in_iterations(spec: ZooSpec) -> dict[str, Any]:
    """Return a schedule in iterations, so that other batch sizes with as many steps count as equally long."""
    schedule = spec.schedule
    per_epoch = 1 if schedule.unit == "iterations" else known_steps_per_epoch(spec)
    if per_epoch is None:  # nothing tells how long an epoch is: equal for the same batch size only
        return {**schedule.model_dump(mode="json"), "batch_size": spec.batch_size}
    return {
        "total": schedule.total * per_epoch,
        "milestones": [milestone * per_epoch for milestone in schedule.milestones],
        "factor": schedule.factor,
    }


def _flat(content: Mapping[str, Any], above: str = "") -> dict[str, Hashable]:
    found: dict[str, Hashable] = {}
    for key, value in content.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{above}{key}.")
        else:
            found[f"{above}{key}"] = tuple(value) if isinstance(value, list) else value
    return found


def _under(name: str, places: Sequence[str]) -> bool:
    return any(name == place or name.startswith(f"{place}.") for place in places)


def _number(value: Hashable) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
