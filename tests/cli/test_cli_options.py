"""Options of ``run``: selection, output, and what the pass over the images is told."""

from __future__ import annotations

import json

import jsonschema
import pytest
from cli_helpers import DIGITS_MODEL, call, write_healthy, write_net, write_sick

from sparsity_audit.schema.report import AuditReport

DATA = ("--data", "digits")


@pytest.fixture
def collected(tmp_path, capsys):
    """Return the items that ``run`` would check on a network of two layers."""
    net = write_sick(tmp_path / "m.safetensors")

    def items(*arguments):
        out = call(capsys, "run", net, "--collect-only", "-q", *arguments).out
        return [line.partition("::")[2] for line in out.splitlines() if "::" in line]

    return items


def test_select_and_ignore_by_repetition_comma_prefix_and_name(collected):
    every = collected()
    assert len(every) == 11 * 2 + 12
    assert every[:2] == ["SA101[a.conv]", "SA101[b.conv]"]
    assert collected("--select", "SA904,SA901") == ["SA901", "SA904"]
    assert collected("--select", "sa904", "--select", "SA901") == ["SA901", "SA904"]
    assert collected("--select", "SA9") == ["SA901", "SA902", "SA903", "SA904"]
    assert collected("--select", "SA9", "--ignore", "SA902, coverage") == ["SA903", "SA904"]


def test_keyword_expressions(collected):
    assert collected("-k", "sa101 and b.conv") == ["SA101[b.conv]"]
    assert collected("-k", "collapse or (selectivity and not A.CONV)") == [
        "SA104[a.conv]",
        "SA104[b.conv]",
        "SA201[b.conv]",
        "SA204",
    ]
    assert collected("-k", "not sa1 and not not sa9") == ["SA901", "SA902", "SA903", "SA904"]


def test_collect_only_counts_and_checks_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sparsity_audit.engine.session.examine", lambda *_a, **_k: pytest.fail("checked"))
    net = write_sick(tmp_path / "m.safetensors")
    ended = call(capsys, "run", net, net, "--collect-only", "-k", "sa9")
    assert ended.code == 0
    assert "collected 34 items / 30 deselected / 4 selected" in ended.out
    assert ended.out.rstrip().endswith("8 items collected")


def test_several_models_are_told_apart(tmp_path, capsys):
    healthy, sick = write_healthy(tmp_path / "healthy.safetensors"), write_sick(tmp_path / "sick.safetensors")
    ended = call(capsys, "run", healthy, sick, "--select", "SA101", "--json", "out.json")
    assert ended.code == 1
    assert "FAILED" in ended.out
    assert f"{sick}::SA101[b.conv]" in ended.out
    report = AuditReport.model_validate_json((tmp_path / "out.json").read_text())
    assert [model.path for model in report.models] == [str(healthy), str(sick)]
    # Quiet output leaves the healthy one out, and still says whose failures these are.
    quiet = call(capsys, "run", healthy, sick, "--select", "SA101", "-q")
    assert str(sick) in quiet.out
    assert str(healthy) not in quiet.out


def test_an_unreadable_model_does_not_keep_the_others_from_being_audited(tmp_path, capsys):
    healthy = write_healthy(tmp_path / "healthy.safetensors")
    ended = call(capsys, "run", "absent.pth", healthy, "--json", "out.json")
    ended.refused("absent.pth")
    report = AuditReport.model_validate_json((tmp_path / "out.json").read_text())
    assert (len(report.models), [error.path for error in report.errors], report.exit_code) == (1, ["absent.pth"], 4)


def test_exit_first_stops_and_the_report_says_so(tmp_path, capsys):
    sick = write_net(tmp_path / "sick.safetensors", a=[1e-5] * 4, b=[1e-5] * 4)
    ended = call(capsys, "run", sick, sick, "-x", "--json", "out.json")
    assert ended.code == 1
    report = AuditReport.model_validate_json((tmp_path / "out.json").read_text())
    (model,) = report.models
    assert [(result.rule, result.layer) for result in model.results] == [("SA101", "a.conv")]
    assert model.notes == ["stopped at the first failure: 33 of 34 items were not checked"]
    # A model that cannot be read is a failure too.
    stopped = call(capsys, "run", "absent.pth", sick, "-x")
    assert stopped.code == 4
    assert "SA101" not in stopped.out


def test_a_warning_stops_exit_first_only_where_it_fails(tmp_path, capsys):
    warned = write_sick(tmp_path / "m.safetensors", dead=2)
    assert "SA904" in call(capsys, "run", warned, "-x").out
    assert "SA904" not in call(capsys, "run", warned, "-x", "--fail-on", "warning").out


