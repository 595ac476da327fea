"""``train`` and ``run SPEC``: what they print, what they leave, how they end."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sparsity_audit.cli.main import exit_code

SPEC = """
network = { name = "basicnet", first = 8, width = 0.125, head = [32] }
data = { name = "digits", flip = false }
optimizer = { name = "adam" }
regularizer = { kind = "l2", strength = 1e-3 }
schedule = { unit = "iterations", total = 60 }
batch_size = 40
"""


@pytest.fixture
def spec() -> Path:
    path = Path("mine.toml")
    path.write_text(SPEC)
    return path


def runs() -> list[Path]:
    return sorted(Path("runs").iterdir())


def test_train_leaves_a_run_that_other_commands_take(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["train", str(spec)]) == 0
    told = capsys.readouterr()
    assert told.err == ""
    lines = told.out.splitlines()
    assert lines[0].startswith("mine: basicnet 8-0.125x head 32, digits, adam 1e-3, l2 1e-3, batch 40, 60 iterations")
    assert re.fullmatch(
        r"step 60/60  loss \d\.\d{4}  error \d+\.\d\d%  inactive 0/232  \d+\.\d ms/step  0 s left", lines[1]
    )
    assert re.fullmatch(r"train loss .* of 1,400 images; test loss .* error \d+\.\d\d% of 397 images", lines[2])
    assert lines[3] == "0 of 232 filters inactive by scale (0.0%)"
    (folder,) = runs()
    assert lines[-1] == f"audit it:   sparsity-audit run {folder} --data digits"
    assert exit_code(lines[-1].split()[3:]) == 0  # the line means what it says
    assert exit_code(["inspect", str(folder)]) == 0
    record = json.loads((folder / "record.json").read_text())
    assert (record["name"], record["status"], record["seed"]) == ("mine", "finished", 0)


def test_the_same_again_trains_nothing(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["train", str(spec), "-q"]) == 0
    first = capsys.readouterr().out
    assert first.count("\n") == 2  # the result only
    (folder,) = runs()
    stamp = (folder / "model.safetensors").stat().st_mtime_ns
    assert exit_code(["train", str(spec)]) == 0
    assert capsys.readouterr().out.startswith(f"mine: trained already; {folder} is as it was\n{first}")
    assert (folder / "model.safetensors").stat().st_mtime_ns == stamp


def test_options_change_the_spec_and_so_the_folder(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["train", str(spec), "--seed", "3", "--set", "optimizer.name=sgd", "--threads", "1"]) == 0
    assert exit_code(["train", str(spec), "-o", "here/there", "--set", "schedule.total=4"]) == 0
    capsys.readouterr()
    record = json.loads((runs()[0] / "record.json").read_text())
    assert record["spec"]["optimizer"] == {
        "name": "sgd",
        "lr": 0.1,
        "momentum": 0.9,
        "dampening": 0.0,
        "nesterov": False,
    }
    assert record["seed"] == record["spec"]["seed"] == 3
    assert record["sessions"][0]["threads"] == 1
    assert json.loads(Path("here/there/record.json").read_text())["steps"] == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nosuch.toml"], "nosuch.toml: cannot read the spec: No such file or directory"),
        (["digits-adam-l3"], "no shipped spec or row 'digits-adam-l3'.*did you mean 'digits-adam-l2'"),
        (["mine.toml", "--set", "optimizer.nam=x"], "--set optimizer.nam=x: optimizer adam has no 'nam'"),
        (
            ["mine.toml", "--set", "network.name=vg16"],
            "mine.toml with --set network.name=vg16: network: unknown network 'vg16'.*'vgg16'",
        ),
        (
            ["mine.toml", "--set", "optimizer.name=adm"],
            r"optimizer.name 'adm' \(did you mean 'adam'\?\): should be 'sgd'",
        ),
        (["mine.toml", "--set", "regularizer.kind=wd", "--set", "regularizer.strength=1"], "λ must be below 1"),
        (["mine.toml", "--set", "batch_size=1"], "batch_size 1: should be greater than or equal to 2"),
        (["mine.toml", "--device", "tpu"], "--device tpu: not available here"),
        (["mine.toml", "-o", "mine.toml"], "mine.toml: cannot be created"),
        (["mine.toml", "--set", "optimizer.lr=1e9", "-o", "wild"], "wild: diverged: the loss is nan at step"),
        (["."], "."),
    ],
)
@pytest.mark.usefixtures("spec")
def test_bad_input_is_one_line_and_exit_code_4(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(["train", *arguments]) == 4
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert re.search(message, told)
    assert not Path("runs").exists()


@pytest.mark.usefixtures("spec")
def test_ctrl_c_and_resume(capfd: pytest.CaptureFixture[str]) -> None:
    long = [sys.executable, "-m", "sparsity_audit", "train", "mine.toml", "--set", "schedule.total=100000"]
    process = subprocess.Popen([*long, "-o", "run"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()  # it has begun
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 2
    told = capfd.readouterr().err
    done = re.fullmatch(r"sparsity-audit: interrupted after step (\d+) of 100000; go on with --resume \(run\)\n", told)
    assert done
    record = json.loads(Path("run/record.json").read_text())
    assert (record["status"], record["steps"]) == ("interrupted", int(done[1]))
    assert exit_code(["train", "mine.toml", "-o", "run", "--set", "schedule.total=100000"]) == 4
    assert "continue it with --resume" in capfd.readouterr().err
    assert exit_code(["run", "run"]) == 4  # there is no model yet


@pytest.mark.usefixtures("spec")
def test_a_terminal_gets_a_bar() -> None:
    """Drawn on stderr, so that stdout stays what a script reads."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "sparsity_audit", "train", "mine.toml", "--set", "schedule.total=300"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=theirs, text=True, env=os.environ | {"TERM": "xterm", "COLUMNS": "120"}
    )
    os.close(theirs)
    drawn = b""
    while True:
        try:
            piece = os.read(ours, 4096)
        except OSError:  # how a terminal says that nobody writes any more
            break
        drawn += piece
        if not piece:
            break
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert b"training" in drawn
    assert re.search(rb"inactive \d+/232", drawn)
    assert not re.search(r"^step ", out, re.MULTILINE)
    assert "test loss" in out


