"""A folder with small weight files and an audit of them, and pytest run in it."""

from __future__ import annotations

import pytest
from audit_folder import AuditFolder


@pytest.fixture
def folder(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> AuditFolder:
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)  # of our own suite, were it seen by the inner one
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    monkeypatch.setenv("TMPDIR", str(pytester.path / "temporary"))
    (pytester.path / "temporary").mkdir()
    return AuditFolder(pytester)
