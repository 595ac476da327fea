"""Fixtures that every room's tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

if "PYTEST_XDIST_WORKER" in os.environ:  # workers share the cores: torch's threads would spin against one another
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the folder with the real data sets (``data/``) and public checkpoints (``models/``)."""
    beside = Path(__file__).resolve().parents[2] / "shared"
    folder = Path(os.environ.get("SPARSITY_AUDIT_SHARED", beside))
    if not (folder / "models").is_dir():
        pytest.skip(f"no real data and checkpoints at {folder} (set SPARSITY_AUDIT_SHARED)")
    return folder
