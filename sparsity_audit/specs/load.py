"""From what the user names to a resolved spec."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparsity_audit.errors import UsageError, did_you_mean
from sparsity_audit.schema.spec import ZooSpec
from sparsity_audit.schema.study import PrintedValues
from sparsity_audit.schema.validating import validate
from sparsity_audit.specs.edit import anchored, edited, parsed_sets
from sparsity_audit.specs.sources import TomlFile, means_file, read_file, read_shipped, shipped_ids
from sparsity_audit.specs.study import Row, row_content, rows, study_of


@dataclass(frozen=True)
class NamedSpec:
    """A spec, what it is called, and what was printed of it."""

    id: str
    """File stem, shipped spec id, or study row id."""
    spec: ZooSpec
    """Resolved: every default filled in."""
    origin: str
    """What to call it in messages: the file, or ``zoo:ID``."""
    printed: PrintedValues | None = None
    """For rows of studies."""
    note: str | None = None
    """For rows of studies."""
    study: str | None = None
    """Id of the study that it is a row of."""


def load_spec(name: str, sets: Sequence[str] = (), seed: int | None = None) -> NamedSpec:
    """Return the spec of a file, of a shipped id, or of a shipped study's row.

    Args:
        name: a path (it exists, ends in ``.toml`` or has a separator), else an id.
        sets: ``key=value`` texts that change it (see ``specs.edit``).
        seed: replaces the spec's, last of all.

    Raises:
        ConfigError: a file that cannot be read, or a spec that does not fit its schema.
        UsageError: an unknown id, a study where one spec is needed, or a bad text among ``sets``.
    """
    changes = anchored(parsed_sets(sets), Path.cwd())
    found = _found(name)
    where = f"{found.origin} with --set {', '.join(sets)}" if sets else found.origin
    try:
        content = edited(found.content, changes)
    except ValueError as failure:
        raise UsageError(f"{where}: {failure}") from None
    if seed is not None:
        content["seed"] = seed
    spec = validate(ZooSpec, content, where)
    row = found.row
    if row is None:
        return NamedSpec(found.id, spec, where)
    return NamedSpec(found.id, spec, where, row.printed, row.note, found.study)


@dataclass(frozen=True)
class _Found:
    """Content before the changes, and where it came from."""

    id: str
    origin: str
    content: dict[str, Any]
    row: Row | None = None
    study: str | None = None


def _found(name: str) -> _Found:
    if means_file(name):
        file = read_file(Path(name))
        _refuse_study(file)
        assert file.folder is not None
        return _Found(file.id, file.origin, anchored(file.content, file.folder))
    if name in shipped_ids("spec"):
        file = read_shipped("spec", name)
        return _Found(file.id, file.origin, file.content)
    if name in shipped_ids("study"):
        _refuse_study(read_shipped("study", name))
    return _row(name)


def _row(name: str) -> _Found:
    studies = shipped_ids("study")
    known = [*shipped_ids("spec"), *studies]
    for study_id in studies:
        study = study_of(read_shipped("study", study_id))
        for row in rows(study):
            if row.id == name:
                return _Found(name, f"zoo:{name}", row_content(study, row, study.spec.seeds[0]), row, study_id)
            known.append(row.id)
    near = did_you_mean(name, known)
    hint = near if "did you mean" in near else " (zoo list shows them all)"
    raise UsageError(f"no shipped spec or row {name!r}, and no file of that name{hint}")


def _refuse_study(file: TomlFile) -> None:
    if not file.is_study:
        return
    ids = [row.id for row in rows(study_of(file))]
    some = ", ".join(ids[:2]) + (", …" if len(ids) > 2 else "")
    count = f"{len(ids)} row{'' if len(ids) == 1 else 's'}"
    hint = "; name one of its rows" if file.folder is None else ""
    raise UsageError(f"{file.origin}: a study of {count} ({some}), where one spec is needed{hint}")
