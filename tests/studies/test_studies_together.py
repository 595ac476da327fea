"""Two processes at one study, and what one of them does when the other is killed."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from study_workers import wait_for, write_torch

DRIVER = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[1:3]
from sparsity_audit.specs.study import expand, load_study
from sparsity_audit.studies.executor import LocalExecutor
from sparsity_audit.studies.running import StudyOptions, run_study
study = load_study(sys.argv[3])
result = run_study(expand(study), study.origin, Path(sys.argv[4]), LocalExecutor(2), StudyOptions(audit=False))
print(result.trained + result.before, result.total, len(result.failed))
"""
COUNT = 8


def write_study(folder: Path) -> Path:
    (folder / "study.toml").write_text(
        f"""
        title = "eight runs"
        base = "digits-adam-l2"
        seeds = {list(range(COUNT))}
        [[row]]
        id = "train"
        """
    )
    return folder / "study.toml"


@pytest.fixture
def driver(tmp_path: Path) -> list[str]:
    modules = [str(write_torch(tmp_path / "modules")), str(Path(__file__).parent)]
    return [sys.executable, "-c", DRIVER, *modules, str(write_study(tmp_path)), str(tmp_path / "runs")]


def trained(folder: Path) -> list[str]:
    """Return the process that began each run, in order."""
    log = folder / "runs" / "trained"
    return [line.split()[1] for line in log.read_text().splitlines()] if log.exists() else []


def test_two_processes_share_a_study_and_both_end_with_all_of_it(driver: list[str], tmp_path: Path) -> None:
    processes = [subprocess.Popen(driver, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    told = [process.communicate(timeout=60)[0].strip() for process in processes]
    assert told == [f"{COUNT} {COUNT} 0"] * 2
    began = trained(tmp_path)
    assert len(began) == COUNT  # nothing twice
    assert {str(process.pid) for process in processes} == set(began)  # and both had their part


def test_a_killed_process_leaves_its_runs_to_the_other(driver: list[str], tmp_path: Path) -> None:
    killed = subprocess.Popen(driver, stdout=subprocess.PIPE, text=True)
    wait_for(lambda: len(trained(tmp_path)) >= 2)
    other = subprocess.Popen(driver, stdout=subprocess.PIPE, text=True)
    wait_for(lambda: str(other.pid) in trained(tmp_path) or len(trained(tmp_path)) == COUNT)
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=30)
    assert other.communicate(timeout=60)[0].strip() == f"{COUNT} {COUNT} 0"
    assert len(list((tmp_path / "runs").glob("*/record.json"))) == COUNT
