"""Studies: a base spec, what is varied, and the runs that come of it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparsity_audit.errors import ConfigError, UsageError, did_you_mean
from sparsity_audit.schema.spec import ZooSpec
from sparsity_audit.schema.study import PrintedValues, StudySpec
from sparsity_audit.schema.validating import validate
from sparsity_audit.specs.edit import anchored, edited
from sparsity_audit.specs.slug import slug
from sparsity_audit.specs.sources import TomlFile, means_file, read_file, read_shipped, shipped_ids


@dataclass(frozen=True)
class LoadedStudy:
    """A study with its base found; its runs come from ``expand``."""

    id: str
    """The file's name without ``.toml``."""
    origin: str
    """What to call it in messages: its path, or ``zoo:ID`` for a shipped one."""
    spec: StudySpec
    base: TomlFile
    """The base spec as it stands in its file, relative paths anchored."""
    folder: Path | None
    """Folder that relative paths of the study start from; None for a shipped one."""


@dataclass(frozen=True)
class Row:
    """One line of a study, still without a seed: what differs from the base."""

    id: str
    changes: Mapping[str, Any]
    printed: PrintedValues | None
    note: str | None


@dataclass(frozen=True)
class StudyRun:
    """One training of a study."""

    row_id: str
    seed: int
    spec: ZooSpec
    printed: PrintedValues | None
    """What the paper printed of this row; None where it printed nothing."""
    note: str | None


def load_study(name_or_path: str) -> LoadedStudy:
    """Return a study: a TOML file where the name is a path, else the shipped one of that id.

    Raises:
        ConfigError: a study, or its base, that cannot be read or does not fit its schema.
        UsageError: no shipped study has that id, or the file is a spec.
    """
    if means_file(name_or_path):
        return study_of(read_file(Path(name_or_path), "study"))
    known = shipped_ids("study")
    if name_or_path not in known:
        raise UsageError(f"no study {name_or_path!r}{did_you_mean(name_or_path, known)}")
    return study_of(read_shipped("study", name_or_path))


def names_study(name: str) -> bool:
    """Tell a study from a spec, by a path or an id; what is neither is no study.

    Raises:
        ConfigError: a file that is not there, cannot be read, or is not TOML.
    """
    if means_file(name):
        return read_file(Path(name)).is_study
    return name in shipped_ids("study") and name not in shipped_ids("spec")


def study_of(file: TomlFile) -> LoadedStudy:
    """Return the study that a file holds; raises as ``load_study`` does."""
    if not file.is_study and "network" in file.content:
        raise UsageError(f"{file.origin}: a spec, not a study; a study has a base, and rows or axes")
    spec = validate(StudySpec, file.content, file.origin)
    return LoadedStudy(file.id, file.origin, spec, _base(spec.base, file), file.folder)


def rows(study: LoadedStudy) -> list[Row]:
    """Return the product of the axes, then the rows that stand one by one; nothing is resolved yet.

    Raises:
        ConfigError: two rows get the same id.
    """
    axes = study.spec.axes
    values = itertools.product(*axes.values()) if axes else ()
    found = [
        Row("-".join(map(slug, [study.id, *chosen])), dict(zip(axes, chosen, strict=True)), None, None)
        for chosen in values
    ]
    found += [Row(row.id, row.set, row.printed, row.note) for row in study.spec.row]
    ids = [row.id for row in found]
    twice = next((name for index, name in enumerate(ids) if name in ids[:index]), None)
    if twice is not None:
        raise ConfigError(f"{study.origin}: row id {twice!r} comes out twice; axes whose values read alike need rows")
    return found


def row_content(study: LoadedStudy, row: Row, seed: int) -> dict[str, Any]:
    """Return the spec of a row before defaults are filled in.

    Raises:
        ConfigError: a change with a bad key.
    """
    changes = row.changes if study.folder is None else anchored(row.changes, study.folder)
    if "seed" in changes:
        raise ConfigError(f"{study.origin}: row {row.id}: seed is set; list it under seeds instead")
    try:
        return {**edited(study.base.content, changes), "seed": seed}
    except ValueError as failure:
        raise ConfigError(f"{study.origin}: row {row.id}: {failure}") from None


def resolved(study: LoadedStudy, row: Row, seed: int) -> StudyRun:
    """Return one run of a row.

    Raises:
        ConfigError: one line with file, row and key on a row that makes no spec.
    """
    spec = validate(ZooSpec, row_content(study, row, seed), f"{study.origin}: row {row.id}")
    return StudyRun(row.id, seed, spec, row.printed, row.note)


def expand(study: LoadedStudy) -> list[StudyRun]:
    """Return all runs of a study: every row with its first seed, then every row with the next.

    So a study that is stopped half-way has each of its rows as often as can be.

    Raises:
        ConfigError: a row that makes no spec; as ``rows`` and ``resolved``.
    """
    planned = rows(study)
    return [resolved(study, row, seed) for seed in study.spec.seeds for row in planned]


def _base(name: str, study: TomlFile) -> TomlFile:
    """Return the base spec of a study, by id or by a path relative to the study's file."""
    if name in (known := shipped_ids("spec")):
        return read_shipped("spec", name)
    if study.folder is None or not means_file(name, study.folder):
        raise ConfigError(f"{study.origin}: base: no shipped spec {name!r}{did_you_mean(name, known)}, and no file")
    try:
        file = read_file(study.folder / Path(name))
    except ConfigError as failure:
        raise ConfigError(f"{study.origin}: base: {failure}") from None
    if file.is_study:
        raise ConfigError(f"{study.origin}: base: {file.origin} is a study; name a spec")
    assert file.folder is not None
    return TomlFile(file.id, file.origin, anchored(file.content, file.folder), file.folder)
