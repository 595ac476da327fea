"""Whether the memory of a pass grows with the corpus: peak anonymous memory of whole runs, small and large.

    python benchmarks/memory.py MODEL --data NAME [--images 5000 50000]

Every run is a process of its own with a memory budget of nearly nothing, so that universality comes from the sketch.
Printed is the peak of RssAnon (mapped files don't count) and its ratio to the first run's; then, of the largest run,
the time from start to report over the time that the model ran on images (the pass, the test error, and the two runs
that SA401 makes without the dead filters), with decoded images cached.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tabulate import tabulate

POLL_SECONDS = 0.02
PROGRAM = [sys.executable, "-m", "sparsity_audit", "run"]
TIMED = """
import json, sys, time
from sparsity_audit.cli.main import exit_code
from sparsity_audit.stats import ablation, passes
spent = {}
def timed(name, function):
    def run(*arguments):
        start = time.perf_counter()
        try:
            return function(*arguments)
        finally:
            spent[name] = time.perf_counter() - start
    return run
passes.CorpusPass.measure = timed("pass", passes.CorpusPass.measure)
ablation.ablate = timed("without dead filters", ablation.ablate)
exit_code(sys.argv[2:])
open(sys.argv[1], "w").write(json.dumps(spent))
"""


def rss_anon(pid: int) -> int:
    """Return a process's anonymous memory in KiB; 0 once it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("RssAnon:")), 0)


def peak(command: list[str]) -> tuple[int, float]:
    """Run a command; return its peak anonymous memory in KiB and its wall time in seconds."""
    start, highest = time.perf_counter(), 0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            highest = max(highest, rss_anon(process.pid))
            time.sleep(POLL_SECONDS)
    return highest, time.perf_counter() - start


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--data", required=True)
    parser.add_argument("--images", type=int, nargs="+", default=[5000, 50000])
    options = parser.parse_args()
    arguments = [options.model, "--data", options.data, "--memory-budget", "1e-9", "-q"]
    rows, first = [], 0
    for images in options.images:
        kib, seconds = peak([*PROGRAM, *arguments, "--limit", str(images)])
        first = first or kib
        rows.append([f"{images:,}", f"{kib / 1024:.0f}", f"{kib / first:.3f}", f"{seconds:.1f}"])
    print(tabulate(rows, ["images", "peak RssAnon MiB", "/ first", "seconds"], disable_numparse=True))
    with tempfile.TemporaryDirectory() as folder:
        spent = Path(folder) / "spent.json"
        limit = ["--limit", str(max(options.images))]
        _, seconds = peak([sys.executable, "-c", TIMED, str(spent), "run", *arguments, *limit])
        runs: dict[str, float] = json.loads(spent.read_text())
    alone = sum(runs.values())
    parts = ", ".join(f"{name} {time:.1f} s" for name, time in runs.items())
    print(f"\nfrom start to report {seconds:.1f} s; {parts}: {seconds / alone:.2f} of the runs together")


if __name__ == "__main__":
    main()
