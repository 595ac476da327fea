"""Which file of a repository a finding is shown at: nobody can annotate a line of a weight file."""

from __future__ import annotations

import os
from pathlib import Path

from sparsity_audit.schema.report import AuditReport


def audit_file(report: AuditReport, model: str | None = None) -> str:
    """Return the file that asked for the audit; where there was none, the model's own.

    Args:
        model: path of the model that a finding is about; the first where left out.
    """
    if report.config_file is not None:
        return report.config_file
    paths = [part.path for part in report.models] + [error.path for error in report.errors]
    return model or next(iter(paths), "sparsity-audit")


def relative(path: str, root: Path) -> str:
    """Return a path as seen from a repository's folder, with ``/``; as it is where it lies elsewhere.

    Paths of a report are relative to the folder that the audit ran in; that is the current one here, too, or the
    repository's where the current one lies outside of it.
    """
    here = Path.cwd()
    # resolve() would follow links out of the repository.
    whole = Path(os.path.normpath((here if here.is_relative_to(root) else root) / path))
    return whole.relative_to(root).as_posix() if whole.is_relative_to(root) else whole.as_posix()
