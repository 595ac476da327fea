"""``train``: a reader who leaves, Ctrl-C, and whether the line that says how to audit means what it says."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sparsity_audit.cli import train_printer
from sparsity_audit.cli.main import exit_code

SPEC = """
network = { name = "basicnet", first = 4, width = 0.125 }
data = { name = "digits" }
optimizer = { name = "adam" }
regularizer = { kind = "none" }
schedule = { unit = "iterations", total = 40 }
batch_size = 40
"""


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = Path("mine.toml")
    path.write_text(SPEC)
    return path


@pytest.mark.parametrize("command", ["train", "run"])
def test_a_reader_who_leaves_does_not_end_a_training(command: str, spec: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "sparsity_audit.cli.main", command, str(spec)],
            stdout=writing,
            stderr=writing if command == "run" else subprocess.PIPE,
            check=False,
        )
    finally:
        os.close(writing)
    assert not ended.stderr
    (record,) = Path("runs").glob("*/record.json")
    assert json.loads(record.read_text())["status"] == "finished"
    if command == "train":
        assert ended.returncode == 0


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Let Ctrl-C through: a shell that starts the tests in the background has them ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(("label", "left"), [("decoding", "nothing was written"), ("testing", "go on with --resume")])
@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_says_what_is_left(
    label: str, left: str, spec: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*told: object) -> None:
        if label == "decoding" or str(told[1]).startswith(label):
            signal.raise_signal(signal.SIGINT)

    if label == "decoding":
        monkeypatch.setattr("sparsity_audit.training.train.training_corpora", stop)
    else:
        monkeypatch.setattr(train_printer.TrainPrinter, "working", stop)
    assert exit_code(["train", str(spec), "-o", "out"]) == 2
    assert left in capsys.readouterr().err
    assert Path("out").exists() == (label == "testing")


def test_the_line_that_says_how_to_audit_is_one_for_a_shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    chance = np.random.default_rng(0)
    for split in ("train", "val"):
        for name in ("cats", "big dogs"):
            folder = Path("my pets", split, name)
            folder.mkdir(parents=True)
            for number in range(3):
                size = (30 + number, 40, 3)
                Image.fromarray(chance.integers(0, 255, size, dtype=np.uint8)).save(folder / f"{number}.png")
    data = 'data = { name = "imagefolder:my pets", resize = 24, crop = 20 }'
    Path("a b.toml").write_text(SPEC.replace('data = { name = "digits" }', data).replace("total = 40", "total = 1"))
    assert exit_code(["train", "a b.toml"]) == 0
    line = capsys.readouterr().out.splitlines()[-1].removeprefix("audit it:")
    assert exit_code(shlex.split(line)[1:]) in (0, 1)
    assert "my pets" in capsys.readouterr().out


def test_other_wishes_to_observe_a_finished_run_are_noted(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["train", str(spec), "-q"]) == 0
    assert capsys.readouterr().err == ""
    assert exit_code(["train", str(spec), "-q", "--set", "observe.snapshots=[20]"]) == 0
    assert "observe: runs/mine-" in capsys.readouterr().err
