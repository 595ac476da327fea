"""What there is to train of a study, and how far each of its runs is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sparsity_audit.errors import UsageError, did_you_mean
from sparsity_audit.specs.study import StudyRun
from sparsity_audit.studies.locate import FoundRun

_LONGEST_NAME = 150
"""Letters of a row's id in a folder's name; the digest tells two longer ones apart."""


@dataclass(frozen=True)
class PlannedRun:
    """One training, and the row and seed of a study that first asks for it; rows that say the same train once."""

    run: StudyRun
    digest: str

    @property
    def name(self) -> str:
        """What to call it on screens."""
        return f"{self.run.row_id} seed {self.run.seed}"

    def folder(self, root: Path, found: FoundRun | None) -> Path:
        """Return where it lies, or will lie."""
        if found is not None:
            return found.path
        return root / f"{self.run.row_id[:_LONGEST_NAME]}-seed{self.run.seed}-{self.digest[:8]}"


@dataclass(frozen=True)
class RunState:
    """How far a run of a study is; ``stopped`` is trained at this moment, or waits to be resumed."""

    row_id: str
    seed: int
    digest: str
    state: Literal["done", "stopped", "diverged", "not run"]
    found: FoundRun | None


def chosen(runs: Sequence[StudyRun], rows: Iterable[str]) -> list[StudyRun]:
    """Return the runs of some rows; of all where none is named.

    Raises:
        UsageError: there is no such row.
    """
    wanted = list(rows)
    known = list(dict.fromkeys(run.row_id for run in runs))
    for row in wanted:
        if row not in known:
            raise UsageError(f"no row {row!r} in this study{did_you_mean(row, known)}")
    return [run for run in runs if not wanted or run.row_id in wanted]


def planned(runs: Iterable[StudyRun]) -> list[PlannedRun]:
    """Return the trainings that runs amount to, each once, in order."""
    plan: dict[str, PlannedRun] = {}
    for run in runs:
        digest = run.spec.digest()
        plan.setdefault(digest, PlannedRun(run, digest))
    return list(plan.values())


def states(runs: Iterable[StudyRun], found: Mapping[str, FoundRun]) -> list[RunState]:
    """Return how far each run is, one for each row and seed."""
    result = []
    for run in runs:
        digest = run.spec.digest()
        there = found.get(digest)
        result.append(RunState(run.row_id, run.seed, digest, _state(there), there))
    return result


def _state(found: FoundRun | None) -> Literal["done", "stopped", "diverged", "not run"]:
    if found is None:
        return "not run"
    if found.record.status == "diverged":
        return "diverged"
    return "done" if found.finished else "stopped"
