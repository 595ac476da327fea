"""γ and β over time, filter by filter: what Figure 2 of the paper draws (``history.safetensors``)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sparsity_audit.checkpoints.safetensors_io import read_safetensors, write_safetensors
from sparsity_audit.errors import CheckpointError

STEP = "step"


class History:
    """Values of named series at rising steps.

    In the file: ``step`` int64 [T], and each series stacked, such as ``gamma/<layer key>`` and ``beta/<layer key>``
    float32 [T, filters].
    """

    def __init__(self) -> None:
        self.steps: list[int] = []
        self._series: dict[str, list[NDArray[np.generic]]] = {}

    def __len__(self) -> int:
        return len(self.steps)

    def add(self, step: int, values: Mapping[str, NDArray[np.generic]]) -> None:
        """Append one point of every series.

        Raises:
            ValueError: a step that does not rise, or other series than before.
        """
        if self.steps and step <= self.steps[-1]:
            raise ValueError(f"step {step} does not come after step {self.steps[-1]}")
        if self.steps and values.keys() != self._series.keys():
            raise ValueError(f"series {sorted(values)} are not those of before: {sorted(self._series)}")
        self.steps.append(step)
        for name, value in values.items():
            self._series.setdefault(name, []).append(np.array(value))

    def series(self, name: str) -> NDArray[np.generic]:
        """Return one series, [T, …]; KeyError where there is none of that name."""
        return np.stack(self._series[name])

    @property
    def names(self) -> list[str]:
        """Names of the series."""
        return list(self._series)

    def truncate(self, step: int) -> None:
        """Forget what comes after a step: a resumed run will come by there again."""
        kept = sum(known <= step for known in self.steps)
        del self.steps[kept:]
        for points in self._series.values():
            del points[kept:]
        if not kept:
            self._series = {}

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all.

        Raises:
            CheckpointError: it cannot be written.
        """
        stacked = {name: self.series(name) for name in self._series}
        write_safetensors(path, {STEP: np.array(self.steps, np.int64), **stacked})

    @classmethod
    def load(cls, path: Path) -> History:
        """Read a file back.

        Raises:
            CheckpointError: it cannot be read, or is no history.
        """
        tensors, _ = read_safetensors(path)
        arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
        steps = arrays.pop(STEP, None)
        rising = steps is not None and steps.ndim == 1 and steps.dtype == np.int64 and bool((np.diff(steps) > 0).all())
        if steps is None or not rising or any(series.shape[:1] != steps.shape for series in arrays.values()):
            raise CheckpointError(f"{path}: not a history: it needs 'step' [T] that rises and series as long as that")
        history = cls()
        history.steps = [int(step) for step in steps]
        history._series = {name: list(np.array(series)) for name, series in sorted(arrays.items()) if len(steps)}
        return history
