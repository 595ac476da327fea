"""Every test of the command line runs in an empty folder of its own, so that no configuration is found by chance."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SPARSITY_AUDIT_DATA", raising=False)


@pytest.fixture(autouse=True)
def _threads_as_before():
    """Give torch its threads back: ``--threads`` is for the whole process, and bits of later tests depend on it."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
