"""Annotations as the runner of a workflow reads them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest
import report_builders as build
from gate_reports import EVERY, nothing_audited, standings, two_models
from report_parts import layer

from sparsity_audit.reporters.github import LONGEST, MOST, resume_commands, stop_commands, to_annotations
from sparsity_audit.schema.report import AuditReport

ROOT = Path.cwd()
_COMMAND = re.compile(r"^::(?P<name>\w[\w-]*)(?: (?P<properties>.*?))?::(?P<data>.*)$")


class Command(NamedTuple):
    name: str
    properties: dict[str, str]
    data: str


def unescaped(text: str) -> str:
    for code, letter in (("%2C", ","), ("%3A", ":"), ("%0A", "\n"), ("%0D", "\r"), ("%25", "%")):
        text = text.replace(code, letter)
    return text


def read(output: str) -> list[Command]:
    """Read a log as the runner does: a command begins a line, ``##[…]`` anywhere is one, too."""
    commands, waiting = [], None
    for line in output.split("\n"):
        if waiting is not None:
            waiting = None if line == f"::{waiting}::" else waiting
            continue
        found = _COMMAND.match(line.strip())
        if found is None:
            assert "##[" not in line, line
            continue
        if found["name"] == "stop-commands":
            waiting = found["data"]
            continue
        pairs = dict(pair.split("=", 1) for pair in (found["properties"] or "").split(",") if pair)
        commands.append(
            Command(found["name"], {key: unescaped(text) for key, text in pairs.items()}, unescaped(found["data"]))
        )
    return commands


def told(report: AuditReport) -> list[Command]:
    return read(to_annotations(report, ROOT))


@pytest.mark.parametrize("name", EVERY)
def test_only_annotations_and_all_of_them_placed(name: str) -> None:
    lines = to_annotations(EVERY[name](), ROOT)
    commands = read(lines)
    assert len(commands) == len([line for line in lines.split("\n") if line])
    assert {command.name for command in commands} <= {"error", "warning", "notice"}
    assert all(command.properties.keys() == {"file", "line", "title"} for command in commands)


def test_one_for_each_rule_with_its_layers() -> None:
    errors = [command for command in told(build.failed_with_warnings()) if command.name == "error"]
    (error,) = errors
    assert error.properties == {
        "file": "pyproject.toml",
        "line": "1",
        "title": "SA101 dead-filter-fraction-by-scale",
    }
    assert "layer1.0.conv1 34.4 %, limit 30.0 %" in error.data
    assert "layer2.0.downsample.0 34.4 %, limit 30.0 %" in error.data
    warnings = [command for command in told(build.failed_with_warnings()) if command.name == "warning"]
    assert [command.properties["title"].split()[0] for command in warnings] == ["SA101", "SA105"]


def test_known_and_waived_failures_are_not_annotated_and_improvements_are() -> None:
    commands = told(standings())
    text = " ".join(command.data for command in commands)
    assert "b 34.4 %, limit 30.0 % (worse: 0.3 in the baseline)" in text
    assert "e 34.4 %, limit 30.0 % (its waiver ended on 2026-01-31: soon gone)" in text
    assert "soon gone" in text
    assert "in the baseline)" in text
    assert "d 34.4 %" not in text
    (notice,) = (command for command in commands if command.name == "notice")
    assert "SA101[f]" in notice.data


def test_at_most_as_many_as_github_shows() -> None:
    rules = [f"ACME{i:03}" for i in range(14)]
    made = build.model([layer("a")], [build.failed(rule, "a") for rule in rules])
    commands = told(build.report([made], exit_code=1))
    assert len(commands) == MOST
    named = {rule for command in commands for rule in rules if rule in command.properties["title"] + command.data}
    assert named == set(rules)
    assert commands[-1].properties["title"] == "5 more"


def test_models_are_told_apart_and_errors_come_first() -> None:
    commands = told(two_models())
    assert [command.name for command in commands] == ["error"] * 2 + ["warning"] * 4
    assert {command.data.partition(":")[0] for command in commands} == {
        "models/resnet20.safetensors",
        "other/resnet20.safetensors",
    }


@pytest.mark.parametrize(
    "name", ["::set-env name=PATH::x", "##[error]x", "a%0A::error::x", "a,title=b", "::t::", "a\n::b::"]
)
def test_names_out_of_a_file_are_no_commands(name: str) -> None:
    made = build.model([layer(name)], [build.failed("SA101", name, message=f"{name} died")], path=f"m/{name}")
    report = build.report([made], exit_code=1, config_file=None)
    (command,) = told(report)
    assert command.name == "error"
    assert command.properties.keys() == {"file", "line", "title"}
    if name.isprintable():
        assert name in command.data
        assert command.properties["file"] == f"m/{name}"
    assert command.properties["title"] == "SA101 dead-filter-fraction-by-scale"
    shield = [stop_commands("s3cret"), f"{name} 12", "::error::from a table", resume_commands("s3cret"), "::notice::z"]
    assert [command.data for command in read("\n".join(shield))] == ["z"]


@pytest.mark.parametrize("keys", ["encoder.level3.{}.branch.conv", "a{}" + "x" * 700])
def test_every_layer_is_named_or_counted_in_what_the_runner_keeps(keys: str) -> None:
    commands = told(build.huge(60, keys))
    assert [command.properties["title"][:5] for command in commands] == ["SA101", "SA102"]
    for command in commands:
        assert len(command.data) <= LONGEST
        shown = sum(f"{keys.format(i)[:100]}" in command.data for i in range(60))
        assert shown == 60 or re.search(r"and \d+ more: ", command.data)
        if "branch" in keys:
            assert shown == 60


def test_a_session_without_a_verdict_says_so() -> None:
    (command,) = told(nothing_audited())
    assert (command.name, command.properties["title"]) == ("error", "no verdict")
    assert "nothing was audited" in command.data
