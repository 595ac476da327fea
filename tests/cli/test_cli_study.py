"""``study``: what it prints, what it leaves, how it ends, and that a killed one ends as if nothing had happened."""

from __future__ import annotations

import io
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cli_helpers import call, run_program

from sparsity_audit.checkpoints.safetensors_io import read_safetensors
from sparsity_audit.cli.study_printer import StudyPrinter
from sparsity_audit.schema.report import AuditReport
from sparsity_audit.specs.study import expand, load_study
from sparsity_audit.studies.locate import find_runs, is_busy
from sparsity_audit.studies.plan import planned
from sparsity_audit.studies.task import Doing

STUDY = """
title = "two rows and one of them twice"
base = "digits-adam-l2"

[axes]
"regularizer.kind" = ["l2", "wd"]

[[row]]
id = "l2-again"
set = {{ "observe.snapshots" = [5] }}
"""


def write_study(steps: int, name: str = "mine.toml") -> Path:
    base = Path("base.toml")
    base.write_text(
        f"""
        network = {{ name = "basicnet", first = 8, width = 0.125, head = [32] }}
        data = {{ name = "digits", flip = false }}
        optimizer = {{ name = "adam" }}
        regularizer = {{ kind = "l2", strength = 1e-3 }}
        schedule = {{ unit = "iterations", total = {steps} }}
        batch_size = 40
        observe = {{ history_every = 50, snapshots = [100] }}
        """
    )
    path = Path(name)
    path.write_text(STUDY.format().replace("digits-adam-l2", "base.toml"))
    return path


def weights(root: Path) -> dict[str, np.ndarray]:
    """Return all tensors of all runs by digest, file and name."""
    return {
        f"{digest}:{path.relative_to(run.path)}:{name}": tensor.numpy()
        for digest, run in find_runs(root).items()
        for path in sorted(run.path.rglob("*.safetensors"))
        for name, tensor in read_safetensors(path)[0].items()
    }


def assert_same(left: Path, right: Path) -> None:
    one, other = weights(left), weights(right)
    assert one.keys() == other.keys()
    assert one
    assert all(np.array_equal(one[name], other[name]) for name in one)


