"""Checkpoints for the tests of this room."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from sparsity_audit.checkpoints.checkpoint import Checkpoint, read_checkpoint
from sparsity_audit.checkpoints.safetensors_io import write_safetensors

Save = Callable[..., Checkpoint]


@pytest.fixture
def save(tmp_path: Path) -> Iterator[Save]:
    """Return a function that writes a state dict to a safetensors file and reads it back."""
    path = tmp_path / "model.safetensors"

    def _save(state: Mapping[str, torch.Tensor], metadata: dict[str, str] | None = None) -> Checkpoint:
        write_safetensors(path, dict(state), metadata or {})
        return read_checkpoint(path)

    yield _save
    # pytest keeps the folders of three runs, and torchvision's weights are 5 GB of them.
    with suppress(OSError):
        path.unlink()
