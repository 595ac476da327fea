"""``prune --pareto`` and ``prune --compare``: what is written, what is said, and what is refused before any work."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from cli_helpers import DIGITS_MODEL, call

from sparsity_audit.checkpoints.checkpoint import read_checkpoint
from sparsity_audit.cli.main import exit_code
from sparsity_audit.cli.prune_more import Tuning, _settings
from sparsity_audit.cli.prune_session import Ready
from sparsity_audit.errors import CheckpointError
from sparsity_audit.models.load import load_model
from sparsity_audit.schema.config import AuditConfig
from sparsity_audit.schema.slim_tables import ComparisonReport, ParetoReport, TuningSettings
from sparsity_audit.slimming import pareto, slim_file

PARETO = ("prune", DIGITS_MODEL, "--data", "digits", "--no-latency", "--points", "2", "--limit", "200")
COMPARE = ("prune", DIGITS_MODEL, "--data", "digits", "--compare", "--class", "small", "--no-latency", "--limit", "200")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("family") / "slim"
    assert exit_code([*map(str, PARETO), "-q", "--pareto", str(folder), "--bn-reestimate", "100"]) == 0
    return folder


def test_a_family_is_a_folder_of_models_table_and_picture(written: Path) -> None:
    report = ParetoReport.model_validate_json((written / "pareto.json").read_text())
    names = [f"{point.name}.safetensors" for point in report.points]
    assert len(names) == 3
    wanted = {*names, "pareto.json", "pareto.md", "pareto.png", "pareto.svg"}
    assert {path.name for path in written.iterdir()} == wanted
    assert [path.name for path in written.parent.iterdir()] == ["slim"]
    assert (written / "pareto.png").read_bytes()[:4] == b"\x89PNG"
    text = (written / "pareto.md").read_text()
    for point in report.points:
        assert f"| {point.name} |" in text
        assert point.tuned is not None


def test_each_model_loads_and_has_the_size_that_is_told(written: Path) -> None:
    report = ParetoReport.model_validate_json((written / "pareto.json").read_text())
    for point in report.points:
        loaded = load_model(read_checkpoint(written / f"{point.name}.safetensors"))
        convolutions = [part for part in loaded.module.modules() if isinstance(part, torch.nn.Conv2d)]
        assert sum(part.weight.numel() for part in convolutions) == point.params
        assert sum(part.out_channels for part in convolutions) == report.filters - point.removed


def test_a_model_of_the_family_is_what_was_tuned(capsys, written: Path, tmp_path: Path) -> None:
    """Its error under ``run`` is the error after tuning."""
    point = ParetoReport.model_validate_json((written / "pareto.json").read_text()).points[-1]
    assert point.tuned is not None
    assert point.tuned.loss != point.test.loss
    model, out = written / f"{point.name}.safetensors", tmp_path / "r.json"
    ended = call(capsys, "run", model, "--data", "digits", "--limit", "200", "--json", out, "--exit-zero", "-q")
    assert ended.code == 0
    error = json.loads(out.read_text())["models"][0]["error"]
    assert error["top1"] == pytest.approx(point.tuned.error)


def test_flips_are_those_of_the_models_spec_else_of_the_paper(written: Path) -> None:
    report = ParetoReport.model_validate_json((written / "pareto.json").read_text())
    assert report.tuning == TuningSettings(bn_images=100, batch_size=100, seed=0, flip=False)

    def flips(corpus: str, spec: bool | None) -> bool:
        known = None if spec is None else SimpleNamespace(spec=SimpleNamespace(data=SimpleNamespace(flip=spec)))
        corpora = SimpleNamespace(statistics=SimpleNamespace(name=corpus))
        ready = Ready(SimpleNamespace(metadata=known), AuditConfig(batch_size=1, seed=3), corpora)
        settings = _settings(Tuning(finetune=7, finetune_lr=0.2), ready)
        assert settings is not None
        assert (settings.steps, settings.lr, settings.batch_size, settings.seed) == (7, 0.2, 2, 3)
        return settings.flip

    assert [flips("cifar10", None), flips("digits", None), flips("digits", True), flips("cifar10", False)] == [
        1,
        0,
        1,
        0,
    ]


def test_a_family_is_told_and_a_dry_run_writes_nothing(capsys, tmp_path: Path) -> None:
    ended = call(capsys, *PARETO, "--pareto", "slim", "--dry-run", "--json", "f.json")
    assert ended.code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f.json"]
    report = ParetoReport.model_validate_json(Path("f.json").read_text())
    assert max(len(line) for line in ended.out.partition("----")[2].splitlines()) <= 100
    for point in report.points:
        line = next(line for line in ended.out.splitlines() if line.startswith(point.name))
        assert f"{point.removed}" in line.split()
        assert f"{100 * point.test.error:.2f}" in line.split()
    assert "nothing was written" in ended.out


def test_methods_are_told_and_written(capsys) -> None:
    ended = call(capsys, *COMPARE, "--share", "0.5", "--json", "c.json", "--markdown", "c.md")
    assert ended.code == 0
    report = ComparisonReport.model_validate_json(Path("c.json").read_text())
    assert [block.aim for block in report.blocks] == ["ours", "share"]
    assert report.blocks[1].wanted == 116
    assert "116 filters removed (50.0 %)" in ended.out
    assert max(len(line) for line in ended.out.partition("----")[2].splitlines()) <= 100
    text = Path("c.md").read_text()
    for row in report.blocks[1].rows:
        name = row.method if len(row.cuts) < 2 else f"{row.method}, mean of 3"
        assert any(line.startswith(name) for line in ended.out.splitlines())
        assert name.replace("|", "&#124;") in text
        for cut in row.cuts[:1] if len(row.cuts) == 1 else ():
            assert f"{100 * cut.test.error:.2f} %" in ended.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--pareto", "d", "-o", "x.safetensors"), ("-o", "one slim model")),
        (("--pareto", "d", "--plan", "p.json"), ("--plan", "one slim model")),
        (("--compare", "--max-error-increase", "0.1"), ("--max-error-increase",)),
        (("--pareto", "d", "--points", "1"), ("--points 1",)),
        (("--pareto", "d", "--threshold", "0"), ("--threshold 0",)),
        (("--pareto", "nowhere/d"), ("nowhere", "create it first")),
        (("--pareto", "file"), ("is a file",)),
        (("--pareto", "full"), ("is not empty",)),
        (("--pareto", "d", "--finetune-lr", "0.1"), ("--finetune",)),
        (("--pareto", "d", "--finetune", "5", "--finetune-lr", "inf"), ("--finetune-lr inf",)),
        (("--pareto", "d", "--finetune", "0"), ("--finetune 0",)),
        (("--compare", "--bn-reestimate", "1"), ("--bn-reestimate 1",)),
        (("--compare", "--share", "1"), ("--share 1",)),
        (("--compare", "--json", "full"), ("--json full", "is a folder")),
        (("--compare", "--json", "a", "--markdown", "a"), ("--markdown a",)),
    ],
)
def test_bad_options_are_one_line_and_leave_nothing(capsys, tmp_path: Path, arguments, words) -> None:
    Path("full").mkdir()
    (tmp_path / "full" / "x").touch()
    Path("file").touch()
    call(capsys, "prune", DIGITS_MODEL, "--data", "digits", *arguments).refused(*words)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "full"]


def test_without_data_there_is_nothing_to_compare(capsys) -> None:
    call(capsys, "prune", DIGITS_MODEL, "--compare").refused("--compare", "give --data")
    call(capsys, "prune", DIGITS_MODEL, "--pareto", "d").refused("--pareto", "give --data")


@pytest.mark.parametrize("failure", [CheckpointError("disk full"), KeyboardInterrupt()])
def test_what_fails_half_way_leaves_nothing(capsys, monkeypatch, tmp_path: Path, failure: BaseException) -> None:
    write, seen = slim_file.write_slim, []

    def failing(*arguments) -> None:
        write(*arguments)
        seen.append(arguments)
        if len(seen) == 2:
            raise failure

    monkeypatch.setattr(slim_file, "write_slim", failing)
    ended = call(capsys, *PARETO, "-q", "--pareto", "slim")
    assert ended.code == (4 if isinstance(failure, CheckpointError) else 2)
    assert len(seen) == 2
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_stands_empty_is_filled(capsys, monkeypatch, tmp_path: Path) -> None:
    Path("slim").mkdir()
    monkeypatch.setattr(pareto._Family, "_wanted", lambda _self: [])
    assert call(capsys, *PARETO, "-q", "--pareto", "slim").code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["slim"]
    assert sorted(path.name for path in Path("slim").iterdir()) == ["pareto.json", "pareto.md"]
