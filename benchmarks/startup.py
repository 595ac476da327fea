"""Time what must be quick: ``--help``, and ``run`` on a weight file alone; medians of five warm runs.

    python benchmarks/startup.py

Prints seconds, and the ratio to ``python -c pass`` and to ``import torch`` measured in the same run.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from tabulate import tabulate

from sparsity_audit.checkpoints.safetensors_io import write_safetensors

RUNS = 5
MEGABYTES = 100


def write_model(path: Path) -> None:
    """Write a network of about 100 MB: convolutions with batch norms, a tenth of the filters dead."""
    generator = np.random.default_rng(0)
    tensors: dict[str, np.ndarray] = {}
    width = 512
    layers = MEGABYTES * 1_000_000 // (width * width * 9 * 4) + 1
    for i in range(layers):
        gamma = generator.uniform(0.5, 1.5, width).astype(np.float32)
        gamma[: width // 10] = 1e-5
        tensors[f"block{i}.conv.weight"] = generator.standard_normal((width, width, 3, 3), np.float32)
        tensors[f"block{i}.bn.weight"] = gamma
        for name in ("bias", "running_mean", "running_var"):
            tensors[f"block{i}.bn.{name}"] = np.ones(width, np.float32)
    write_safetensors(path, tensors, {})


def seconds(command: list[str]) -> float:
    """Return the median wall time of a command over ``RUNS`` runs, after one to warm up."""
    times = []
    for _ in range(RUNS + 1):
        start = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model.safetensors"
        write_model(model)
        program = [sys.executable, "-m", "sparsity_audit"]
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "import torch": [sys.executable, "-c", "import torch"],
            "--help": [*program, "--help"],
            f"run, {model.stat().st_size / 1e6:.0f} MB, weights only": [*program, "run", str(model)],
        }
        measured = {name: seconds(command) for name, command in commands.items()}
    bare, torch = measured["python -c pass"], measured["import torch"]
    rows = [[name, f"{time:.3f}", f"{time / bare:.1f}", f"{time / torch:.2f}"] for name, time in measured.items()]
    print(tabulate(rows, ["command", "seconds", "/ bare python", "/ import torch"], disable_numparse=True))


if __name__ == "__main__":
    main()
