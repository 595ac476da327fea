"""The steps of a composite action as one shell script, run here as a runner would run them there."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
ACTION = ROOT / "ci" / "github" / "action.yml"
_EXPRESSION = re.compile(r"\$\{\{\s*(.*?)\s*\}\}")


def shell_script(inputs: dict[str, str], context: dict[str, str]) -> str:
    """Return the action's steps as a script; steps that use other actions only say that they would.

    Args:
        inputs: of the action; the others have their defaults.
        context: values of expressions such as ``github.event_name``.
    """
    action = yaml.safe_load(ACTION.read_text("utf-8"))
    assert set(inputs) <= set(action["inputs"]), inputs
    values = {
        f"inputs.{name}": str(inputs.get(name, spec.get("default", ""))) for name, spec in action["inputs"].items()
    }
    values |= context
    lines = ["#!/usr/bin/env bash", "set -u", 'output() { sed -n "s/^$1=//p" "$GITHUB_OUTPUT" | tail -n 1; }']
    for step in action["runs"]["steps"]:
        lines += _step(step, values)
    return "\n".join(lines) + "\n"


def _step(step: dict[str, Any], values: dict[str, str]) -> list[str]:
    condition = " && ".join(_test(part, values) for part in step["if"].split("&&")) if "if" in step else "true"
    if "uses" in step:
        given = " ".join(f"{key}={_value(str(text), values)}" for key, text in step.get("with", {}).items())
        body = [f'echo "would use {step["uses"]} "{given}']
    else:
        assert step["shell"] == "bash"
        folder = _value(step.get("working-directory", "."), values)
        environment = " ".join(f"{key}={_value(str(text), values)}" for key, text in step.get("env", {}).items())
        body = [f"( cd {folder} && {environment} bash -e -o pipefail -c {shlex.quote(step['run'])} ) || exit $?"]
    return [f"# {step['name']}", f"if {condition}; then", *(f"  {line}" for line in body), "fi"]


def _test(part: str, values: dict[str, str]) -> str:
    left, sign, right = part.strip().partition(" == ") if " == " in part else part.strip().partition(" != ")
    return f"[ {_term(left, values)} {sign.strip().replace('==', '=')} {shlex.quote(right.strip(chr(39)))} ]"


def _value(text: str, values: dict[str, str]) -> str:
    """Return a text with its expressions put in, as one shell word."""
    pieces = _EXPRESSION.split(text)
    return (
        "".join(_term(piece, values) if i % 2 else shlex.quote(piece) for i, piece in enumerate(pieces) if piece)
        or "''"
    )


def _term(expression: str, values: dict[str, str]) -> str:
    if expression.startswith("steps.audit.outputs."):
        return f'"$(output {expression.removeprefix("steps.audit.outputs.")})"'
    return shlex.quote(values[expression])


def run_steps(
    folder: Path, place: Path, environment: dict[str, str], context: dict[str, str], **inputs: str
) -> subprocess.CompletedProcess[str]:
    """Run the action's steps in a folder; ``place`` takes what a runner keeps beside it."""
    place.mkdir()
    script = place / "steps.sh"
    known = {"github.token": "t0ken", "github.job": "audit", "strategy.job-index": "0", **context}
    script.write_text(shell_script({"install": "none", **inputs}, known))
    for name in ("output", "summary"):
        (place / name).touch()
    runner = {
        "GITHUB_ACTION_PATH": str(ACTION.parent),
        "GITHUB_OUTPUT": str(place / "output"),
        "GITHUB_STEP_SUMMARY": str(place / "summary"),
        "GITHUB_REPOSITORY": "owner/name",
        "RUNNER_TEMP": str(place),
    }
    return subprocess.run(
        ["bash", str(script)], cwd=folder, env=environment | runner, capture_output=True, encoding="utf-8", check=False
    )
