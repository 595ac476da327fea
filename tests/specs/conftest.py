"""A small spec as text and as a file, and a ``zoo/`` of the test's own in place of the shipped one."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparsity_audit.specs import sources

SPEC = """
schema = 1
network = { name = "basicnet", first = 8, width = 0.125, head = [32] }
data = { name = "digits", test_size = 397, flip = false }
optimizer = { name = "adam", lr = 5e-4, betas = [0.8, 0.9] }
regularizer = { kind = "l2", strength = 1e-3, on = "weights" }
schedule = { unit = "iterations", total = 100, milestones = [60] }
batch_size = 40
seed = 7
"""


@pytest.fixture
def own(tmp_path, monkeypatch) -> Path:
    """Return a spec file in the current folder."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "own.toml"
    path.write_text(SPEC)
    return path


@pytest.fixture
def zoo(tmp_path, monkeypatch) -> Path:
    """Return a folder that stands for the shipped zoo, with the spec ``small`` and no study."""
    folder = tmp_path / "zoo"
    (folder / "studies").mkdir(parents=True)
    (folder / "small.toml").write_text(SPEC)
    monkeypatch.setattr(sources, "packaged", lambda _: folder)
    return folder
