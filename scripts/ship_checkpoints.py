"""Train the models that the zoo ships, and put them with their records into zoo/checkpoints/.

    python scripts/ship_checkpoints.py [RUNS_DIR] [--data-root DIR] [--only ID ...]

Runs that RUNS_DIR (runs/ by default) has are not trained again, and those that were stopped go on. One thread: on a
machine of the same kind the files come out bit for bit as they are.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import torch

from sparsity_audit.specs.load import load_spec
from sparsity_audit.training.train import TrainOptions, train

SHIPPED = (
    "digits-adam-l2",
    "digits-adam-wd",
    "digits-sgd-l2",
    "cifar-quarter-10-adam-l2",
    "cifar-quarter-10-adam-wd",
    "cifar-quarter-100-adam-l2",
    "cifar-quarter-100-adam-wd",
)
CHECKPOINTS = Path(__file__).resolve().parent.parent / "zoo" / "checkpoints"


def main() -> None:
    """Train what is missing and copy model and record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="?", type=Path, default=Path("runs"))
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--only", nargs="+", choices=SHIPPED, default=SHIPPED)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name in arguments.only:
        folder = arguments.runs / f"{name}-seed0"
        record = train(load_spec(name), folder, TrainOptions(resume=True, data_root=arguments.data_root))
        if record.status != "finished" or record.test is None or record.scale is None:
            raise SystemExit(f"{name}: {record.status} after {record.steps} steps")
        shutil.copyfile(folder / "model.safetensors", CHECKPOINTS / f"{name}.safetensors")
        shutil.copyfile(folder / "record.json", CHECKPOINTS / f"{name}.json")
        print(f"{name}: error {record.test.error:.2%}, {record.scale.inactive} of {record.scale.filters} inactive")


if __name__ == "__main__":
    main()
