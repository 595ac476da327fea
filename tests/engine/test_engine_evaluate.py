"""Rules over measured values: boundaries, NaN, layers that fit, crashes, and what ``-x`` and ``-k`` leave."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sparsity_audit.checkpoints.safetensors_io import write_safetensors
from sparsity_audit.engine.audit import audit
from sparsity_audit.engine.evaluate import evaluate, items
from sparsity_audit.measures import registry
from sparsity_audit.measures.registry import Measurement
from sparsity_audit.schema.rule import Limit, Rule


def rule(**changes) -> Rule:
    given = {"id": "TEST001", "name": "test", "scope": "model", "measure": "given", "summary": "x", **changes}
    return Rule.model_validate(given)


@pytest.fixture
def measured():
    """Judge a value that a measure made for the test returns."""
    value = {}

    @registry.measure("model", "ratio")
    def given(_model):
        return Measurement(value["is"], "measured", n=3)

    def judge(number, **limits):
        value["is"] = number
        (result,) = evaluate([rule(**limits)], report())
        return result

    yield judge
    del registry.MEASURES["given", "model"]


@pytest.fixture
def path(tmp_path):
    tensors = {}
    for name, dead in (("stem", 0), ("block.a", 1), ("block.b", 4)):
        tensors[f"{name}.conv.weight"] = np.ones((4, 3, 3, 3), np.float32)
        tensors[f"{name}.bn.weight"] = np.array([0.0] * dead + [1.0] * (4 - dead), np.float32)
        for leaf in ("bias", "running_mean", "running_var"):
            tensors[f"{name}.bn.{leaf}"] = np.ones(4, np.float32)
    write_safetensors(tmp_path / "m.safetensors", tensors, {})
    return tmp_path / "m.safetensors"


def report():
    """Return a model report without layers."""
    from sparsity_audit.schema.report import Coverage, ModelReport, Totals

    return ModelReport(
        path="m",
        sha256="0" * 64,
        architecture=None,
        training=None,
        normalisation=None,
        corpus=None,
        error=None,
        coverage=Coverage(fraction=None, selectivity_fraction=None, audited=[], skipped=[]),
        layers=[],
        norms=[],
        totals=Totals(layers=0, filters=0, paired=0, params=None, macs=None, lost={}),
        nonfinite_tensors=[],
        results=[],
        plan=None,
    )


@pytest.mark.parametrize(
    ("value", "outcome", "severity", "limit"),
    [
        (0.0, "passed", None, 0.1),
        (0.1, "passed", None, 0.1),
        (math.nextafter(0.1, 1), "failed", "warning", 0.1),
        (0.3, "failed", "warning", 0.1),
        (math.nextafter(0.3, 1), "failed", "error", 0.3),
        (math.inf, "failed", "error", 0.3),
        (math.nan, "failed", "error", 0.3),
    ],
)
def test_a_maximum(measured, value, outcome, severity, limit):
    result = measured(value, warning={"max": 0.1}, error={"max": 0.3})
    assert (result.outcome, result.severity, result.limit, result.n) == (outcome, severity, limit, 3)


def test_a_minimum_and_a_range(measured):
    assert measured(5.0, error={"min": 5}).outcome == "passed"
    assert measured(math.nextafter(5, 0), error={"min": 5}).limit == 5
    assert measured(math.nan, warning={"min": 5}).severity == "warning"
    inside = {"warning": {"min": 1, "max": 2}}
    assert [measured(v, **inside).outcome for v in (0.9, 1, 2, 2.1)] == ["failed", "passed", "passed", "failed"]


def test_no_value_is_skipped_never_passed(measured):
    result = measured(None, error={"max": 1})
    assert (result.outcome, result.severity, result.value) == ("skipped", None, None)


def test_remedies_are_told_only_of_failures(measured):
    assert measured(2, error={"max": 1}, remedies=["do"]).remedies == ["do"]
    assert measured(1, error={"max": 1}, remedies=["do"]).remedies == []


def test_a_layer_rule_applies_where_its_glob_fits(path):
    half = rule(scope="layer", measure="dead_fraction", layers="block.*", error={"max": 0.5})
    assert items([half], ["stem.conv", "block.a.conv"]) == [(half, "block.a.conv")]
    results = audit(path, rules=half).models[0].results
    assert [(r.layer, r.outcome, r.value) for r in results] == [
        ("block.a.conv", "passed", 0.25),
        ("block.b.conv", "failed", 1.0),
    ]


def test_a_glob_that_fits_no_layer_is_skipped_with_the_reason(path):
    typo = rule(scope="layer", measure="dead_fraction", layers="blok.*", error={"max": 0.5})
    report = audit(path, rules=[typo])
    (result,) = report.models[0].results
    assert (result.layer, result.outcome) == (None, "skipped")
    assert "'blok.*'" in result.reason
    assert report.exit_code == 5


def test_limits_made_in_python_are_checked_too():
    with pytest.raises(ValueError, match="min 2 is above max 1"):
        Limit(min=2, max=1)
    with pytest.raises(ValueError, match="max, min or both"):
        Limit()
