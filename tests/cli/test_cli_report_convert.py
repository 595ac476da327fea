"""``report convert``: the same as ``run`` wrote and printed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from cli_helpers import call, write_healthy, write_net, write_sick

M = "m.safetensors"


def prepare(capsys) -> list[str]:
    """Write models and a baseline of one of them; return the arguments of a session with everything in it."""
    write_sick(Path(M), 5)
    call(capsys, "run", M, "--baseline", "base.json", "--update-baseline")
    write_net(Path(M), a=[1e-5] * 2 + [1.0] * 8, b=[1e-5] * 4 + [1.0] * 6)
    write_healthy(Path("n.safetensors"))
    Path("sparsity-audit.toml").write_text(
        '[[waivers]]\nrule = "SA104"\nreason = "none"\nexpires = 2999-01-01\n'
        '[[waivers]]\nrule = "SA101"\nlayer = "a.*"\nreason = "soon"\nexpires = 2999-01-01\n'
    )
    return [M, "n.safetensors", "--baseline", "base.json"]


def without_counts(text: str) -> str:
    """Return what ``run`` printed without the lines that it prints before a model is audited."""
    return re.sub(r"\n\S+\ncollected [^\n]*\n", "\n", text)


@pytest.mark.parametrize("option", [[], ["-v"]])
def test_files_and_text_are_those_of_the_session(capsys, option):
    arguments = prepare(capsys)
    ended = call(capsys, "run", *arguments, "--json", "r.json", "--markdown", "r.md", *option)
    assert ended.code == 0
    assert "BETTER" in ended.out
    assert "waived" in ended.out
    converted = call(
        capsys, "report", "convert", "r.json", "--json", "c.json", "--markdown", "c.md", "--format", "terminal", *option
    )
    assert converted.code == 0
    assert Path("c.json").read_bytes() == Path("r.json").read_bytes()
    assert Path("c.md").read_bytes() == Path("r.md").read_bytes()
    assert "collected" in ended.out
    assert converted.out == without_counts(ended.out)


def test_a_failed_session_is_converted_with_exit_code_0(capsys):
    write_sick(Path(M))
    ended = call(capsys, "run", M, "--json", "r.json")
    assert ended.code == 1
    converted = call(capsys, "report", "convert", "r.json", "--format", "terminal")
    assert converted.code == 0
    assert converted.out == without_counts(ended.out)


def test_a_model_that_could_not_be_read_is_told(capsys):
    write_sick(Path(M))
    Path("n.safetensors").write_bytes(b"<html>")
    ended = call(capsys, "run", M, "n.safetensors", "--json", "r.json")
    assert ended.code == 4
    told = ended.err.strip().removeprefix("sparsity-audit: ")
    converted = call(capsys, "report", "convert", "r.json", "--format", "terminal")
    assert told in converted.out
    assert converted.out.splitlines()[-1] == ended.out.splitlines()[-1]


def test_refusals(tmp_path, capsys):
    write_sick(Path(M))
    call(capsys, "run", M, "--json", "r.json")
    before = sorted(path.name for path in tmp_path.iterdir())
    convert = ("report", "convert", "r.json")
    call(capsys, *convert).refused("nothing to convert to", "--markdown")
    call(capsys, *convert, "--format", "pdf").refused("--format 'pdf'", "terminal or github")
    call(capsys, *convert, "--json", "r.json").refused("--json r.json", "the input r.json")
    call(capsys, *convert, "--markdown", "x", "--html", "./x").refused("--html ./x", "--markdown")
    call(capsys, *convert, "--markdown", "no/x.md").refused("there is no folder no")
    call(capsys, "report", "convert", "none.json", "--markdown", "x.md").refused("none.json")
    call(capsys, "report", "convert", M, "--markdown", "x.md").refused(M, "report")
    Path("plan.json").write_text('{"model_sha256": "0"}')
    call(capsys, "report", "convert", "plan.json", "--markdown", "x.md").refused("is no audit report")
    Path("plan.json").unlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == before
