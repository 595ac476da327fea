"""The shipped digits model, and its γ and β read straight from the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sparsity_audit.checkpoints.safetensors_io import read_safetensors
from sparsity_audit.resources import packaged

MODEL = Path(str(packaged("zoo"))) / "checkpoints" / "digits-adam-l2.safetensors"


def gammas() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return γ and β of the shipped model by layer key, in the layers' order."""
    tensors, _ = read_safetensors(MODEL)
    return {
        f"c{i}.conv": (tensors[f"c{i}.norm.weight"].numpy(), tensors[f"c{i}.norm.bias"].numpy()) for i in range(1, 8)
    }
