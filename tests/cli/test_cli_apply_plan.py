"""``apply-plan``: the same slim model elsewhere, bit for bit, and one line for every plan that does not fit."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from cli_helpers import DIGITS_MODEL, call
from cli_prune_nets import PLANTED, digits, logits, make_net, save

from sparsity_audit.cli.main import exit_code
from sparsity_audit.schema.prune_report import PruneReport

OUT = ("-o", "slim.safetensors", "--no-latency", "-q")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A planted model, and what ``prune`` wrote of it."""
    folder = tmp_path_factory.mktemp("planned")
    model = save(folder / "model.safetensors", make_net(PLANTED))
    slim, plan, report = (folder / name for name in ("slim.safetensors", "plan.json", "report.json"))
    outputs = ["-o", slim, "--plan", plan, "--json", report]
    arguments = ["prune", model, "--data", "digits", "--class", "small", "--no-latency", "-q", *outputs]
    assert exit_code([str(argument) for argument in arguments]) == 0
    return SimpleNamespace(model=model, slim=slim, plan=plan, report=report)


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_plan_gives_the_same_file_without_any_data(made, capsys):
    ended = call(capsys, "apply-plan", made.model, made.plan, *OUT[:3], "--json", "out.json", "--markdown", "out.md")
    assert (ended.code, ended.err) == (0, "")
    assert Path("slim.safetensors").read_bytes() == made.slim.read_bytes()
    report = PruneReport.model_validate_json(Path("out.json").read_text())
    assert (report.corpus, report.latency, report.output) == (None, [], "slim.safetensors")
    assert {figures.inputs for figures in report.plan.verification} >= {"random"}
    assert [result.pruning_class for result in report.classes] == ["small"]
    assert "verified on random images" in ended.out
    assert "7 of 60 filters removed (small)" in ended.out.splitlines()[-1]
    assert Path("out.md").read_text().startswith("## sparsity-audit prune: 7 of 60 filters removed (small)")


def test_with_data_the_test_error_is_told(made, capsys):
    ended = call(capsys, "apply-plan", made.model, made.plan, "--data", "digits", "--dry-run", "--no-latency")
    assert (ended.code, ended.err, files(Path())) == (0, "", [])
    before, after = (logits(path, digits()).argmax(1) for path in (made.model, made.slim))
    row = next(line for line in ended.out.splitlines() if line.startswith("changed predictions of 397"))
    assert int(row.split()[-1]) == int((before != after).sum())


@pytest.fixture
def stubbed(monkeypatch):
    """Return the plans that reach the session, where nothing is then made of them."""
    seen = []

    def apply_plan(_subject, _config, _corpora, plan, **_options):
        seen.append(plan)
        raise KeyboardInterrupt

    monkeypatch.setattr("sparsity_audit.cli.prune_session.prepare", lambda *_a, **_k: SimpleNamespace(known=True))
    monkeypatch.setattr("sparsity_audit.slimming.session.apply_plan", apply_plan)
    return seen


def test_reports_hold_plans_too(made, stubbed, capsys):
    plan = json.loads(made.plan.read_text())
    other = copy.deepcopy(plan) | {"model_sha256": "0" * 64}
    models = [{"sha256": "0" * 64, "plan": other}, {"sha256": plan["model_sha256"], "plan": plan}]
    Path("run.json").write_text(json.dumps({"schema": 1, "models": models}))
    for path in (made.plan, made.report, "run.json"):
        assert call(capsys, "apply-plan", made.model, path, *OUT).code == 2
    assert [found.model_dump(mode="json", by_alias=True) for found in stubbed] == [plan] * 3


def test_a_report_without_a_plan_for_this_model(made, stubbed, capsys):
    plan = json.loads(made.plan.read_text())
    Path("run.json").write_text(json.dumps({"models": [{"sha256": "0" * 64, "plan": plan}]}))
    call(capsys, "apply-plan", made.model, "run.json", *OUT).refused("run.json", plan["model_sha256"][:12])
    Path("run.json").write_text(json.dumps({"models": [{"sha256": plan["model_sha256"], "plan": None}]}))
    call(capsys, "apply-plan", made.model, "run.json", *OUT).refused("run.json", "nothing can go")
    assert stubbed == []


