"""``compare``, and ``run`` over several models: tables, verdicts and exit codes from run folders."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from sparsity_audit.cli.main import exit_code
from sparsity_audit.schema.record import ScaleCount, SplitResult, TrainingRecord
from sparsity_audit.schema.report import AuditReport
from sparsity_audit.specs.load import load_spec

# Error and inactive filters by regulariser and seed; every arm has the decay budget, and comparable errors.
PLANTED = {"l2": [(0.020, 60), (0.022, 64), (0.021, 62)], "wd": [(0.021, 20), (0.020, 22), (0.023, 18)]}
FILTERS = 200


def plant(root: Path, kind: str, seed: int, error: float, inactive: int) -> None:
    """Write the record of a finished run, as a trainer would have left it; no weights."""
    spec = load_spec("digits-adam-l2", [f"regularizer.kind={kind}"], seed=seed).spec
    result = SplitResult(images=1000, loss=0.1, error=error)
    record = TrainingRecord(
        name=f"adam-{kind}",
        spec=spec,
        digest=spec.digest(),
        seed=seed,
        status="finished",
        steps=12000,
        total_steps=12000,
        steps_per_epoch=35,
        decay_budget=9.5 if kind == "wd" else None,
        rate_sum=9.5,
        parameter_groups=[],
        train=result,
        test=result,
        scale=ScaleCount(filters=FILTERS, inactive=inactive, per_layer={"c1.conv": inactive}),
    )
    folder = root / f"{kind}-{seed}"
    folder.mkdir(parents=True)
    (folder / "record.json").write_text(record.to_json())


@pytest.fixture
def planted() -> Path:
    root = Path("planted")
    for kind, found in PLANTED.items():
        for seed, (error, inactive) in enumerate(found):
            plant(root, kind, seed, error, inactive)
    return root


def test_the_gate_fails_on_the_planted_disparity(planted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The oracle by hand: differences 40, 42 and 44 of 200 filters; t(0.975, 2) = 4.303."""
    assert exit_code(["compare", str(planted), "--json", "r.json", "--markdown", "r.md"]) == 1
    told = capsys.readouterr().out
    (study,) = AuditReport.model_validate_json(Path("r.json").read_text()).studies
    (result,) = [result for result in study.results if result.rule == "SA301"]
    assert (result.outcome, result.severity, result.n) == ("failed", "error", 3)
    assert result.value == pytest.approx(0.21)
    half = 4.302653 * 0.01 / math.sqrt(3)
    assert result.interval == pytest.approx((0.21 - half, 0.21 + half), abs=1e-6)
    assert "SA301 l2-against-weight-decay" in told
    assert "21.0 %" in told
    assert "31.0 ± 1.0" in told  # adam-l2: 60, 64, 62 of 200
    assert "claims of the paper" in told
    assert "❌" in Path("r.md").read_text().splitlines()[0]


def test_limits_exit_zero_and_fail_on(planted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["compare", str(planted), "--exit-zero", "-q"]) == 0
    Path("sparsity-audit.toml").write_text("[limits]\nSA301 = { warning = { max = 0.5 }, error = { max = 0.9 } }\n")
    assert exit_code(["compare", str(planted)]) == 0
    assert exit_code(["compare", str(planted), "--select", "SA101"]) == 4
    assert "none of the chosen rules compares runs" in capsys.readouterr().err


def test_one_seed_is_inconclusive(capsys: pytest.CaptureFixture[str]) -> None:
    plant(Path("one"), "l2", 0, 0.02, 60)
    plant(Path("one"), "wd", 0, 0.02, 20)
    assert exit_code(["compare", "one"]) == 0
    told = capsys.readouterr().out
    assert "SA301 inconclusive ×1: one seed" in told


