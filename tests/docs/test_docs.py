"""The documentation is current, its links lead somewhere, and what it tells people to type does what it says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import unicodedata
from pathlib import Path

import pytest
from doc_blocks import DOCS, PAGES, Block, blocks

from sparsity_audit.schema.config import AuditConfig
from sparsity_audit.schema.rule import RulePack

ROOT = DOCS.parent
MODEL = ROOT / "zoo" / "checkpoints" / "digits-adam-l2.safetensors"
GENERATED = ("rules/", "cli.md", "api.md")
WRITTEN = [page for page in PAGES if not str(page.relative_to(DOCS)).startswith(GENERATED)]
LONG = ("reproduction.md",)
"""Trainings of hours; ``tests/test_results.py`` holds its tables against what was trained."""
RUN = [page for page in WRITTEN if page.name not in LONG and any(block.language == "sh" for block in blocks(page))]


def test_generated_pages_are_current() -> None:
    command = [sys.executable, ROOT / "scripts" / "docs.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_site_builds_without_warnings(tmp_path: Path) -> None:
    shutil.copytree(DOCS, tmp_path / "docs")
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    command = [sys.executable, "-m", "zensical", "build", "--strict"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No issues found" in done.stdout + done.stderr
    assert (tmp_path / "site" / "rules" / "SA101" / "index.html").is_file()


def anchors(page: Path) -> set[str]:
    """Return the ids of a page's headings, as Python-Markdown's ``toc`` makes them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    found = set()
    for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE):
        plain = unicodedata.normalize("NFKD", re.sub(r"[`*\\]", "", heading)).encode("ascii", "ignore").decode()
        found.add(re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain).strip().lower()))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        there = (page.parent / file).resolve() if file else page
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), target


def test_every_page_is_in_the_navigation_or_an_index() -> None:
    named = set(re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text("utf-8")))
    named |= {
        f"rules/{name}" for name in re.findall(r"\((\w+\.md)\)", (DOCS / "rules" / "index.md").read_text("utf-8"))
    }
    assert {str(page.relative_to(DOCS)) for page in PAGES} == named


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_toml_fits_its_schema(page: Path) -> None:
    for block in blocks(page):
        if block.language != "toml":
            continue
        content = tomllib.loads(block.text)
        if "rule" in content or "extends" in content:
            RulePack.model_validate(content)
        elif "project" not in content and page != DOCS / "pruning.md":
            AuditConfig.model_validate(content)


def prepared(folder: Path, block: Block) -> dict[str, str]:
    """Lay down what a block needs, and return the environment to run it in."""
    environment = os.environ | {"COLUMNS": "100", "SPARSITY_AUDIT_CACHE": str(folder / "cache")}
    tools = folder.parent / "bin"
    if not tools.exists():
        tools.mkdir()
        for name, module in (("sparsity-audit", "sparsity_audit"), ("pytest", "pytest -p no:cacheprovider")):
            (tools / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {module} "$@"\n')
            (tools / name).chmod(0o755)
    environment["PATH"] = f"{tools}{os.pathsep}{environment['PATH']}"
    if module := block.marks.get("installed"):
        # What `pip install` would leave of the package: the module, and its entry points beside it.
        info = folder / f"{module}-1.0.dist-info"
        info.mkdir(exist_ok=True)
        points = tomllib.loads((folder / "pyproject.toml").read_text())["project"]["entry-points"]
        lines = [f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in found.items()) for group, found in points.items()]
        (info / "entry_points.txt").write_text("\n".join(lines))
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        (folder / "pyproject.toml").unlink()
        environment["PYTHONPATH"] = str(folder)
    return environment


@pytest.mark.parametrize("page", RUN, ids=lambda page: str(page.relative_to(DOCS)))
def test_commands_do_what_the_page_says(page: Path, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    shutil.copy(MODEL, folder / "model.safetensors")
    for block in blocks(page):
        if name := block.marks.get("file"):
            (folder / name).write_text(block.text)
        if block.language != "sh" or "not run" in block.marks:
            continue
        command = ["bash", "-e", "-c", block.text]
        done = subprocess.run(
            command,
            cwd=folder,
            env=prepared(folder, block),
            capture_output=True,
            encoding="utf-8",
            check=False,
            timeout=120,
        )
        assert done.returncode == int(block.marks.get("exit", 0)), (block.text, done.stdout[-3000:], done.stderr)


def test_few_blocks_are_not_run_and_all_say_why() -> None:
    left = [
        (page.name, block.marks["not run"]) for page in WRITTEN for block in blocks(page) if "not run" in block.marks
    ]
    assert len(left) <= 8
    assert all(reason for _, reason in left)
