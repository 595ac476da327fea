"""How much faster a study of eight small runs is with two jobs than with one, in whole processes.

    python benchmarks/study_jobs.py [--steps 1500] [--rounds 3]

Each call is ``sparsity-audit study run`` with one thread a run, from nothing: start-up, graph capture, training and
audits counted in. Rounds alternate between one job and two, so that whatever else the machine does meets both; it
needs two cores that are free.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

STUDY = """
title = "eight small runs"
base = "digits-adam-l2"
seeds = [0, 1, 2, 3]
[[row]]
id = "l2"
set = {{ observe = {{}}, schedule = {{ unit = "iterations", total = {steps} }} }}
[[row]]
id = "wd"
set = {{ observe = {{}}, schedule = {{ unit = "iterations", total = {steps} }}, "regularizer.kind" = "wd" }}
"""


def seconds(study: Path, jobs: int) -> float:
    """Return how long a study takes from nothing."""
    with tempfile.TemporaryDirectory() as runs:
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "sparsity_audit", "study", "run", str(study), "-o", runs, "-q", "--jobs", str(jobs)],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        return time.perf_counter() - start


def main() -> None:
    """Print the times of each round, and the ratio of their medians."""
    parser = argparse.ArgumentParser(description="Two jobs against one.")
    parser.add_argument("--steps", type=int, default=1500, help="steps of each run")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, 8 runs of {options.steps} steps")
    times: dict[int, list[float]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as folder:
        study = Path(folder) / "study.toml"
        study.write_text(STUDY.format(steps=options.steps))
        for _ in range(options.rounds):
            for jobs, taken in times.items():
                taken.append(seconds(study, jobs))
            print(f"1 job {times[1][-1]:.1f} s, 2 jobs {times[2][-1]:.1f} s, {times[1][-1] / times[2][-1]:.2f} x")
    print(f"median: {statistics.median(times[1]) / statistics.median(times[2]):.2f} x faster with 2 jobs")


if __name__ == "__main__":
    main()