def test_pictures_and_reports_in_a_folder(planted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["compare", str(planted), "-o", "out", "-q"]) == 1
    names = {path.name for path in Path("out").iterdir()}
    assert names >= {"report.json", "report.md", "planted-tradeoff.png", "planted-tradeoff.svg"}
    assert Path("out/planted-tradeoff.png").read_bytes().startswith(b"\x89PNG")
    capsys.readouterr()


def test_a_study_says_what_was_not_run(planted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.toml").write_text(
        'title = "Mine"\nbase = "digits-adam-l2"\nseeds = [0, 1, 2]\n'
        '[axes]\n"regularizer.kind" = ["l2", "wd", "none"]\n'
    )
    assert exit_code(["compare", "mine.toml", "--runs", str(planted), "--json", "r.json"]) == 1
    (study,) = AuditReport.model_validate_json(Path("r.json").read_text()).studies
    assert [(run.seed, run.reason) for run in study.missing] == [(0, "not run"), (1, "not run"), (2, "not run")]
    assert [len(row.seeds) for row in study.rows] == [3, 3, 0]
    assert "not run" in capsys.readouterr().out
    assert exit_code(["run", "mine.toml"]) == 5  # its runs are not in runs/
    Path("runs").symlink_to(planted)
    assert exit_code(["run", "mine.toml"]) == 1
    assert "SA301" in capsys.readouterr().out


def test_beside_the_paper_the_scales_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    spec = load_spec("cifar-quarter-10-adam-l2").spec
    plant(Path("runs"), "l2", 0, 0.176, 46)
    record = json.loads(Path("runs/l2-0/record.json").read_text())
    record |= {"spec": json.loads(spec.model_dump_json(by_alias=True)), "digest": spec.digest(), "name": "quarter"}
    Path("runs/l2-0/record.json").write_text(json.dumps(record))
    assert exit_code(["compare", "runs", "--paper", "table1"]) in (0, 5)
    told = capsys.readouterr().out
    assert "note: not the same experiment: ours basicnet 32-0.25x for 10,000 iterations; the paper's basicnet" in told
    line = next(line for line in told.splitlines() if line.startswith("table1-cifar10-adam-l2-1e-3"))
    assert line.split()[1:] == ["–", "85.0", "23.0", "83.0", "17.6", "13.1"]


def test_models_trained_elsewhere_join(planted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from cli_helpers import write_sick

    write_sick(Path("m.safetensors"))
    Path("m.toml").write_text(
        '[[model]]\nname = "theirs"\npath = "m.safetensors"\ntest_error = 0.02\nbatch_size = 40\n'
        'optimizer = { name = "adam", lr = 1e-3 }\nregularizer = { kind = "l2", strength = 1e-3 }\n'
    )
    assert exit_code(["compare", str(planted), "--manifest", "m.toml", "--json", "r.json"]) == 1
    (study,) = AuditReport.model_validate_json(Path("r.json").read_text()).studies
    (theirs,) = [run for run in study.runs if run.name == "theirs"]
    assert (theirs.by_scale, theirs.error, theirs.digest) == (0.2, 0.02, None)
    capsys.readouterr()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nowhere"], 4, "no study 'nowhere'"),
        (["digits-study"], 4, "no folder runs: train the study's runs with study run"),
        (["empty"], 5, ""),
        (["empty", "--paper", "tabel1"], 4, "no study 'tabel1' (did you mean 'table1'?)"),
        (["empty", "--claims", "no.toml"], 4, "no.toml: cannot read the claims"),
        (["empty", "--manifest", "no.toml"], 4, "no.toml: cannot read the manifest"),
        (["empty", "--json", "no/where.json"], 4, "there is no folder no"),
        (["empty", "-o", "file"], 4, "--output file: cannot be created"),
    ],
)
def test_bad_input(arguments: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("empty").mkdir()
    Path("file").write_text("x")
    assert exit_code(["compare", *arguments]) == code
    told = capsys.readouterr()
    assert message in told.err
    assert told.err.count("\n") == (1 if code == 4 else 0)