def wait_for(what: Callable[[], bool], seconds: float = 300.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "sparsity_audit", "study", "run", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_a_study_from_nothing_to_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    """Stopped by Ctrl-C, gone on with, audited, and then complete."""
    write_study(200)
    process = start("mine.toml")
    wait_for(lambda: any(run.record.steps == 0 for run in find_runs(Path("runs")).values()))
    process.send_signal(signal.SIGINT)  # to it alone; a terminal's goes to its group, where its workers are not
    out, err = process.communicate(timeout=300)
    assert process.returncode == 2, (out, err)
    assert err == "sparsity-audit: interrupted; the same command goes on where it was\n"
    assert not any(is_busy(run.path) for run in find_runs(Path("runs")).values())
    told = call(capsys, "study", "status", "mine.toml")
    assert re.search(r"mine-l2 +0 +(\d+/200 steps|not run)", told.out)
    assert told.out.endswith("\n0 of 3 done\n")

    told = call(capsys, "study", "run", "mine.toml", "--jobs", "2")
    assert (told.code, told.err) == (0, "")
    lines = told.out.splitlines()
    assert lines[0] == "2 runs, 0 trained before"
    line = r"done {}/2 mine-(l2|wd) seed 0: error \d+\.\d %, inactive \d+\.\d %, \d+ s{}"
    assert re.fullmatch(line.format(1, r"; \d+ s left"), lines[1])
    assert re.fullmatch(line.format(2, ""), lines[2])
    assert lines[3:] == ["2 of 2 runs there (2 trained now)"]

    run = next(run for run in find_runs(Path("runs")).values() if run.record.spec.regularizer.kind == "l2")
    assert run.path.name == f"mine-l2-seed0-{run.record.digest[:8]}"
    report = AuditReport.model_validate_json(run.audit.read_text())
    (model,) = report.models
    assert model.corpus is not None
    assert (model.corpus.name, model.corpus.split, model.corpus.images) == ("digits", "train", 1400)
    assert model.error is not None
    assert model.error.top1 == pytest.approx(run.record.test.error)
    assert model.totals.lost["scale"].filters == run.record.scale.inactive

    told = call(capsys, "study", "run", "mine.toml")
    assert (told.code, told.out) == (0, "2 of 2 runs there (0 trained now)\n")
    told = call(capsys, "study", "status", "mine.toml", "--only", "mine-l2,l2-again")
    assert len(re.findall(r"done, error \d+\.\d %, inactive \d+\.\d %", told.out)) == 2
    assert told.out.endswith("\n2 of 2 done\n")


def test_a_run_that_diverges_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    write_study(4)
    Path("bad.toml").write_text(
        """
        title = "it cannot be"
        base = "base.toml"
        [[row]]
        id = "wild"
        set = { optimizer = { name = "sgd", lr = 1e30 } }
        """
    )
    told = call(capsys, "study", "run", "bad.toml", "-o", "here", "-q", "--no-audit")
    assert (told.code, told.out) == (4, "0 of 1 runs there (0 trained now), 1 failed\n")
    assert re.fullmatch(r"sparsity-audit: wild seed 0: here/wild-seed0-\w{8}: diverged: the loss is .*\n", told.err)
    told = call(capsys, "study", "status", "bad.toml", "-o", "here")
    assert re.search(r"wild +0 +failed: the loss is ", told.out)
    assert "0 of 1 done" in told.out


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["nothing.toml"], ["nothing.toml: cannot read the study: No such file"]),
        (["digits-studdy"], ["no study 'digits-studdy' (did you mean 'digits-study'?)"]),
        (["digits-adam-l2"], ["no study 'digits-adam-l2'"]),
        (["base.toml"], ["base.toml: a spec, not a study"]),
        (["mine.toml", "--only", "mine-l3"], ["no row 'mine-l3' in this study (did you mean 'mine-l2'?)"]),
        (["mine.toml", "--only", ","], ["--only: no row given"]),
        (["mine.toml", "-o", "base.toml"], ["base.toml: cannot hold runs"]),
        (["mine.toml", "--device", "cuda:99"], ["--device cuda:99: not available here"]),
        (["mine.toml", "--jobs", "0"], ["--jobs"]),
        (["wrong.toml"], ["wrong.toml: row x", "optimizer.name 'adma'"]),
        (["broken.toml"], ["broken.toml: not TOML"]),
    ],
)
def test_bad_calls_are_one_line(arguments: list[str], parts: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    write_study(4)
    Path("wrong.toml").write_text('title = "t"\nbase = "base.toml"\n[[row]]\nid = "x"\nset = {"optimizer.name"="adma"}')
    Path("broken.toml").write_text("[[row")
    call(capsys, "study", "run", *arguments).refused(*parts)
    assert not Path("runs").exists()


def test_status_of_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    write_study(4)
    told = call(capsys, "study", "status", "mine.toml")
    assert told.code == 0
    assert told.out.count("not run") == 3
    assert not Path("runs").exists()


def test_data_that_are_not_there_are_said_once_for_each_run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPARSITY_AUDIT_DATA", str(Path.cwd()))
    write_study(4)
    Path("base.toml").write_text(Path("base.toml").read_text().replace('"digits"', '"tinyimagenet"'))
    told = call(capsys, "study", "run", "mine.toml", "--only", "mine-l2", "-q")
    assert (told.code, told.out) == (4, "0 of 1 runs there (0 trained now), 1 failed\n")
    assert told.err.startswith("sparsity-audit: mine-l2 seed 0: mine.toml: row mine-l2: data: ")
    assert told.err.count("\n") == 1
    assert list(Path("runs").iterdir()) == []


def ended(process: subprocess.Popen[str]) -> int:
    process.communicate(timeout=300)
    return process.returncode


def children(process: int) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the workers in /proc")
@pytest.mark.parametrize("seed", range(3))
def test_kill_9_of_parent_and_workers_ends_as_an_undisturbed_study(seed: int) -> None:
    write_study(1500)
    assert ended(start("mine.toml", "-o", "whole", "--jobs", "2", "--no-audit")) == 0
    chance = random.Random(seed)  # noqa: S311
    for victim in ("parent", "worker", "parent"):
        process = start("mine.toml", "-o", "cut", "--jobs", "2", "--no-audit")
        time.sleep(chance.uniform(4.0, 9.0))
        workers = children(process.pid) if process.poll() is None else []
        if workers and victim == "worker":
            os.kill(chance.choice(workers), signal.SIGKILL)
            assert ended(process) == 0  # tried once more
        else:
            process.kill()
            ended(process)
            wait_for(lambda workers=workers: not any(_alive(worker) for worker in workers))  # no orphan trains on
        for run in find_runs(Path("cut")).values():
            assert run.model.exists() == run.finished
    assert ended(start("mine.toml", "-o", "cut", "--no-audit")) == 0
    assert_same(Path("cut"), Path("whole"))
    if seed == 0:  # and as a training by itself
        assert run_program("train", "base.toml", "-o", "alone/run", "--threads", "1").code == 0
        alone, all_of_them = weights(Path("alone")), weights(Path("whole"))
        assert all(np.array_equal(tensor, all_of_them[name]) for name, tensor in alone.items())


def _alive(process: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_there_are_bars_for_the_whole_and_for_each_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("COLUMNS", "120")
    runs = planned(expand(load_study(str(write_study(4)))))
    lines = io.StringIO()
    with StudyPrinter(lines) as printer:
        printer.planned(2, 0)
        doing = {
            "label": "training",
            "done": 3,
            "total": 4,
            "loss": 0.25,
            "error": 0.125,
            "inactive": 7,
            "filters": 232,
        }
        printer.doing(runs[0], Doing.model_validate(doing))
        printer.doing(runs[1], Doing(label="testing on [digits]", done=1, total=2))
        printer._bar.refresh()
        shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", sys.stderr.getvalue())  # without colours
        printer.failed(runs[0], "no [b]luck[/b]")
    assert re.search(r"runs .* 0/2", shown)
    assert re.search(r"mine-l2 seed 0 .* 3/4 loss 0\.2500  error 12\.50%  inactive 7/232", shown)
    assert re.search(r"mine-wd seed 0 .* 1/2 testing on \[digits\]", shown)
    assert "sparsity-audit: mine-l2 seed 0: no [b]luck[/b]\n" in sys.stderr.getvalue()
    assert lines.getvalue() == "2 runs, 0 trained before\n"
