"""Small weight files, and the command line called in this process or in one of its own."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sparsity_audit.checkpoints.safetensors_io import write_safetensors
from sparsity_audit.cli.main import exit_code

DIGITS_MODEL = Path(__file__).resolve().parents[2] / "zoo" / "checkpoints" / "digits-adam-l2.safetensors"
"""The shipped model: 65 of its 232 convolution filters are dead by scale."""


@dataclass(frozen=True)
class Ended:
    """How a call of the program ended."""

    code: int
    out: str
    err: str

    def refused(self, *parts: str) -> None:
        """Assert exit code 4 and one line on stderr that holds ``parts``."""
        assert self.code == 4, (self.code, self.out, self.err)
        lines = self.err.strip().splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("sparsity-audit: ")
        for part in parts:
            assert part in lines[0], (part, lines[0])


def call(capsys, *arguments: object) -> Ended:
    """Run one command line in this process."""
    capsys.readouterr()
    code = exit_code([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    return Ended(code, out, err)


def run_program(*arguments: object, cwd: Path | None = None, code: str | None = None) -> Ended:
    """Run the program, or Python code followed by arguments, in a process of its own."""
    start = ["-c", code] if code else ["-m", "sparsity_audit"]
    command = [sys.executable, *start, *(str(argument) for argument in arguments)]
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, encoding="utf-8", errors="replace", timeout=120, check=False
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def write_net(path: Path, **gammas: list[float]) -> Path:
    """Write convolutions ``a``, ``b``, … each followed by a batch norm with the given γ; β = −1."""
    tensors: dict[str, np.ndarray] = {}
    channels = 3
    for name, values in gammas.items():
        gamma = np.array(values, np.float32)
        tensors[f"{name}.conv.weight"] = np.ones((len(gamma), channels, 3, 3), np.float32)
        tensors[f"{name}.bn.weight"] = gamma
        tensors[f"{name}.bn.bias"] = np.full(len(gamma), -1, np.float32)
        tensors[f"{name}.bn.running_mean"] = np.zeros(len(gamma), np.float32)
        tensors[f"{name}.bn.running_var"] = np.ones(len(gamma), np.float32)
        channels = len(gamma)
    write_safetensors(path, tensors, {})
    return path


def write_healthy(path: Path) -> Path:
    """Write a network without dead filters."""
    return write_net(path, a=[1.0] * 10, b=[0.5] * 10)


def write_sick(path: Path, dead: int = 4) -> Path:
    """Write a network whose layer ``b`` has dead filters, four of ten unless told otherwise."""
    return write_net(path, a=[1.0] * 10, b=[1e-5] * dead + [1.0] * (10 - dead))


def write_linear(path: Path) -> Path:
    """Write a network without a convolution."""
    write_safetensors(path, {"fc.weight": np.ones((10, 4), np.float32), "fc.bias": np.ones(10, np.float32)}, {})
    return path