def test_verbosity(tmp_path, capsys):
    sick = write_sick(tmp_path / "sick.safetensors")
    quiet, normal, verbose = (call(capsys, "run", sick, *how).out for how in (["-q"], [], ["-v"]))
    assert len(quiet) < len(normal) < len(verbose)
    assert "session starts" not in quiet
    assert "SA101 dead-filter-fraction-by-scale[a.conv] PASSED 0.0 %" in verbose
    assert call(capsys, "run", write_healthy(tmp_path / "h.safetensors"), "-q").out.count("\n") == 1


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    """A whole run over the digits: its folder, and the report."""
    from sparsity_audit.cli.main import exit_code

    folder = tmp_path_factory.mktemp("audited")
    outputs = ["--json", str(folder / "out.json"), "--markdown", str(folder / "out.md")]
    code = exit_code(["run", str(DIGITS_MODEL), *DATA, "--limit", "300", "--seed", "7", "-qq", *outputs])
    return folder, code, AuditReport.model_validate_json((folder / "out.json").read_text())


def test_the_report_is_valid_complete_and_round_trips(audited, capsys):
    folder, code, report = audited
    text = (folder / "out.json").read_text()
    schema = json.loads(call(capsys, "schema", "report").out)
    jsonschema.validate(json.loads(text), schema, jsonschema.Draft202012Validator)
    assert report.to_json() + "\n" == text
    assert code == report.exit_code == 1
    (model,) = report.models
    assert model.coverage.fraction == 1.0
    assert (model.corpus.images, model.corpus.available, model.corpus.seed) == (300, 1400, 7)
    assert (model.error.split, model.error.images) == ("test", 300)
    assert model.normalisation.source == "metadata"
    assert model.totals.lost["scale"].filters == 65
    assert len(model.results) == 11 * 7 + 12


def test_the_markdown_names_what_failed(audited):
    folder, _, report = audited
    markdown = (folder / "out.md").read_text()
    for result in report.results():
        if result.outcome == "failed":
            assert result.rule in markdown
    assert "c7.conv" in markdown


def again(folder, capsys, *arguments):
    call(capsys, "run", DIGITS_MODEL, *DATA, "--json", folder / "again.json", "-qq", *arguments)
    return AuditReport.model_validate_json((folder / "again.json").read_text()).models[0]


def test_the_sample_is_drawn_by_its_seed_and_batches_change_no_verdict(audited, tmp_path, capsys):
    first = audited[2].models[0]
    other_batches = again(tmp_path, capsys, "--limit", "300", "--seed", "7", "--batch-size", "77")
    assert other_batches.corpus.sha256 == first.corpus.sha256
    assert other_batches.error == first.error
    for layer, same in zip(first.layers, other_batches.layers, strict=True):
        assert (layer.scale, layer.activation, layer.constant) == (same.scale, same.activation, same.constant)
        assert layer.universality == pytest.approx(same.universality)
    other_seed = again(tmp_path, capsys, "--limit", "300", "--seed", "8", "--split", "test", "--memory-budget", "1e-9")
    assert other_seed.corpus.sha256 != first.corpus.sha256
    assert (other_seed.corpus.split, other_seed.corpus.available) == ("test", 397)
    # Beyond the memory budget selectivity is undecided with the reason, or told with its error bound; never silently.
    bounds = {layer.key: getattr(layer, "universality_bound", None) for layer in other_seed.layers}
    for result in other_seed.results:
        if result.rule == "SA201" and bounds[result.layer] is None:
            assert result.outcome == "skipped"
            assert "memory" in result.reason


def test_mean_and_std_of_the_command_line_go_before_the_models(tmp_path, capsys):
    model = again(tmp_path, capsys, "--limit", "100", "--mean", "0.5", "--std", "0.25", "--arch", "zoo:basicnet")
    assert (model.normalisation.mean, model.normalisation.std) == ([0.5], [0.25])
    assert model.normalisation.source == "option"
    assert (model.architecture.name, model.architecture.how) == ("zoo:basicnet", "option")
    refused = call(capsys, "run", DIGITS_MODEL, *DATA, "--mean", "1,1,1", "--std", "1,1,1")
    refused.refused("one value for each channel", "1")


FACTORY = """
from torch import nn

def make():
    net = nn.Sequential()
    for name, inputs in (("a", 3), ("b", 10)):
        block = nn.Sequential()
        block.add_module("conv", nn.Conv2d(inputs, 10, 3, padding=1, bias=False))
        block.add_module("bn", nn.BatchNorm2d(10))
        block.add_module("relu", nn.ReLU())
        net.add_module(name, block)
    return net
"""


def test_a_factory_of_ones_own_runs_only_with_trust(tmp_path, capsys):
    (tmp_path / "my_factory.py").write_text(FACTORY)
    net = write_sick(tmp_path / "m.safetensors")
    arch = ("--arch", "python:my_factory:make")
    call(capsys, "run", net, *arch).refused("--trust-code")
    call(capsys, "run", net, *arch, "--trust-code").refused("m.safetensors", "--data")
    call(capsys, "run", net, *DATA, *arch, "--trust-code").refused("m.safetensors", "1×8×8")
    call(capsys, "run", net, "--arch", "python:my_factory:mke", "--trust-code").refused("did you mean 'make'")
