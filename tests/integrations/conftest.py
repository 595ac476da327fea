"""A folder with small weight files and an audit of them, and pytest run in it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from _pytest.pytester import SysModulesSnapshot
from audit_folder import AuditFolder


@pytest.fixture(autouse=True)
def modules_stay(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Have ``pytester`` forget the modules of its own folder alone.

    It forgets every module that a session in this process imported; imported anew by a later test, ours and torch's
    would be there twice, each with classes and registries of its own.
    """
    here = tmp_path_factory.getbasetemp()

    def stays(name: str) -> bool:
        file = getattr(sys.modules.get(name), "__file__", None)
        return file is None or not Path(file).is_relative_to(here)

    monkeypatch.setattr(
        pytest.Pytester, "_Pytester__take_sys_modules_snapshot", lambda _: SysModulesSnapshot(preserve=stays)
    )


@pytest.fixture
def folder(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> AuditFolder:
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)  # of our own suite, were it seen by the inner one
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    monkeypatch.setenv("TMPDIR", str(pytester.path / "temporary"))
    (pytester.path / "temporary").mkdir()
    return AuditFolder(pytester)
