"""Worker processes that start in a moment: what they do with a task stands here, and torch is not imported."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable
from pathlib import Path

from sparsity_audit.specs.load import load_spec
from sparsity_audit.studies.task import Doing, Outcome, RunTask

# A worker imports torch first: this one, which lies before the real one, brings an attempt() of the tests' own. The
# first word of a task's name says what it does.
TORCH = """
import os, signal, sys, time, types
from pathlib import Path
from sparsity_audit.studies.task import Doing, Outcome

THREADS = []
def set_num_threads(number):
    THREADS.append(number)

def train(task, folder):
    from study_sessions import record
    from sparsity_audit.errors import UsageError
    from sparsity_audit.studies.locate import is_busy
    from sparsity_audit.training.run_folder import RunFolder

    run = RunFolder(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with run.locked():
            if run.read_record() is None:
                with (folder.parent / "trained").open("a") as file:
                    print(task.name, os.getppid(), file=file)
                time.sleep(0.3)
                run.model.touch()
                run.write_record(record(task.spec))
    except UsageError as failure:
        return Outcome(status="elsewhere" if is_busy(folder) else "failed", message=str(failure))
    return Outcome(status="finished")

def attempt(task, tell):
    word, folder = task.name.partition("-")[0], Path(task.folder)
    if word == "train":
        return train(task, folder)
    with (folder / "attempts").open("a") as file:
        print(task.name, os.getpid(), os.environ["OMP_NUM_THREADS"], *THREADS, *sorted(os.sched_getaffinity(0)),
              file=file)
    print("a library that talks")
    if word == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if word == "exit":
        sys.exit("Bus error of a kind")
    if word == "fail":
        return Outcome(status="failed", message="no luck")
    if word == "meet":  # ends only if two such tasks go on at the same time
        (folder / task.name).touch()
        while len(list(folder.glob("meet-*"))) < 2:
            time.sleep(0.01)
    if word == "wait":
        try:
            (folder / f"{task.name}.begun").touch()
            tell(Doing(label="training", done=1, total=2, loss=0.5))
            time.sleep(60)
        except KeyboardInterrupt:
            (folder / f"{task.name}.stopped").touch()
            return Outcome(status="interrupted", message="interrupted")
    return Outcome(status="finished", notes=["seen"])

sys.modules["sparsity_audit.studies.attempt"] = module = types.ModuleType("attempt")
module.attempt = attempt
"""


def write_torch(folder: Path) -> Path:
    """Write the module that stands for torch, and return the folder to put on ``sys.path``."""
    folder.mkdir()
    (folder / "torch.py").write_text(textwrap.dedent(TORCH))
    return folder


def task(name: str, folder: Path) -> RunTask:
    return RunTask(name=name, origin="test", spec=load_spec("digits-adam-l2").spec, folder=str(folder))


def attempts(folder: Path) -> list[list[str]]:
    """Return name, process, OMP_NUM_THREADS, torch's threads and cores of each attempt, in order."""
    return [line.split() for line in (folder / "attempts").read_text().splitlines()]


def wait_for(what: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


class Heard:
    """Takes in what an executor says; a task is tried again as long as it has a second chance."""

    def __init__(self, second_chances: int = 0) -> None:
        self.second_chances = second_chances
        self.outcomes: list[tuple[str, Outcome]] = []
        self.doings: list[tuple[str, Doing]] = []

    def done(self, done: RunTask, outcome: Outcome) -> bool:
        self.outcomes.append((done.name, outcome))
        if outcome.status == "finished" or not self.second_chances:
            return False
        self.second_chances -= 1
        return True

    def doing(self, at: RunTask, doing: Doing) -> None:
        self.doings.append((at.name, doing))

    @property
    def ends(self) -> list[tuple[str, str]]:
        return [(name, outcome.status) for name, outcome in self.outcomes]
