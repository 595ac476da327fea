"""What is kept of the studies' runs, and docs/reproduction.md, which is written from it."""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from sparsity_audit.schema.record import TrainingRecord
from sparsity_audit.schema.report import AuditReport
from sparsity_audit.specs.study import expand, load_study
from sparsity_audit.studies.facts import run_facts
from sparsity_audit.studies.locate import find_runs
from sparsity_audit.training.history import History

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "zoo" / "results"
RUNS = sorted(path.parent for path in RESULTS.glob("*/*/record.json"))
KEPT = {"record.json", "history.safetensors", "audit.json"}
STUDIES = {
    "digits-study": ("digits-study",),
    "cifar-quarter-study": ("cifar-quarter-study", "cifar-quarter-seeds"),
}
"""Folders of results, and the studies whose runs lie there."""


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> tuple[ModuleType, ModuleType]:
    """Return collect_results and reproduction, found as Python finds them when one is run."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    return importlib.import_module("collect_results"), importlib.import_module("reproduction")


def record_of(run: Path) -> TrainingRecord:
    return TrainingRecord.model_validate_json((run / "record.json").read_bytes())


def test_results_hold_what_is_kept_and_nothing_else() -> None:
    assert RUNS
    assert {path.name for path in RESULTS.iterdir()} <= set(STUDIES)
    files = [path for path in RESULTS.rglob("*") if path.is_file()]
    assert {path.name for path in files} <= KEPT
    assert {path.parent for path in files} == set(RUNS)
    assert all((run / "history.safetensors").is_file() for run in RUNS)
    assert sum(path.stat().st_size for path in files) < 25_000_000


def test_every_result_is_a_finished_run_of_a_shipped_row() -> None:
    rows = {
        (folder, f"{run.row_id}-seed{run.seed}"): run.spec.digest()
        for folder, names in STUDIES.items()
        for name in names
        for run in expand(load_study(name))
    }
    digests = []
    for run in RUNS:
        record = record_of(run)
        assert record.status == "finished", run.name
        assert record.steps == record.total_steps
        assert record.digest == record.spec.digest() == rows[run.parent.name, run.name], run.name
        assert record.spec.seed == record.seed
        digests.append(record.digest)
    assert len(set(digests)) == len(digests), "a run is kept twice"


def test_histories_and_audits_speak_of_the_records_weights() -> None:
    for run in RUNS:
        record = record_of(run)
        notes: list[str] = []
        run_facts(run, record, note=notes.append)
        assert notes == [], run.name
        assert record.scale is not None
        history = History.load(run / "history.safetensors")
        for layer, inactive in record.scale.per_layer.items():
            assert int((abs(history.series(f"gamma/{layer}")[-1]) < 1e-3).sum()) == inactive, (run.name, layer)
        if (run / "audit.json").is_file():
            (audit,) = AuditReport.model_validate_json((run / "audit.json").read_bytes()).models
            assert {each.key: len(each.scale or ()) for each in audit.layers} == record.scale.per_layer, run.name
            assert audit.error is not None
            assert record.test is not None
            # An audit fuses normalisations into convolutions: an image on the fence may change sides.
            assert audit.error.top1 == pytest.approx(record.test.error, abs=1.5 / record.test.images), run.name


def test_no_result_names_a_place_on_a_machine() -> None:
    """No value is an absolute path, and what was audited is called by the result's own name."""
    for path in RESULTS.rglob("*.json"):
        text = path.read_text("utf-8")
        assert re.search(r'"(?:/|~/|[A-Za-z]:\\)|/(?:home|tmp|root|work|mnt|Users)/', text) is None, path
        if path.name == "audit.json":
            report = json.loads(text)
            assert report["config"]["models"] == [report["models"][0]["path"]] == [path.parent.name]
            assert report["config"]["data_root"] is None
            assert "\n" not in text.rstrip("\n")


def test_results_are_not_in_the_wheel() -> None:
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]
    assert "include-package-data" not in tools
    assert not (ROOT / "MANIFEST.in").exists()
    assert not [name for name in tools["packages"] if "results" in name]
    packed = {path for pattern in tools["package-data"]["sparsity_audit.zoo"] for path in (ROOT / "zoo").glob(pattern)}
    assert packed
    assert not [path for path in packed if RESULTS in path.parents]


