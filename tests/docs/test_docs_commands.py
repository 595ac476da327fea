"""What the documentation tells people to type does what it says, and prints what it shows."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml
from doc_blocks import DOCS, PAGES, ROOT, WRITTEN, blocks, name, play, prose, steady

from sparsity_audit.schema.config import AuditConfig
from sparsity_audit.schema.rule import RulePack
from sparsity_audit.schema.spec import ZooSpec
from sparsity_audit.schema.study import StudySpec

RUN = [page for page in WRITTEN if any(block.runs and "slow" not in block.marks for block in blocks(page))]
SLOW = [page for page in WRITTEN if any(block.runs and "slow" in block.marks for block in blocks(page))]
RECIPES = {
    "github": "ci/github/action.yml",
    "gitlab": "ci/gitlab/sparsity-audit.gitlab-ci.yml",
    "pre-commit": ".pre-commit-hooks.yaml",
}
REASONS = {"installs the package anew", "trains for hours"}


def holds(page: Path, folder: Path, *, slow: bool) -> None:
    for run in play(page, folder, slow=slow):
        assert run.code == run.expected, f"{run.command}\n{run.printed[-3000:]}"
        printed = steady(run.printed)
        for part in map(steady, run.shown):
            assert is_part(part, printed), "\n".join(["not printed so:", *part, "but:", *printed])


def is_part(part: Sequence[str], whole: Sequence[str]) -> bool:
    """Tell whether lines stand in others one after another."""
    return any(whole[i : i + len(part)] == part for i in range(len(whole) - len(part) + 1))


@pytest.mark.parametrize("page", RUN, ids=name)
def test_commands_do_what_the_page_says(page: Path, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    holds(page, folder, slow=False)


@pytest.mark.slow
@pytest.mark.parametrize("page", SLOW, ids=name)
def test_slow_commands_do_what_the_page_says(page: Path, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    holds(page, folder, slow=True)


def test_few_blocks_are_not_run_and_all_say_why() -> None:
    reasons = [block.marks["not run"] for page in WRITTEN for block in blocks(page) if "not run" in block.marks]
    assert set(reasons) == REASONS
    assert len(reasons) <= 5


@pytest.mark.parametrize("page", WRITTEN, ids=name)
def test_every_block_is_of_a_kind_that_is_checked(page: Path) -> None:
    found = blocks(page)
    assert len(found) * 2 == page.read_text("utf-8").count("\n```"), "a fence that no block was made of"
    for block in found:
        assert block.language in {"sh", "python", "toml", "yaml", "text"}
        assert (block.language == "text") == ("output" in block.marks), (
            "text is what a command printed, and is marked so"
        )
        assert not block.runs or "$ " not in block.text, "commands stand without a prompt"


def test_every_page_with_output_runs_what_prints_it() -> None:
    for page in WRITTEN:
        marks = [set(block.marks) | ({"runs"} if block.runs else set()) for block in blocks(page)]
        for i, found in enumerate(marks):
            assert "output" not in found or any("runs" in earlier for earlier in marks[:i])


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_toml_fits_its_schema(page: Path) -> None:
    for block in blocks(page):
        if block.language == "toml" and "invalid" not in block.marks:
            fits(tomllib.loads(block.text))


def fits(content: dict[str, object]) -> None:
    """Validate by the schema that the keys call for; a ``pyproject.toml`` by its table for us."""
    if "build-system" in content:
        return  # of a package: `pip install .` reads it
    if "tool" in content:
        content = content["tool"]["sparsity-audit"]  # type: ignore[index]
        AuditConfig.model_validate(content)
    elif "rule" in content or "extends" in content:
        RulePack.model_validate({"schema": 1, **content})
    elif "network" in content:
        ZooSpec.model_validate(content)
    elif "base" in content:
        StudySpec.model_validate(content)
    else:
        AuditConfig.model_validate(content)


def test_yaml_fits_what_lies_in_ci() -> None:
    """Inputs, variables and ids on the page are those of the files, and all inputs are told."""
    page = DOCS / "ci.md"
    found = {kind: yaml.safe_load(block.text) for block in blocks(page) for kind in block.marks if kind in RECIPES}
    assert set(found) == set(RECIPES)
    read = {kind: yaml.safe_load((ROOT / path).read_text("utf-8")) for kind, path in RECIPES.items()}
    (inputs,) = (step["with"] for step in found["github"]["steps"] if step["uses"].endswith("ci/github"))
    assert set(inputs) <= set(read["github"]["inputs"])
    assert set(found["gitlab"]["variables"]) <= set(read["gitlab"]["variables"])
    hooks = {hook["id"] for repository in found["pre-commit"]["repos"] for hook in repository["hooks"]}
    assert hooks <= {hook["id"] for hook in read["pre-commit"]}
    told = set(re.findall(r"`([\w-]+)`", prose(page)))
    for kind, keys in (("github", ("inputs", "outputs")), ("gitlab", ("variables",))):
        assert {name for key in keys for name in read[kind][key]} <= told
    assert {hook["id"] for hook in read["pre-commit"]} <= told


def test_readme_is_not_repeated() -> None:
    """Pages link to each other; a paragraph that stands in README too would have to be changed twice."""
    readme = {" ".join(part.split()) for part in (ROOT / "README.md").read_text("utf-8").split("\n\n")}
    for page in WRITTEN:
        parts = {" ".join(part.split()) for part in page.read_text("utf-8").split("\n\n")}
        assert not {part for part in parts & readme if len(part) > 300}, name(page)


def test_pages_name_no_place_of_one_machine() -> None:
    for page in PAGES:
        assert not re.findall(r"/(?:home|tmp|root|work)/", page.read_text("utf-8")), name(page)
