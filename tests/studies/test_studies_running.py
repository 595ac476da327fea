"""run_study: what is trained, what is not, what is tried again, and what becomes of the rest."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import pytest
from study_sessions import Scripted, Told, record, study_runs, write_run

from sparsity_audit.errors import UsageError
from sparsity_audit.studies.locate import find_runs
from sparsity_audit.studies.plan import chosen, planned, states
from sparsity_audit.studies.running import StudyOptions, run_study
from sparsity_audit.studies.task import Outcome, RunTask
from sparsity_audit.training.run_folder import RunFolder


def test_everything_is_trained_once_and_then_nothing(tmp_path: Path) -> None:
    runs, executor, told = study_runs(tmp_path), Scripted(), Told()
    result = run_study(runs, "the study", tmp_path / "runs", executor, listener=told)
    assert executor.names == ["adam-0", "sgd-0", "adam-1", "sgd-1"]  # a study cut short has every row
    assert (result.total, result.before, result.trained, result.complete) == (4, 0, 4, True)
    digest = runs[0].spec.digest()
    assert executor.tasks[0].folder == str(tmp_path / "runs" / f"adam-seed0-{digest[:8]}")
    assert executor.tasks[0].spec == runs[0].spec
    assert executor.tasks[0].origin == "the study: row adam"
    assert told.lines[:2] == ["planned 4 0", "finished adam seed 0 finished"]
    again = Scripted()
    result = run_study(runs, "the study", tmp_path / "runs", again)
    assert not again.tasks
    assert (result.before, result.trained, result.complete) == (4, 0, True)


def test_runs_are_known_by_their_digest_wherever_they_lie(tmp_path: Path) -> None:
    runs, executor, root = study_runs(tmp_path), Scripted(), tmp_path / "runs"
    write_run(root / "by another name", record(runs[0].spec))
    stopped = write_run(root / "stopped", record(runs[1].spec, "interrupted", 7))
    result = run_study(runs, "", root, executor)
    assert executor.names == ["sgd-0", "adam-1", "sgd-1"]
    assert executor.tasks[0].folder == str(stopped)  # it goes on where it is
    assert (result.before, result.trained) == (1, 3)


def test_rows_that_say_the_same_train_once(tmp_path: Path) -> None:
    rows = """
    [[row]]
    id = "adam"
    [[row]]
    id = "same"
    set = { "optimizer.lr" = 1e-3, "observe.history_every" = 5 }
    """
    executor = Scripted()
    runs = study_runs(tmp_path, rows)
    result = run_study(runs, "", tmp_path / "runs", executor)
    assert executor.names == ["adam-0", "adam-1"]
    assert result.total == 2
    found = states(runs, find_runs(tmp_path / "runs"))
    assert [(state.row_id, state.state) for state in found] == [
        ("adam", "done"),
        ("same", "done"),
        ("adam", "done"),
        ("same", "done"),
    ]


def test_a_failure_is_tried_once_more_last_and_then_reported(tmp_path: Path) -> None:
    executor, told = Scripted(adam_0=["failed"], adam_1=["failed", "failed", "finished"]), Told()
    result = run_study(study_runs(tmp_path), "", tmp_path / "runs", executor, listener=told)
    assert executor.names == ["adam-0", "sgd-0", "adam-1", "sgd-1", "adam-0", "adam-1"]
    assert result.failed == {"adam seed 1": "it failed"}
    assert (result.trained, result.complete, result.interrupted) == (3, False, False)
    assert [line for line in told.lines if "adam seed 1" in line] == [
        "again adam seed 1: it failed",
        "failed adam seed 1: it failed",
    ]


def test_a_run_that_diverged_is_not_tried_again_now_or_later(tmp_path: Path) -> None:
    runs, root = study_runs(tmp_path), tmp_path / "runs"
    executor = Scripted(sgd_0=["diverged", "finished"])
    result = run_study(runs, "", root, executor)
    assert executor.names.count("sgd-0") == 1
    assert result.failed == {"sgd seed 0": "it diverged"}
    write_run(root / "x", record(runs[1].spec, "diverged", 3, "the loss is nan at step 3"))
    again = Scripted()
    result = run_study(runs, "", root, again)
    assert not again.tasks
    assert result.failed == {"sgd seed 0": f"{root / 'x'}: diverged: the loss is nan at step 3; change the row"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_study_between_runs(number: signal.Signals, tmp_path: Path) -> None:
    class Stopped(Scripted):
        def attempt(self, task: RunTask, end: str) -> Outcome:
            if len(self.tasks) == 2:
                signal.raise_signal(number)
                return Outcome(status="interrupted", message="interrupted")
            return super().attempt(task, end)

    executor = Stopped()
    result = run_study(study_runs(tmp_path), "", tmp_path / "runs", executor)
    assert executor.names == ["adam-0", "sgd-0"]
    assert (result.trained, result.failed, result.interrupted) == (1, {}, True)


def test_somebody_elses_runs_are_left_to_them_and_waited_for(tmp_path: Path) -> None:
    """Another process trains adam-0 to its end, and dies while it trains adam-1, which is taken over."""
    runs, root, told = study_runs(tmp_path), tmp_path / "runs", Told()
    tasks = {f"{run.run.row_id}-{run.run.seed}": run for run in planned(runs)}
    theirs = {name: tasks[name].folder(root, None) for name in ("adam-0", "adam-1")}
    locks = {name: RunFolder(folder).locked() for name, folder in theirs.items()}
    for name, lock in locks.items():
        theirs[name].mkdir(parents=True)
        lock.__enter__()

    def end_of_the_other() -> None:
        write_run(theirs["adam-0"], record(tasks["adam-0"].run.spec))
        for lock in locks.values():
            lock.__exit__(None, None, None)

    class Beside(Scripted):
        def attempt(self, task: RunTask, end: str) -> Outcome:
            if task.name == "sgd" and task.spec.seed == 1:
                threading.Timer(0.5, end_of_the_other).start()
            return super().attempt(task, end)

    executor = Beside(adam_0=["elsewhere"], adam_1=["elsewhere"])
    result = run_study(runs, "", root, executor, listener=told)
    assert executor.names == ["adam-0", "sgd-0", "adam-1", "sgd-1", "adam-1"]
    assert (result.trained, result.failed, result.complete) == (4, {}, True)
    assert told.lines[-3:] == [
        "waiting adam seed 0, adam seed 1",
        "finished adam seed 0 finished",
        "finished adam seed 1 finished",
    ]


def test_a_finished_run_without_an_audit_gets_one(tmp_path: Path) -> None:
    runs, root, told = study_runs(tmp_path, seeds="[0]"), tmp_path / "runs", Told()
    write_run(root / "a", record(runs[0].spec), audit=False)
    write_run(root / "b", record(runs[1].spec), model=False, audit=False)  # its weights were left out: too late
    executor = Scripted()
    result = run_study(runs, "", root, executor, listener=told)
    assert executor.names == ["adam-0"]
    assert executor.tasks[0].audit
    assert told.lines == ["planned 2 2", "audited adam seed 0"]
    assert (result.before, result.trained, result.complete) == (2, 0, True)


def test_without_audits_such_a_run_is_left_alone(tmp_path: Path) -> None:
    runs, root, executor = study_runs(tmp_path, seeds="[0]"), tmp_path / "runs", Scripted()
    write_run(root / "a", record(runs[0].spec), audit=False)
    run_study(runs, "", root, executor, StudyOptions(audit=False))
    assert executor.names == ["sgd-0"]
    assert not executor.tasks[0].audit


def test_a_run_that_is_trained_and_whose_audit_fails_is_there(tmp_path: Path) -> None:
    class NoAudit(Scripted):
        """Dies over the audit, as for want of memory."""

        def attempt(self, task: RunTask, _: str) -> Outcome:
            write_run(Path(task.folder), record(task.spec), audit=False)
            return Outcome(status="failed", message="its process was killed by SIGKILL")

    executor, told = NoAudit(), Told()
    result = run_study(study_runs(tmp_path, seeds="[0]"), "", tmp_path / "runs", executor, listener=told)
    assert executor.names == ["adam-0", "sgd-0"]
    assert (result.trained, result.failed) == (2, {})
    assert "note adam seed 0: not audited: its process was killed by SIGKILL" in told.lines


def test_options_reach_the_tasks(tmp_path: Path) -> None:
    executor = Scripted()
    options = StudyOptions(device="cuda:1", data_root=Path("data"))
    run_study(study_runs(tmp_path, seeds="[0]"), "", tmp_path / "runs", executor, options)
    assert {(task.device, task.data_root, task.audit) for task in executor.tasks} == {("cuda:1", "data", True)}


def test_a_damaged_record_is_told_and_is_no_run(tmp_path: Path) -> None:
    runs, root, told, executor = study_runs(tmp_path, seeds="[0]"), tmp_path / "runs", Told(), Scripted()
    write_run(root / "good", record(runs[0].spec))
    (root / "bad").mkdir()
    (root / "bad" / "record.json").write_text('{"schema": 1, "name":')
    run_study(runs, "", root, executor, listener=told)
    assert executor.names == ["sgd-0"]
    (note,) = [line for line in told.lines if line.startswith("note")]
    assert note.startswith(f"note {root / 'bad' / 'record.json'}: not a record of a run (")


def test_of_runs_with_one_digest_the_furthest_counts(tmp_path: Path) -> None:
    spec = study_runs(tmp_path)[0].spec
    write_run(tmp_path / "a", record(spec, "running", 3))
    write_run(tmp_path / "b", record(spec, "interrupted", 5))
    assert find_runs(tmp_path)[spec.digest()].path.name == "b"
    write_run(tmp_path / "c", record(spec), model=False)
    assert find_runs(tmp_path)[spec.digest()].path.name == "c"
    write_run(tmp_path / "d", record(spec))
    write_run(tmp_path / "e", record(spec))
    assert find_runs(tmp_path)[spec.digest()].path.name == "d"
    assert find_runs(tmp_path / "nowhere") == {}


def test_states_of_runs(tmp_path: Path) -> None:
    runs = study_runs(tmp_path)
    write_run(tmp_path / "a", record(runs[0].spec))
    write_run(tmp_path / "b", record(runs[1].spec, "running", 3))
    write_run(tmp_path / "c", record(runs[2].spec, "diverged", 3, "no"))
    found = states(runs, find_runs(tmp_path))
    assert [(state.row_id, state.seed, state.state) for state in found] == [
        ("adam", 0, "done"),
        ("sgd", 0, "stopped"),
        ("adam", 1, "diverged"),
        ("sgd", 1, "not run"),
    ]


def test_only_some_rows(tmp_path: Path) -> None:
    runs = study_runs(tmp_path)
    assert [(run.row_id, run.seed) for run in chosen(runs, ["sgd"])] == [("sgd", 0), ("sgd", 1)]
    assert chosen(runs, []) == runs
    with pytest.raises(UsageError, match=r"no row 'sdg' in this study \(did you mean 'sgd'\?\)"):
        chosen(runs, ["sgd", "sdg"])


def test_long_row_ids_make_folders_all_the_same(tmp_path: Path) -> None:
    name = "a" * 300
    runs, executor = study_runs(tmp_path, f'[[row]]\nid = "{name}"\n', "[0]"), Scripted()
    assert run_study(runs, "", tmp_path / "runs", executor).complete


def test_a_file_cannot_hold_runs(tmp_path: Path) -> None:
    (tmp_path / "runs").touch()
    with pytest.raises(UsageError, match=r"runs: cannot hold runs \(File exists\); name another folder"):
        run_study(study_runs(tmp_path), "", tmp_path / "runs", Scripted())
