"""The runs that a comparison is about: those of a study by what was trained, or all that a folder holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sparsity_audit.measures.arms import arms_of
from sparsity_audit.schema.study_report import MissingRun, RunFacts
from sparsity_audit.specs.study import LoadedStudy, StudyRun, expand
from sparsity_audit.studies.facts import Note, run_facts
from sparsity_audit.studies.locate import FoundRun, find_runs


@dataclass(frozen=True)
class Gathered:
    """Facts of the finished runs, and what is missing of a study."""

    runs: list[RunFacts]
    missing: list[MissingRun]
    notes: list[str] = field(default_factory=list)
    """One line on each file that could not be used."""
    planned: Sequence[StudyRun] = ()
    """The study's runs, those that are missing too; none where there is no study."""


def gather(study: LoadedStudy | None, runs_root: Path) -> Gathered:
    """Return the runs of a study that lie in a folder; without a study, every finished run there.

    Runs are found by the digest of their spec, whatever their folders are called, and bear the name of the study's row.

    Raises:
        ConfigError: a study with a row that makes no spec.
    """
    notes: list[str] = []
    found = find_runs(runs_root, notes.append)
    if study is not None:
        return _of_study(expand(study), found, notes)
    runs, missing = [], []
    for run in found.values():
        if run.finished:
            runs.append(run_facts(run.path, run.record, note=notes.append))
        else:
            missing.append(_missing(run.record.name, run.record.seed, run.record.digest, run))
    return Gathered(_told_apart(runs), missing, notes)


def _told_apart(runs: list[RunFacts]) -> list[RunFacts]:
    """Return the runs, named after their folders where two that differ in more than their seed have one name."""
    names = [arm.name for arm in arms_of(runs)]
    ambiguous = {name for name in names if names.count(name) > 1}
    return [run.model_copy(update={"name": Path(run.path).name}) if run.name in ambiguous else run for run in runs]


def _of_study(planned: list[StudyRun], found: dict[str, FoundRun], notes: list[str]) -> Gathered:
    runs, missing = [], []
    for wanted in planned:
        digest = wanted.spec.digest()
        run = found.get(digest)
        if run is not None and run.finished:
            facts = run_facts(run.path, run.record, name=wanted.row_id, note=_once(notes))
            runs.append(facts)
        else:
            missing.append(_missing(wanted.row_id, wanted.seed, digest, run))
    return Gathered(runs, missing, notes, planned)


def _once(notes: list[str]) -> Note:
    """Return a note-taker that leaves out what was said already: two rows may be one and the same run."""
    return lambda line: None if line in notes else notes.append(line)


def _missing(name: str, seed: int, digest: str, run: FoundRun | None) -> MissingRun:
    if run is None:
        return MissingRun(name=name, seed=seed, digest=digest, reason="not run")
    record = run.record
    reason = f"{record.status} after {record.steps:,} of {record.total_steps:,} steps"
    if record.message is not None:
        reason += f": {record.message}"
    return MissingRun(name=name, seed=seed, digest=digest, reason=reason)
