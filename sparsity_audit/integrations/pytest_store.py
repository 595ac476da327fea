"""Audits of one pytest session: each model is audited once, whichever process needs it first."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from sparsity_audit.files import write_whole
from sparsity_audit.schema.report import AuditReport


class Store:
    """Reports of one model each, in memory, and in a folder where processes share them.

    A folder belongs to one session, so what lies in it can't be out of date.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._known: dict[str, AuditReport] = {}

    def get(self, key: str, make: Callable[[], AuditReport]) -> AuditReport:
        """Return the report that goes by ``key``, made by whoever asks first; others wait for it."""
        if key not in self._known:
            self._known[key] = make() if self.folder is None else self._shared(self.folder, key, make)
        return self._known[key]

    def _shared(self, folder: Path, key: str, make: Callable[[], AuditReport]) -> AuditReport:
        name = hashlib.sha256(key.encode()).hexdigest()[:32]
        file = folder / f"{name}.json"
        with FileLock(folder / f"{name}.lock"):
            if file.exists():
                return AuditReport.model_validate_json(file.read_bytes())
            report = make()
            write_whole(file, report.to_json(indent=None).encode())
        return report

    def reports(self) -> list[AuditReport]:
        """Return all reports that were made, in no order that means anything."""
        if self.folder is None:
            return list(self._known.values())
        return [AuditReport.model_validate_json(file.read_bytes()) for file in sorted(self.folder.glob("*.json"))]
