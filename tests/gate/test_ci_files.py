"""The ready-made files for CI fit their schemas, and their scripts are clean."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from workflow_steps import ACTION, ROOT

SAMPLE = ROOT / "tests" / "sample_repository"


@pytest.mark.parametrize(
    ("schema", "file"),
    [
        ("vendor.github-actions", ACTION),
        ("vendor.github-workflows", SAMPLE / ".github" / "workflows" / "audit.yml"),
        ("vendor.gitlab-ci", ROOT / "ci" / "gitlab" / "sparsity-audit.gitlab-ci.yml"),
        ("vendor.gitlab-ci", SAMPLE / ".gitlab-ci.yml"),
    ],
)
def test_files_fit_their_schemas(schema: str, file: object) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_hooks_are_valid() -> None:
    command = [sys.executable, "-m", "pre_commit", "validate-manifest", str(ROOT / ".pre-commit-hooks.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_scripts_are_clean() -> None:
    scripts = sorted((ROOT / "ci").rglob("*.sh"))
    assert scripts
    shellcheck = Path(sys.executable).parent / "shellcheck"
    done = subprocess.run([shellcheck, *scripts], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_no_step_puts_an_expression_into_a_script() -> None:
    """An expression in a script would be code of whoever named the branch."""
    for step in yaml.safe_load(ACTION.read_text("utf-8"))["runs"]["steps"]:
        assert "${{" not in step.get("run", ""), step["name"]


def test_a_users_gitlab_file_sets_variables_that_the_template_reads() -> None:
    template = yaml.safe_load((ROOT / "ci" / "gitlab" / "sparsity-audit.gitlab-ci.yml").read_text())
    sample = yaml.safe_load((SAMPLE / ".gitlab-ci.yml").read_text())
    assert set(sample["variables"]) <= set(template["variables"])
    script = "\n".join(template["sparsity-audit"]["script"])
    assert all(f"${name}" in script for name in template["variables"])
