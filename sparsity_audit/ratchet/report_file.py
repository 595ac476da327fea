"""Reports as files, read back."""

from __future__ import annotations

from pathlib import Path

from sparsity_audit.errors import ConfigError
from sparsity_audit.schema.reading import read_json
from sparsity_audit.schema.report import AuditReport
from sparsity_audit.schema.validating import validate


def read_report(path: Path) -> AuditReport:
    """Return the report in a file of ``run --json`` or ``compare --json``.

    Raises:
        ConfigError: it cannot be read, or holds something else.
    """
    content = read_json(path, "report")
    if not {"tool", "models", "exit_code"} <= content.keys():
        raise ConfigError(f"{path}: is no audit report: give a file of run --json")
    return validate(AuditReport, content, str(path))
