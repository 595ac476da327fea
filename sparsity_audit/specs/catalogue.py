"""What is shipped: specs, and the rows of studies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sparsity_audit.schema.spec import ZooSpec
from sparsity_audit.schema.study import PrintedValues
from sparsity_audit.schema.validating import validate
from sparsity_audit.specs.describe import settings_line
from sparsity_audit.specs.sources import read_shipped, shipped_ids
from sparsity_audit.specs.study import LoadedStudy, load_study, resolved, rows


@dataclass(frozen=True)
class Entry:
    """Something that ``load_spec`` knows by its id."""

    id: str
    kind: Literal["spec", "row"]
    study: str | None
    """Id of the study that a row belongs to."""
    summary: str
    """Its settings in one line."""
    printed: PrintedValues | None
    """What the paper printed of a row."""


def catalogue() -> list[Entry]:
    """Return the shipped specs, then the rows of the shipped studies, study by study.

    Raises:
        ConfigError: a shipped file that does not fit its schema.
    """
    found = []
    for name in shipped_ids("spec"):
        file = read_shipped("spec", name)
        spec = validate(ZooSpec, file.content, file.origin)
        found.append(Entry(name, "spec", None, settings_line(spec), None))
    for name in shipped_ids("study"):
        found += row_entries(load_study(name))
    return found


def row_entries(study: LoadedStudy) -> list[Entry]:
    """Return the rows of one study.

    Raises:
        ConfigError: a row that makes no spec.
    """
    runs = [resolved(study, row, study.spec.seeds[0]) for row in rows(study)]
    return [Entry(run.row_id, "row", study.id, settings_line(run.spec), run.printed) for run in runs]
