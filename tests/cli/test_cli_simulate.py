"""``simulate``: the table, the files, bad input."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from cli_helpers import call
from PIL import Image

from sparsity_audit.studies.simulate import Simulation, simulate

FAST = ("--steps", 30, "--draws", 3)


def test_table_says_what_was_simulated(capsys):
    options = ("--optimizers", "adam,sgd", "--regularizer", "l2", "--strength", "1e-3", "--strength", "5e-2")
    ended = call(capsys, "simulate", *options, "--steps", 1600, "--draws", 3)
    assert ended.code == 0
    found = simulate(["adam", "sgd"], ["l2"], [1e-3, 5e-2], steps=1600, draws=3)
    rows = [line.split() for line in ended.out.splitlines()[2:6]]
    assert [row[:4] for row in rows] == [
        ["adam", "1e-3", "l2", "1e-3"],
        ["adam", "1e-3", "l2", "5e-2"],
        ["sgd", "0.1", "l2", "1e-3"],
        ["sgd", "0.1", "l2", "5e-2"],
    ]
    assert "not in 1600" in ended.out.splitlines()[4]  # SGD under so small a λ takes 7,000
    fast = found.curve("sgd", "l2", 5e-2)
    assert rows[3][4:] == [str(fast.to_half), str(fast.to_threshold), f"{fast.end:.2g}", "100.0"]
    assert "median of 3 draws (seed 0)" in ended.out
    order = next(line for line in ended.out.splitlines() if line.startswith("λ = 5e-2"))
    slow = found.curve("adam", "l2", 5e-2)
    assert order == (f"λ = 5e-2, fastest to 1e-3 first: sgd l2 {fast.to_threshold}, adam l2 {slow.to_threshold}")


def test_defaults_are_the_papers_seven_optimizers(capsys):
    ended = call(capsys, "simulate", *FAST)
    assert ended.code == 0
    rows = [line for line in ended.out.splitlines()[2:] if " l2 " in line or " wd " in line]
    assert len(rows) == 7 * 2 * 5
    assert "fastest to 1e-3 first: none" in ended.out


def test_files(capsys):
    ended = call(capsys, "simulate", "--optimizers", "adam", *FAST, "--json", "s.json", "--plot", "s.svg")
    assert ended.code == 0
    stored = Simulation.model_validate(json.loads(Path("s.json").read_text("utf-8")))
    assert stored == simulate(["adam"], steps=30, draws=3)
    assert ET.fromstring(Path("s.svg").read_bytes()).tag.endswith("svg")  # noqa: S314 - our own file
    assert call(capsys, "simulate", "--optimizers", "adam", *FAST, "--plot", "s.PNG").code == 0
    with Image.open("s.PNG") as picture:
        assert picture.format == "PNG"
    assert sorted(path.name for path in Path().iterdir()) == ["s.PNG", "s.json", "s.svg"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--optimizers", "adm"), ("did you mean 'adam'",)),
        (("--optimizers", " , "), ("--optimizers", "nothing given")),
        (("--regularizer", "l1"), ("no regularizer 'l1'", "l2, wd")),
        (("--strength", "small"), ("--strength small", "not numbers")),
        (("--strength", "1"), ("strength = 1.0",)),
        (("--strength", "1e-3,0.001"), ("twice",)),
        (("--steps", "0"), ("--steps",)),
        (("--draws", "0"), ("--draws",)),
        (("--plot", "a.pdf"), ("a.pdf", ".png or .svg")),
        (("--plot", "nowhere/a.png"), ("--plot", "there is no folder")),
        (("--json", "nowhere/a.json"), ("--json", "there is no folder")),
        (("--json", "a.svg", "--plot", "a.svg"), ("name another file",)),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(capsys, options, said):
    call(capsys, "simulate", *FAST, *options).refused(*said)
    assert list(Path().iterdir()) == []
