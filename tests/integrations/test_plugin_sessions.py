"""How a session over audit files ends: exit codes, refusals, baselines, waivers, and the files it leaves."""

from __future__ import annotations

import json

import pytest
from audit_folder import RULE, AuditFolder, write_linear

from sparsity_audit.engine.configuration import load_configuration
from sparsity_audit.engine.session import Session
from sparsity_audit.schema.report import AuditReport

SKIPPED = 'select = ["SA102"]'
"""Needs data."""


def test_nothing_decided_ends_with_5(folder: AuditFolder) -> None:
    folder.good()
    folder.audit("good.safetensors", text=SKIPPED)
    folder.pytester.makepyfile(test_own="def test_own():\n    pass\n")
    for arguments in (("m.audit.toml",), (), ("-p", "no:terminal")):
        assert folder.run(*arguments).ret == 5
    assert "no audit item was decided: exit code 5" in folder.run().stdout.str()
    assert folder.run("--co").ret == 0
    assert folder.run("test_own.py").ret == 0


def test_something_decided_does_not(folder: AuditFolder) -> None:
    folder.good()
    folder.audit("good.safetensors", text='select = ["SA101", "SA102"]')
    assert folder.run().ret == 0
    assert folder.run("-k", "SA102").ret == 5


def test_nothing_decided_and_a_failure_stays_1(folder: AuditFolder) -> None:
    folder.good()
    folder.audit("good.safetensors", text=SKIPPED)
    folder.pytester.makepyfile(test_own="def test_own():\n    assert False\n")
    result = folder.pytester.runpytest_inprocess()
    assert result.ret == 1
    assert "exit code 5" not in result.stdout.str()


def test_a_model_without_a_feature_layer_is_not_audited_as_in_run(folder: AuditFolder) -> None:
    write_linear(folder.path / "linear.safetensors")
    folder.audit("linear.safetensors", text="select = []")
    result = folder.run("-rs")
    assert result.ret == 5
    assert "there is no feature layer" in result.stdout.str()


BAD = {
    "absent.safetensors": "no such file",
    "damaged.safetensors": "fetch it again",
    "spec.toml": "is a spec",
    "study.toml": "is a study",
}


@pytest.mark.parametrize("model", BAD)
def test_a_model_that_cannot_be_one_ends_collection(folder: AuditFolder, model: str) -> None:
    folder.good("damaged.safetensors").write_bytes(b"\x40\0\0\0\0\0\0\0{ no header")
    (folder.path / "spec.toml").write_text("schema = 1\n")
    (folder.path / "study.toml").write_text('schema = 1\nbase = "digits-adam-l2"\n')
    folder.good()
    folder.audit("good.safetensors", model)
    result = folder.run()
    assert result.ret == 2
    result.assert_outcomes(errors=1)
    assert BAD[model] in result.stdout.str()


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("models = [", "not TOML"),
        ('models = ["good.safetensors"]\nmodel = 1', "model"),
        ("models = []", "names no model"),
        ('models = ["good.safetensors"]\nselect = ["SA1x"]', "SA1x"),
        ('models = ["good.safetensors"]\nbaseline = "absent.json"', "absent.json"),
        ('models = ["good.safetensors"]\njson = "absent/r.json"', "there is no folder"),
        ('models = ["good.safetensors"]\njson = "good.safetensors"', "is the input"),
        ('models = ["a\\n\\u001b[31mNASTY.safetensors"]', "\\x1b[31mNASTY"),
    ],
)
def test_a_bad_audit_file_is_told_in_one_line(folder: AuditFolder, text: str, part: str) -> None:
    before = folder.good().read_bytes()
    (folder.path / "m.audit.toml").write_text(text)
    result = folder.run()
    assert result.ret == 2
    lines = [line for line in result.outlines if part in line]
    assert lines, result.stdout.str()
    at = result.outlines.index(next(line for line in result.outlines if line.startswith("___")))
    assert result.outlines[at + 2].startswith(("=", "_")), result.stdout.str()
    assert (folder.path / "good.safetensors").read_bytes() == before


def test_data_that_cannot_be_read_fails_every_item_with_one_line(folder: AuditFolder) -> None:
    folder.good()
    (folder.path / "empty").mkdir()
    folder.audit("good.safetensors", text='data = "empty/"\nselect = ["SA1"]\njson = "r.json"')
    result = folder.run_process()
    failed = result.parseoutcomes()["failed"]
    assert failed > 1
    assert result.ret == 1
    line = next(line for line in result.outlines if line.startswith("not audited: "))
    assert result.outlines.count(line.partition(": good.safetensors: ")[2]) == failed
    assert not (folder.path / "r.json").exists()