MALFORMED = {
    "empty": b"",
    "cut": b'{"schema": 1, "layers": [',
    "binary": b"\x80\x02\xff\x00",
    "a list": b"[1, 2]",
    "a number": b"NaN",
    "nested": b"[" * 100_000,
    "of nothing": b"{}",
    "of something else": b'{"network": {"name": "basicnet"}}',
    "a model": DIGITS_MODEL.read_bytes()[:4000],
}


@pytest.mark.parametrize("content", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_file_that_is_no_plan(made, capsys, content):
    Path("plan.json").write_bytes(content)
    call(capsys, "apply-plan", made.model, "plan.json", *OUT).refused("plan.json")
    assert files(Path()) == ["plan.json"]


def test_a_plan_that_is_not_there(made, capsys, tmp_path):
    call(capsys, "apply-plan", made.model, "absent.json", *OUT).refused("absent.json", "No such file")
    call(capsys, "apply-plan", made.model, tmp_path, *OUT).refused(str(tmp_path), "directory")
    call(capsys, "apply-plan", made.model).refused("PLAN")


def edited(made, **changes):
    """Write the plan with keys changed, those of its first layer after ``layer_``; return its path."""
    plan = json.loads(made.plan.read_text())
    for key, value in changes.items():
        place = plan["layers"][0] if key.startswith("layer_") else plan
        place[key.removeprefix("layer_")] = value
    Path("plan.json").write_text(json.dumps(plan))
    return "plan.json"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"layers": None}, ["plan.json", "layers"]),
        ({"layers": [3]}, ["plan.json", "layers.0"]),
        ({"criterion": "guess"}, ["plan.json", "criterion"]),
        ({"unheard_of": 1}, ["plan.json", "unheard_of"]),
        ({"schema": 2}, ["plan.json", "schema"]),
        ({"settings": {"round_to": 0}}, ["plan.json", "round_to"]),
        ({"layer_removed": ["first"]}, ["plan.json", "layers.0.removed"]),
        ({"layer_held": {"0": "much"}}, ["plan.json", "layers.0.held"]),
    ],
)
def test_a_plan_that_does_not_fit_its_schema(made, capsys, changes, said):
    call(capsys, "apply-plan", made.model, edited(made, **changes), *OUT).refused(*said)
    assert files(Path()) == ["plan.json"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model_sha256": "0" * 64}, "another checkpoint"),
        ({"layer_removed": [4]}, "c2.conv"),
        ({"layer_removed": [-1]}, "c2.conv"),
        ({"layer_filters": 5}, "c2.conv"),
        ({"layer_key": "c9.conv"}, "c9.conv"),
        ({"layer_held": {}}, "c2.conv"),
    ],
)
def test_a_plan_that_does_not_fit_the_model(made, capsys, changes, said):
    call(capsys, "apply-plan", made.model, edited(made, **changes), *OUT).refused(said)
    assert files(Path()) == ["plan.json"]


def test_a_plan_cannot_empty_a_layer(made, capsys):
    every = list(range(4))
    changes = {"layer_removed": every, "layer_classes": {"lossless": every}, "layer_held": dict.fromkeys(every, -0.5)}
    call(capsys, "apply-plan", made.model, edited(made, **changes), *OUT).refused("c2.conv")
    assert files(Path()) == ["plan.json"]


def test_outputs_are_not_the_inputs(made, capsys, tmp_path):
    plan = edited(made)
    model = tmp_path / "model.safetensors"
    model.write_bytes(made.model.read_bytes())
    call(capsys, "apply-plan", model, plan).refused("-o FILE.safetensors", "--dry-run")
    call(capsys, "apply-plan", model, plan, "-o", model).refused("-o", "input")
    call(capsys, "apply-plan", model, plan, *OUT, "--json", "plan.json").refused("--json plan.json", "input")
    call(capsys, "apply-plan", model, plan, "-o", "absent/slim.safetensors").refused("folder absent")
    assert files(tmp_path) == ["model.safetensors", "plan.json"]


def test_the_plan_of_one_model_is_refused_for_another(made, capsys):
    call(capsys, "apply-plan", DIGITS_MODEL, made.plan, *OUT).refused(DIGITS_MODEL.name, "another checkpoint")
    call(capsys, "apply-plan", made.slim, made.plan, *OUT).refused("slim.safetensors", "another checkpoint")
    assert files(Path()) == []