def test_the_document_has_what_the_results_say(scripts: tuple[ModuleType, ModuleType]) -> None:
    text = (ROOT / "docs" / "reproduction.md").read_text("utf-8")
    blocks: dict[str, str] = scripts[1].blocks()
    for mark, content in blocks.items():
        (shown,) = scripts[1].pattern(mark).findall(text)
        assert shown[1] == content, f"{mark}: run python scripts/reproduction.py"
    marks = re.findall(r"^<!-- (?!exit: |not run: )([^/].*) -->$", text, re.MULTILINE)  # those say how a block is run
    assert sorted(marks) == sorted(blocks)


def test_every_table_of_the_document_has_cells_for_its_headings() -> None:
    text = (ROOT / "docs" / "reproduction.md").read_text("utf-8")
    tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert len(tables) == 2 + 3 * 3 + 1  # runs, full size; three of each study; predicted deaths
    for table in tables:
        assert len({line.count("|") for line in table.splitlines()}) == 1, table.splitlines()[0]


def test_the_document_tells_every_claim_once_a_study(scripts: tuple[ModuleType, ModuleType]) -> None:
    for name, study in scripts[1].studies().items():
        text = scripts[1].claims_block(study)
        for claim in study.report.claims:
            assert text.count(study.words(claim.claim)) == 1, (name, claim.id)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Return a folder of runs with one that has all that is kept, its audit as an audit is written."""
    folder = tmp_path / "runs" / "mine"
    shutil.copytree(next(result for result in RUNS if (result / "audit.json").is_file()), folder)
    report = json.loads((folder / "audit.json").read_text("utf-8"))
    report["models"][0]["path"] = str(folder)
    report["config"] |= {"models": [str(folder)], "data_root": str(tmp_path), "json": str(tmp_path / "a.json")}
    (folder / "audit.json").write_text(json.dumps(report, indent=1), "utf-8")
    (folder / "model.txt").write_text("weights")
    for path in folder.iterdir():
        os.utime(path, (1000, 1000))
    return folder


def collected(module: ModuleType, run: Path, target: Path) -> str:
    (found,) = find_runs(run.parent).values()
    said: str = module.collect(found, target)
    return said


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_collecting_keeps_three_files_and_no_place(scripts: tuple[ModuleType, ModuleType], run: Path) -> None:
    target = run.parent.parent / "results" / "row-seed0"
    collected(scripts[0], run, target)
    kept = contents(target)
    assert set(kept) == KEPT
    assert kept["record.json"] == (run / "record.json").read_bytes()
    assert kept["history.safetensors"] == (run / "history.safetensors").read_bytes()
    assert str(run.parent.parent).encode() not in kept["audit.json"]
    assert json.loads(kept["audit.json"])["models"][0]["path"] == "row-seed0"
    assert AuditReport.model_validate_json(kept["audit.json"]).models[0].totals.filters
    assert collected(scripts[0], run, target) == "up to date"


def test_an_older_run_replaces_nothing(scripts: tuple[ModuleType, ModuleType], run: Path) -> None:
    target = run.parent.parent / "results" / "row-seed0"
    collected(scripts[0], run, target)
    before = contents(target)
    (run / "record.json").write_bytes((run / "record.json").read_bytes() + b"\n")
    os.utime(run / "record.json", (900, 900))
    assert "newer" in collected(scripts[0], run, target)
    assert contents(target) == before


def test_a_newer_run_replaces_everything(scripts: tuple[ModuleType, ModuleType], run: Path) -> None:
    """The old audit was of other weights, so it goes, though the new run has none yet."""
    target = run.parent.parent / "results" / "row-seed0"
    collected(scripts[0], run, target)
    (run / "record.json").write_bytes((run / "record.json").read_bytes() + b"\n")
    (run / "audit.json").unlink()
    os.utime(run / "record.json", (1100, 1100))
    collected(scripts[0], run, target)
    assert set(contents(target)) == KEPT - {"audit.json"}
    assert (target / "record.json").read_bytes() == (run / "record.json").read_bytes()


def test_a_damaged_audit_is_left_out(
    scripts: tuple[ModuleType, ModuleType], run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = run.parent.parent / "results" / "row-seed0"
    (run / "audit.json").write_text("{}")
    collected(scripts[0], run, target)
    assert set(contents(target)) == KEPT - {"audit.json"}
    assert "left out" in capsys.readouterr().out