@pytest.mark.usefixtures("spec")
def test_run_trains_a_spec_and_audits_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["run", "mine.toml", "--json", "one.json"]) in (0, 1)
    first = capsys.readouterr()
    assert "step 60/60" in first.err
    assert "SA101 dead-filter-fraction-by-scale" in first.out
    (folder,) = runs()
    report = json.loads(Path("one.json").read_text())
    assert report["models"][0]["path"] == str(folder)
    assert report["models"][0]["corpus"]["name"] == "digits"
    assert report["models"][0]["training"]["optimizer"]["name"] == "adam"
    assert report["models"][0]["error"]["top1"] == json.loads((folder / "record.json").read_text())["test"]["error"]
    assert exit_code(["run", "mine.toml"]) in (0, 1)
    assert "step 60/60" not in capsys.readouterr().err  # it was reused


def test_run_goes_on_with_a_run_that_was_stopped(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from sparsity_audit.specs.load import load_spec
    from sparsity_audit.training.loop import Progress
    from sparsity_audit.training.train import TrainListener, default_folder, train

    class Stop(TrainListener):
        def progress(self, progress: Progress) -> None:
            if not stopped:  # the first look, whenever it comes: on a busy machine it comes early
                stopped.append(progress.step)
                signal.raise_signal(signal.SIGINT)

    stopped: list[int] = []
    spec.write_text(SPEC.replace("60", "80"))
    named = load_spec("mine.toml")
    assert train(named, default_folder(named), listener=Stop()).status == "interrupted"
    assert exit_code(["run", "mine.toml", "-q"]) in (0, 1)
    assert json.loads((default_folder(named) / "record.json").read_text())["status"] == "finished"
    capsys.readouterr()


@pytest.mark.usefixtures("spec")
def test_run_of_specs_needs_one_corpus(capsys: pytest.CaptureFixture[str]) -> None:
    Path("other.toml").write_text(SPEC.replace('"digits"', '"cifar10"'))
    assert exit_code(["run", "mine.toml", "other.toml"]) == 4
    assert "not all trained on the same data: name the corpus with --data" in capsys.readouterr().err
    assert exit_code(["run", "mine.toml", "model.safetensors"]) == 4
    assert exit_code(["run", "mine.toml", "--collect-only"]) == 4
    assert "mine.toml: not trained yet" in capsys.readouterr().err
    assert not Path("runs").exists()


def test_run_of_a_spec_that_cannot_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    Path("bad.toml").write_text(SPEC.replace("adam", "adm"))
    assert exit_code(["run", "bad.toml"]) == 4
    assert "bad.toml: optimizer.name 'adm' (did you mean 'adam'?)" in capsys.readouterr().err
