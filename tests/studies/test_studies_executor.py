"""LocalExecutor: which processes do what, and what is left of them when one dies, or the one that started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from study_workers import Heard, attempts, task, wait_for, write_torch

from sparsity_audit.studies.executor import LocalExecutor, places


@pytest.fixture(autouse=True)
def _quick_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(write_torch(tmp_path / "modules"))


def never() -> bool:
    return False


def gone(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    stat = Path(f"/proc/{process}/stat").read_text() if Path("/proc/self").exists() else ""
    return ") Z " in stat


def test_one_process_does_one_task_after_the_other(tmp_path: Path) -> None:
    heard = Heard()
    names = ["one", "two", "three"]
    LocalExecutor(jobs=1, threads=2).run([task(name, tmp_path) for name in names], heard.done, heard.doing, never)
    assert heard.ends == [(name, "finished") for name in names]
    assert [outcome.notes for _, outcome in heard.outcomes] == [["seen"]] * 3
    lines = attempts(tmp_path)
    assert [line[0] for line in lines] == names
    assert len({line[1] for line in lines}) == 1
    assert all(line[2:4] == ["2", "2"] for line in lines)  # OMP_NUM_THREADS, and torch's own number
    assert gone(int(lines[0][1]))


def test_two_jobs_go_on_at_the_same_time(tmp_path: Path) -> None:
    heard = Heard()
    LocalExecutor(jobs=2).run([task(name, tmp_path) for name in ("meet-a", "meet-b")], heard.done, heard.doing, never)
    assert sorted(heard.ends) == [("meet-a", "finished"), ("meet-b", "finished")]


def test_no_more_processes_than_tasks(tmp_path: Path) -> None:
    heard = Heard()
    LocalExecutor(jobs=64).run([task("one", tmp_path)], heard.done, heard.doing, never)
    assert len(attempts(tmp_path)) == 1
    LocalExecutor(jobs=64).run([], heard.done, heard.doing, never)
    assert len(heard.outcomes) == 1


def test_a_killed_process_costs_its_own_run_an_attempt_and_no_other(tmp_path: Path) -> None:
    heard = Heard(second_chances=1)
    tasks = [task(name, tmp_path) for name in ("one", "die", "two", "three")]
    LocalExecutor(jobs=1).run(tasks, heard.done, heard.doing, never)
    assert heard.ends == [
        ("one", "finished"),
        ("die", "failed"),
        ("two", "finished"),
        ("three", "finished"),
        ("die", "failed"),  # the second attempt comes last
    ]
    assert heard.outcomes[1][1].message == "its process was killed by SIGKILL"
    processes = {line[0]: line[1] for line in attempts(tmp_path)}
    assert processes["two"] == processes["three"] != processes["one"]


def test_a_process_that_ends_by_itself_says_its_last_line(tmp_path: Path) -> None:
    heard = Heard()
    LocalExecutor(jobs=1).run([task("exit", tmp_path), task("one", tmp_path)], heard.done, heard.doing, never)
    assert heard.ends == [("exit", "failed"), ("one", "finished")]
    assert heard.outcomes[0][1].message == "its process ended with exit code 1: Bus error of a kind"


def test_a_process_in_which_a_run_failed_is_not_used_again(tmp_path: Path) -> None:
    heard = Heard()
    tasks = [task(name, tmp_path) for name in ("fail", "one", "two")]
    LocalExecutor(jobs=1).run(tasks, heard.done, heard.doing, never)
    assert heard.ends == [("fail", "failed"), ("one", "finished"), ("two", "finished")]
    failed, one, two = (line[1] for line in attempts(tmp_path))
    assert failed != one == two


def test_asked_to_stop_it_begins_nothing_and_lets_what_goes_on_end_well(tmp_path: Path) -> None:
    heard = Heard(second_chances=5)
    tasks = [task(name, tmp_path) for name in ("wait-a", "wait-b", "one")]
    LocalExecutor(jobs=2).run(tasks, heard.done, heard.doing, lambda: len(heard.doings) == 2)
    assert sorted(heard.ends) == [("wait-a", "interrupted"), ("wait-b", "interrupted")]
    assert {path.name for path in tmp_path.glob("*.stopped")} == {"wait-a.stopped", "wait-b.stopped"}
    assert {(name, doing.loss) for name, doing in heard.doings} == {("wait-a", 0.5), ("wait-b", 0.5)}
    assert all(gone(int(line[1])) for line in attempts(tmp_path))


def test_an_exception_leaves_no_process(tmp_path: Path) -> None:
    def impatient(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        LocalExecutor(jobs=1).run([task("wait-a", tmp_path)], Heard().done, impatient, never)
    assert gone(int(attempts(tmp_path)[0][1]))


DRIVER = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[1:3]
from study_workers import Heard, task
from sparsity_audit.studies.executor import LocalExecutor
from sparsity_audit.training.interrupt import stop_requested
heard, folder = Heard(), Path(sys.argv[3])
with stop_requested() as stop:
    tasks = [task("wait-a", folder), task("wait-b", folder)]
    LocalExecutor(jobs=2).run(tasks, heard.done, heard.doing, stop)
print(*sorted(status for _, status in heard.ends))
"""


@pytest.mark.parametrize("how", ["kill -9", "SIGINT to it alone", "SIGINT to its group", "SIGTERM"])
def test_workers_stop_well_whatever_stops_their_parent(how: str, tmp_path: Path) -> None:
    modules = [str(tmp_path / "modules"), str(Path(__file__).parent)]
    parent = subprocess.Popen(
        [sys.executable, "-c", DRIVER, *modules, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_for(lambda: len(list(tmp_path.glob("*.begun"))) == 2)
    if how == "SIGINT to its group":  # a terminal's Ctrl-C
        os.killpg(parent.pid, signal.SIGINT)
    else:
        numbers = {"kill -9": signal.SIGKILL, "SIGTERM": signal.SIGTERM}
        parent.send_signal(numbers.get(how, signal.SIGINT))
    told, _ = parent.communicate(timeout=30)
    wait_for(lambda: all(gone(int(line[1])) for line in attempts(tmp_path)))
    assert {path.name for path in tmp_path.glob("*.stopped")} == {"wait-a.stopped", "wait-b.stopped"}
    assert told.strip() == ("" if how == "kill -9" else "interrupted interrupted")


def test_jobs_that_fill_the_machine_have_cores_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 3, 5, 7}, raising=False)
    assert places(2, 2) == [[1, 3], [5, 7]]
    assert places(4, 1) == [[1], [3], [5], [7]]
    assert places(3, 1) == [[], [], []]  # a core is free: the system chooses
    assert places(5, 1) == [[1], [3], [5], [7], [1]]
    assert places(1, 9) == [[1, 3, 5, 7]]
    monkeypatch.delattr(os, "sched_getaffinity")
    assert places(2, 1) == [[], []]


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="no affinity on this system")
def test_a_worker_stays_on_its_cores(tmp_path: Path) -> None:
    cores = sorted(os.sched_getaffinity(0))
    heard = Heard()
    executor = LocalExecutor(jobs=len(cores), threads=1)
    executor.run([task("one", tmp_path)], heard.done, heard.doing, never)
    assert attempts(tmp_path)[0][4:] == [str(cores[0])]


def test_threads_of_ours_end(tmp_path: Path) -> None:
    before = threading.active_count()
    LocalExecutor(jobs=2).run([task("one", tmp_path), task("two", tmp_path)], Heard().done, Heard().doing, never)
    wait_for(lambda: threading.active_count() == before)
