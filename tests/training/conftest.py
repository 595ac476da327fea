"""The run that the tests of interruptions compare theirs with."""

from __future__ import annotations

from pathlib import Path

import pytest
from training_runs import spec

from sparsity_audit.schema.record import TrainingRecord
from sparsity_audit.training.train import train


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainingRecord]:
    """Return a run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    return folder, train(spec(), folder)
