"""Studies of a line or two, records as a training leaves them, and an executor that does as it is told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sparsity_audit.schema.record import ScaleCount, SplitResult, Status, TrainingRecord
from sparsity_audit.schema.spec import ZooSpec
from sparsity_audit.specs.study import StudyRun, expand, load_study
from sparsity_audit.studies.executor import OnDoing, OnDone, Stop
from sparsity_audit.studies.plan import PlannedRun
from sparsity_audit.studies.running import StudyListener
from sparsity_audit.studies.task import Doing, Outcome, RunTask

ROWS = """
[[row]]
id = "adam"
[[row]]
id = "sgd"
set = { "optimizer.name" = "sgd" }
"""


def study_runs(folder: Path, rows: str = ROWS, seeds: str = "[0, 1]") -> list[StudyRun]:
    """Return the runs of a study of 20 steps on the digits."""
    (folder / "base.toml").write_text(
        """
        network = { name = "basicnet", first = 8, width = 0.125, head = [32] }
        data = { name = "digits", flip = false }
        optimizer = { name = "adam" }
        regularizer = { kind = "l2", strength = 1e-3 }
        schedule = { unit = "iterations", total = 20 }
        batch_size = 40
        """
    )
    (folder / "study.toml").write_text(f'title = "a study"\nbase = "base.toml"\nseeds = {seeds}\n{rows}')
    return expand(load_study(str(folder / "study.toml")))


def record(spec: ZooSpec, status: Status = "finished", steps: int = 20, message: str | None = None) -> TrainingRecord:
    tested = SplitResult(images=397, loss=0.1, error=0.028)
    return TrainingRecord(
        name="some",
        spec=spec,
        digest=spec.digest(),
        seed=spec.seed,
        status=status,
        steps=steps,
        total_steps=20,
        steps_per_epoch=35,
        decay_budget=None,
        rate_sum=0.02,
        parameter_groups=[],
        test=tested if status == "finished" else None,
        scale=ScaleCount(filters=232, inactive=65, per_layer={}) if status == "finished" else None,
        message=message,
    )


def write_run(folder: Path, made: TrainingRecord, *, model: bool = True, audit: bool = True) -> Path:
    """Write a run folder with what other code looks at."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "record.json").write_text(made.to_json())
    if model and made.status == "finished":
        (folder / "model.safetensors").write_bytes(b"weights")
    if audit and made.status == "finished":
        (folder / "audit.json").write_text("{}")
    return folder


class Scripted:
    """Attempts every task in this thread; ``script`` lists how the attempts at a run end, ``finished`` if nothing."""

    def __init__(self, **script: list[str]) -> None:
        self.script = {name.replace("_", "-"): list(ends) for name, ends in script.items()}
        self.tasks: list[RunTask] = []

    @property
    def names(self) -> list[str]:
        """Row and seed of each attempt."""
        return [f"{task.name}-{task.spec.seed}" for task in self.tasks]

    def run(self, tasks: Sequence[RunTask], on_done: OnDone, on_doing: OnDoing, stop: Stop) -> None:
        waiting = list(tasks)
        while waiting and not stop():
            task = waiting.pop(0)
            self.tasks.append(task)
            ends = self.script.get(f"{task.name}-{task.spec.seed}", [])
            on_doing(task, Doing(label="training", done=1, total=20, loss=1.0, error=0.5))
            if on_done(task, self.attempt(task, ends.pop(0) if ends else "finished")):
                waiting.append(task)

    def attempt(self, task: RunTask, end: str) -> Outcome:
        if end == "finished":
            write_run(Path(task.folder), record(task.spec), audit=task.audit)
        return Outcome.model_validate({"status": end, "message": f"it {end}"})


class Told(StudyListener):
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def planned(self, total: int, there: int) -> None:
        self.lines.append(f"planned {total} {there}")

    def finished(self, run: PlannedRun, record: TrainingRecord) -> None:
        self.lines.append(f"finished {run.name} {record.status}")

    def audited(self, run: PlannedRun) -> None:
        self.lines.append(f"audited {run.name}")

    def failed(self, run: PlannedRun, message: str) -> None:
        self.lines.append(f"failed {run.name}: {message}")

    def again(self, run: PlannedRun, message: str) -> None:
        self.lines.append(f"again {run.name}: {message}")

    def waiting(self, runs: Sequence[PlannedRun]) -> None:
        self.lines.append(f"waiting {', '.join(run.name for run in runs)}")

    def note(self, text: str) -> None:
        self.lines.append(f"note {text}")
