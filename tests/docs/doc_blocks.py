"""Code blocks of the documentation: what is on the pages, and how it is run.

A page's ``sh`` and ``python`` blocks are run in page order, in one folder that holds ``model.safetensors`` (the shipped
digits model) and ``zoo``. Comments directly above a block say what is not so:

- ``exit: N``: the exit code of each of its lines; without it the block as a whole exits with 0, as under ``bash -e``.
- ``file: NAME``: the block is written to that file. What is in a file is run by the commands that use it.
- ``output``: the block is a part of what the block run before it printed, line by line.
- ``invalid``: the TOML is wrong on purpose; a command that says so follows.
- ``slow``: run by ``pytest -m slow`` alone.
- ``github``, ``gitlab``, ``pre-commit``: what the YAML is for.
- ``not run: REASON``: for what a test can't do; ``test_docs_commands.py`` has the reasons that count.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
GENERATED = ("rules/", "cli.md", "api.md")
WRITTEN = [page for page in PAGES if not page.relative_to(DOCS).as_posix().startswith(GENERATED)]
MODEL = ROOT / "zoo" / "checkpoints" / "digits-adam-l2.safetensors"
RUNNABLE = ("sh", "python")

_BLOCK = re.compile(r"((?:^<!-- .*? -->\n)*)^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_MARK = re.compile(r"<!-- (exit|file|output|invalid|slow|github|gitlab|pre-commit|not run)(?:: (.*?))? -->")
_SECONDS = re.compile(r"in \d+\.\d+s")
_RULE = re.compile(r"([=_-])\1{9,}")


class Block(NamedTuple):
    """A fenced block with the comments above it."""

    language: str
    text: str
    marks: dict[str, str]

    @property
    def runs(self) -> bool:
        """Whether it is a command or a program, rather than a file that others use."""
        return self.language in RUNNABLE and not {"file", "not run"} & self.marks.keys()


def blocks(page: Path) -> list[Block]:
    """Return a page's blocks in order."""
    return [
        Block(language, text, dict(_MARK.findall(marks)))
        for marks, language, text in _BLOCK.findall(page.read_text("utf-8"))
    ]


def name(page: Path) -> str:
    """Return a page's path below docs/."""
    return page.relative_to(DOCS).as_posix()


def prose(page: Path) -> str:
    """Return a page's text without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)


def steady(text: str) -> list[str]:
    """Return lines without what differs from run to run: seconds, and how long the rules around them are."""
    return [_RULE.sub(r"\1", _SECONDS.sub("in Ns", line.rstrip())) for line in text.splitlines()]


def environment(folder: Path) -> dict[str, str]:
    """Lay down what the pages take for granted, and return the variables to run them with."""
    shutil.copy(MODEL, folder / "model.safetensors")
    (folder / "zoo").symlink_to(ROOT / "zoo")
    tools, installed = folder.parent / "bin", folder.parent / "installed"
    tools.mkdir()
    python = shlex.quote(sys.executable)
    # As `pip install .` in an environment that has everything already, but beside it rather than in it.
    pip = f"-m pip --disable-pip-version-check -q $1 --no-deps --no-build-isolation --no-index --target {installed} $2"
    commands = {
        "sparsity-audit": '-m sparsity_audit "$@"',
        "pytest": '-m pytest -p no:cacheprovider "$@"',
        "pip": pip,
    }
    for command, arguments in commands.items():
        (tools / command).write_text(f"#!/bin/sh\nexec {python} {arguments}\n")
        (tools / command).chmod(0o755)
    return os.environ | {
        "COLUMNS": "100",
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(installed),
        "SPARSITY_AUDIT_CACHE": str(folder.parent / "cache"),
    }


class Run(NamedTuple):
    """A command that was run; ``shown`` are the blocks that the page gives as parts of its output."""

    command: str
    expected: int
    code: int
    printed: str
    shown: list[str]


def play(page: Path, folder: Path, *, slow: bool) -> Iterator[Run]:
    """Run a page's blocks, one after another; without ``slow`` those that are marked so are passed over."""
    variables = environment(folder)
    found = blocks(page)
    for place, block in enumerate(found):
        if file := block.marks.get("file"):
            (folder / file).write_text(block.text, "utf-8")
        if not block.runs or ("slow" in block.marks and not slow):
            continue
        following = next((i for i in range(place + 1, len(found)) if found[i].runs), len(found))
        shown = [each.text for each in found[place + 1 : following] if "output" in each.marks]
        for command in block.text.splitlines() if "exit" in block.marks else [block.text]:
            program = ["bash", "-e", "-c"] if block.language == "sh" else [sys.executable, "-c"]
            done = subprocess.run(
                [*program, command], cwd=folder, env=variables, capture_output=True, encoding="utf-8", check=False
            )
            yield Run(command, int(block.marks.get("exit", 0)), done.returncode, done.stdout + done.stderr, shown)
