"""Every test of the command line runs in an empty folder of its own, so that no configuration is found by chance."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SPARSITY_AUDIT_DATA", raising=False)
