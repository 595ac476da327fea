"""The sample repository and its gate: unchanged, worse, better, and with a waiver, by each way in."""

from __future__ import annotations

import datetime
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from workflow_steps import ROOT, run_steps

from sparsity_audit.checkpoints.checkpoint import read_checkpoint
from sparsity_audit.checkpoints.safetensors_io import write_safetensors
from sparsity_audit.cli.main import exit_code

SAMPLE = ROOT / "tests" / "sample_repository"
MODEL = ROOT / "zoo" / "checkpoints" / "digits-adam-l2.safetensors"
CONFIG = ["run", "--config", "model.audit.toml"]


@pytest.fixture(scope="module")
def with_baseline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the sample with its model and the baseline that was made when the gate was put up."""
    folder = tmp_path_factory.mktemp("sample") / "repository"
    shutil.copytree(SAMPLE, folder)
    shutil.copy(MODEL, folder / "model.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert exit_code([*CONFIG, "--update-baseline", "-q"]) == 0
    return folder


@pytest.fixture
def sample(with_baseline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "repository"
    shutil.copytree(with_baseline, folder)
    subprocess.run(["git", "init", "-q", folder], check=True)
    monkeypatch.chdir(folder)
    return folder


def change_gamma(folder: Path, change: Callable[[np.ndarray], None], norm: str = "c4.norm.weight") -> None:
    """Change γ of one layer of the model, as another training might have."""
    found = read_checkpoint(folder / "model.safetensors")
    tensors = {name: np.array(tensor.numpy()) for name, tensor in found.tensors.items()}
    change(tensors[norm])
    write_safetensors(folder / "model.safetensors", tensors, found.metadata)


def kill_one(gamma: np.ndarray) -> None:
    gamma[np.flatnonzero(np.abs(gamma) >= 1e-3)[0]] = 0


def revive_one(gamma: np.ndarray) -> None:
    gamma[np.flatnonzero(np.abs(gamma) < 1e-3)[0]] = 0.5


def audit(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    capsys.readouterr()
    code = exit_code([*CONFIG, *arguments])
    out, err = capsys.readouterr()
    return code, out + err


def test_unchanged_passes_and_what_is_known_stays_in_sight(sample: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (sample / "baseline.json").read_bytes()
    code, out = audit(capsys)
    assert code == 0
    assert "SA101 c4.conv: 12 of 32 filters inactive (|γ| < 0.001) (known: 0.375 in the baseline)" in out
    assert (sample / "baseline.json").read_bytes() == before


def test_one_more_dead_filter_fails(sample: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change_gamma(sample, kill_one)
    before = (sample / "baseline.json").read_bytes()
    code, out = audit(capsys, "--update-baseline")
    assert code == 1
    assert "worse: 0.375 in the baseline" in out
    assert "SA101[c4.conv] 13 of 32 filters inactive" in out
    assert (sample / "baseline.json").read_bytes() == before


def test_an_improvement_passes_is_told_and_is_the_new_mark(sample: Path, capsys: pytest.CaptureFixture[str]) -> None:
    worse = (sample / "model.safetensors").read_bytes()
    change_gamma(sample, revive_one)
    code, out = audit(capsys)
    assert code == 0
    assert "BETTER SA101[c4.conv] 37.5 % → 34.4 %" in out
    assert "--update-baseline tightens it" in out
    assert audit(capsys, "--update-baseline")[0] == 0
    (sample / "model.safetensors").write_bytes(worse)
    code, out = audit(capsys)
    assert code == 1
    assert "worse: 0.34375 in the baseline" in out


def waive(sample: Path, days: int) -> None:
    day = datetime.datetime.now(datetime.UTC).date() + datetime.timedelta(days=days)
    with (sample / "model.audit.toml").open("a") as file:
        file.write(f'[[waivers]]\nrule = "SA101"\nlayer = "c4.*"\nreason = "ships on Monday"\nexpires = {day}\n')


def test_a_waiver_holds_until_its_day_and_then_fails(sample: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change_gamma(sample, kill_one)
    config = (sample / "model.audit.toml").read_text()
    waive(sample, 1)
    code, out = audit(capsys, "--select", "SA101")
    assert code == 0, out
    assert "waived until" in out
    (sample / "model.audit.toml").write_text(config)
    waive(sample, -1)
    code, out = audit(capsys, "--select", "SA101")
    assert code == 1
    assert "its waiver ended on" in out
    assert "ships on Monday" in out


def test_an_expired_waiver_fails_what_the_baseline_knows(sample: Path, capsys: pytest.CaptureFixture[str]) -> None:
    waive(sample, -1)
    assert audit(capsys, "--select", "SA101")[0] == 1


def test_pytest_is_the_same_gate(sample: Path) -> None:
    run = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "model.audit.toml", "-k", "SA101"]
    done = subprocess.run(run, cwd=sample, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stdout
    assert "1 xfailed" in done.stdout
    change_gamma(sample, kill_one)
    done = subprocess.run(run, cwd=sample, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 1, done.stdout
    assert "worse: 0.375 in the baseline" in done.stdout


@pytest.fixture
def runner(tmp_path: Path) -> dict[str, str]:
    """Return an environment that finds this installation's program, and a ``gh`` that notes what it was asked."""
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "gh").write_text('#!/bin/sh\nprintf "%s\\n" "$@" > "$RUNNER_TEMP/gh"\n')
    (tools / "sparsity-audit").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m sparsity_audit "$@"\n')
    for tool in tools.iterdir():
        tool.chmod(0o755)
    return os.environ | {"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}


def test_the_actions_steps_pass_fail_and_tell(sample: Path, tmp_path: Path, runner: dict[str, str]) -> None:
    on_pull_request = {"github.event_name": "pull_request", "github.event.pull_request.number": "7"}
    place = tmp_path / "unchanged"
    done = run_steps(sample, place, runner, on_pull_request, config="model.audit.toml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed with" in (place / "summary").read_text()

    change_gamma(sample, kill_one)
    place = tmp_path / "worse"
    done = run_steps(sample, place, runner, on_pull_request, config="model.audit.toml")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "::error " in done.stdout
    assert "would use github/codeql-action/upload-sarif@v3" in done.stdout
    assert "worse: 0.375 in the baseline" in (place / "summary").read_text()
    outputs = dict(line.split("=", 1) for line in (place / "output").read_text().splitlines())
    assert outputs["exit-code"] == "1"
    reports = Path(outputs["reports"])
    assert sorted(file.name for file in reports.iterdir()) == [
        "junit.xml",
        "report.html",
        "report.json",
        "report.md",
        "report.sarif",
    ]
    places = [result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for result in sarif(reports)]
    assert set(places) == {"model.audit.toml"}
    asked = (place / "gh").read_text().splitlines()
    assert asked[:3] == ["pr", "comment", "7"]
    assert asked[-1] == str(reports / "report.md")


def sarif(reports: Path) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads((reports / "report.sarif").read_text())["runs"][0]["results"]
    return found


def test_the_action_tells_of_a_model_that_is_not_there(sample: Path, tmp_path: Path, runner: dict[str, str]) -> None:
    context = {"github.event_name": "push", "github.event.pull_request.number": ""}
    inputs = {"model": "absent.safetensors\n-x.safetensors", "rules": "default", "args": "-q"}
    done = run_steps(sample, tmp_path / "place", runner, context, **inputs)
    assert done.returncode == 4, done.stdout + done.stderr
    assert "absent.safetensors" in done.stderr
    assert "-x.safetensors" in done.stderr
    assert not (tmp_path / "place" / "gh").exists()
    assert "upload-sarif" not in done.stdout


def test_the_pipelines_script_leaves_what_it_promises(sample: Path, runner: dict[str, str]) -> None:
    job = yaml.safe_load((ROOT / "ci" / "gitlab" / "sparsity-audit.gitlab-ci.yml").read_text())["sparsity-audit"]
    script = "set -e\n" + "\n".join(job["script"])
    variables = {
        "SPARSITY_AUDIT_INSTALL": "none",
        "SPARSITY_AUDIT_MODEL": "",
        "SPARSITY_AUDIT_OPTIONS": "--config model.audit.toml --select SA101",
    }
    done = subprocess.run(["bash", "-c", script], env=runner | variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (sample / job["artifacts"]["reports"]["junit"]).is_file()
    assert (sample / "sparsity-audit-reports" / "report.html").is_file()


def test_the_hook_stops_a_commit(sample: Path, runner: dict[str, str], tmp_path: Path) -> None:
    (hook,) = (h for h in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text()) if h["language"] == "system")
    local = {"repos": [{"repo": "local", "hooks": [hook]}]}
    (sample / ".pre-commit-config.yaml").write_text(yaml.safe_dump(local))
    environment = runner | {"PRE_COMMIT_HOME": str(tmp_path / "cache")}
    subprocess.run(["git", "add", "-A"], check=True)
    command = [sys.executable, "-m", "pre_commit", "run", "--all-files"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "SA101 dead-filter-fraction-by-scale" in done.stdout
    (sample / "model.safetensors").unlink()
    shutil.copy(ROOT / "zoo" / "checkpoints" / "digits-sgd-l2.safetensors", sample / "model.safetensors")
    subprocess.run(["git", "add", "-A"], check=True)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
