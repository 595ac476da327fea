"""``diff``: files, JSON, refusals; what it finds is tested beside the ratchet."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from cli_helpers import call, write_net, write_sick

M = "m.safetensors"


@pytest.fixture
def two(tmp_path, capsys):
    """Two reports: filter 2 of layer b revived, filters 4 and 5 died."""
    write_net(tmp_path / M, a=[1.0] * 10, b=[1e-5] * 3 + [1.0] * 7)
    call(capsys, "run", M, "--json", "a.json")
    write_net(tmp_path / M, a=[1.0] * 10, b=[1e-5] * 2 + [1.0] * 2 + [1e-5] * 2 + [1.0] * 4)
    call(capsys, "run", M, "--json", "b.json")


@pytest.mark.usefixtures("two")
def test_what_died_and_what_revived(capsys):
    ended = call(capsys, "diff", "a.json", "b.json", "--json", "d.json")
    assert ended.code == 0
    assert "b.conv (10 filters): died by scale: 4–5; revived by scale: 2" in ended.out
    assert "dead by scale: 3 → 4 of 20 (20.0 %), +1" in ended.out
    assert "warning → error" in ended.out
    found = json.loads(Path("d.json").read_text())
    (change,) = found["parts"][0]["layers"]
    assert (change["key"], change["died"]["scale"], change["revived"]["scale"]) == ("b.conv", [4, 5], [2])
    (finding,) = found["parts"][0]["findings"]
    assert (finding["change"], finding["before"], finding["after"]) == ("worse", 0.3, 0.4)
    schema = json.loads(call(capsys, "schema", "diff").out)
    jsonschema.Draft202012Validator(schema).validate(found)
    assert "revived" in call(capsys, "diff", "a.json", "b.json", "-v").out


@pytest.mark.usefixtures("two")
def test_the_same_file_twice(capsys):
    ended = call(capsys, "diff", "a.json", "a.json")
    assert ended.code == 0
    assert "the same weights" in ended.out
    assert "no filter died or revived, no failure came or went" in ended.out


@pytest.mark.usefixtures("two")
def test_refusals_are_one_line_and_write_nothing(tmp_path, capsys):
    before = sorted(path.name for path in tmp_path.iterdir())
    call(capsys, "diff", "a.json", "none.json").refused("none.json")
    call(capsys, "diff", "a.json", M).refused(M, "report")
    call(capsys, "diff", "a.json", "b.json", "--json", "b.json").refused("--json b.json", "the input b.json")
    call(capsys, "diff", "a.json", "b.json", "--json", "no/d.json").refused("there is no folder no")
    call(capsys, "diff", "a.json").refused("AFTER")
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_reports_without_a_common_model(tmp_path, capsys):
    for name in ("m", "n", "o"):
        write_sick(tmp_path / f"{name}.safetensors")
    call(capsys, "run", "m.safetensors", "n.safetensors", "--json", "a.json")
    call(capsys, "run", "o.safetensors", "--json", "b.json")
    call(capsys, "diff", "a.json", "b.json", "--json", "d.json").refused("no model in common")
    assert not Path("d.json").exists()
    call(capsys, "run", "m.safetensors", "--json", "b.json")
    assert "n.safetensors: only in a.json" in call(capsys, "diff", "a.json", "b.json").out
