"""Time what pytest's plugin costs a session that has no audit: paired runs of a whole process, in turns.

    python benchmarks/pytest_plugin.py [RUNS]

Prints the median of an empty test session with and without ``-p no:sparsity_audit``, and of their differences.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUNS = 20


def seconds(folder: str, *options: str) -> float:
    """Return the wall time of one session of one test that does nothing."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
    start = time.perf_counter()
    subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def main() -> None:
    """Print the medians."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else RUNS
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "test_nothing.py").write_text("def test_nothing():\n    pass\n")
        seconds(folder)
        pairs = []
        for i in range(runs):
            # In turns, so that neither is always the one that finds the caches warm.
            options: list[list[str]] = [[], ["-p", "no:sparsity_audit"]]
            times = [seconds(folder, *each) for each in (options if i % 2 else options[::-1])]
            pairs.append(times if i % 2 else times[::-1])
    with_it, without = (statistics.median(times) for times in zip(*pairs, strict=True))
    more = statistics.median(one - other for one, other in pairs)
    print(f"with the plugin {with_it:.3f} s, without {without:.3f} s, ratio {with_it / without:.3f}")
    print(f"median difference of {runs} pairs: {1000 * more:.1f} ms")


if __name__ == "__main__":
    main()