def test_an_unknown_architecture_fails_every_item_with_one_line(folder: AuditFolder) -> None:
    folder.good()
    folder.audit("good.safetensors", text='data = "digits"\nlimit = 20\nselect = ["SA101", "SA102"]')
    result = folder.run_process()
    result.assert_outcomes(failed=2)
    assert result.ret == 1


def baseline(folder: AuditFolder) -> None:
    """Write the report of ``sick.safetensors`` as it is."""
    config, file = load_configuration({}, file=folder.audit("sick.safetensors"))
    from sparsity_audit.engine.rulepacks import choose, load_rules

    rules = choose(load_rules(config.rules), config.select, config.ignore)
    (folder.path / "baseline.json").write_text(Session(config, rules, config_file=file).run(config.models).to_json())


def test_a_baseline(folder: AuditFolder) -> None:
    folder.sick()
    baseline(folder)
    folder.audit("sick.safetensors", text='baseline = "baseline.json"')
    known = folder.run("-rx")
    known.assert_outcomes(xfailed=1)
    assert known.ret == 0
    known.stdout.fnmatch_lines([f"XFAIL *{RULE} - *b.conv known*"])
    folder.run("--runxfail").assert_outcomes(failed=1)
    folder.sick(dead=5)
    worse = folder.run()
    worse.assert_outcomes(failed=1)
    assert "worse" in worse.stdout.str()
    folder.sick(dead=0)
    better = folder.run()
    better.assert_outcomes(passed=1)
    assert "better: sick.safetensors: SA101[b.conv] 40.0 %" in better.stdout.str()


@pytest.mark.parametrize(("day", "outcome"), [("2999-01-01", "xfailed"), ("2001-01-01", "failed")])
def test_waivers(folder: AuditFolder, day: str, outcome: str) -> None:
    folder.sick()
    folder.audit("sick.safetensors", text=f'[[waivers]]\nrule = "SA101"\nreason = "a new run"\nexpires = {day}')
    result = folder.run("-rx")
    result.assert_outcomes(**{outcome: 1})
    assert f"{day}: a new run" in result.stdout.str()


def test_warnings_are_told_and_gate_where_asked(folder: AuditFolder) -> None:
    folder.sick(dead=2)
    folder.audit("sick.safetensors")
    told = folder.run()
    told.assert_outcomes(passed=1)
    assert "warning SA101 b.conv: 2 of 10 filters inactive" in told.stdout.str()
    folder.audit("sick.safetensors", text='fail_on = "warning"')
    folder.run().assert_outcomes(failed=1)


@pytest.mark.parametrize("workers", [(), ("-n", "2"), ("-p", "no:terminal")])
def test_outputs_hold_all_models_and_the_exit_code_of_run(folder: AuditFolder, workers: tuple[str, ...]) -> None:
    folder.good()
    folder.sick()
    folder.audit("good.safetensors", "sick.safetensors", text='json = "r.json"\nmarkdown = "r.md"')
    assert folder.run_process(*workers).ret == 1
    report = AuditReport.model_validate_json((folder.path / "r.json").read_text())
    assert [model.path for model in report.models] == ["good.safetensors", "sick.safetensors"]
    assert [len(model.results) for model in report.models] == [2, 2]
    assert report.exit_code == 1
    text = (folder.path / "r.md").read_text()
    assert "good.safetensors" in text
    assert "sick.safetensors" in text
    assert json.loads((folder.path / "r.json").read_text())["config_file"] == "m.audit.toml"


def test_an_output_that_cannot_be_written_after_all_ends_with_4(folder: AuditFolder) -> None:
    folder.good()
    (folder.path / "out").mkdir()
    folder.audit("good.safetensors", text='json = "out/r.json"')
    folder.pytester.makepyfile(test_own="import pathlib\n\ndef test_own():\n    pathlib.Path('out').rmdir()\n")
    result = folder.run()
    assert result.ret == 4
    assert "out/r.json: cannot be written" in result.stdout.str()


def test_a_rule_that_crashes_fails(folder: AuditFolder) -> None:
    folder.good()
    folder.audit("good.safetensors")
    folder.pytester.makeconftest(
        "def pytest_collection_finish():\n"
        "    from sparsity_audit.engine import evaluate\n"
        "    def crash(*_):\n        return ZeroDivisionError('by zero')\n"
        "    evaluate._measure = crash\n"
    )
    result = folder.run_process()  # nothing would put the measure back in this one
    result.assert_outcomes(failed=1)
    assert "crashed" in result.stdout.str()
    assert "ZeroDivisionError: by zero" in result.stdout.str()
