"""Differences of two reports against sets of dead filters."""

from __future__ import annotations

import math

import numpy as np
import pytest
from ratchet_parts import compared, layer, model, report, result, study

from sparsity_audit.errors import UsageError
from sparsity_audit.ratchet.diff import diff_reports
from sparsity_audit.reporters.diff_terminal import diff_text
from sparsity_audit.schema.diff import PartDiff
from sparsity_audit.schema.report import AuditReport, LayerReport, RuleResult

CRITERIA = ("scale", "activation", "constant")
NAMES = ("a.json", "b.json")
NASTY = "x\x1b[31m\ny"


def drawn(rng: np.random.Generator) -> list[LayerReport]:
    """Return layers with dead filters drawn at random; some criteria were not decided."""
    layers = []
    for key in ("p", "q", "r", "s"):
        filters = int(rng.integers(6, 8)) if key == "s" else 12
        dead = {}
        for criterion in CRITERIA:
            found = [int(index) for index in np.flatnonzero(rng.random(filters) < 0.3)]
            dead[criterion] = None if rng.random() < 0.2 else found
        if rng.random() < 0.85:
            layers.append(layer(key, filters, **dead))
    return layers


@pytest.mark.parametrize("seed", range(30))
def test_what_died_and_revived_is_the_difference_of_sets(seed):
    rng = np.random.default_rng(seed)
    layers = [drawn(rng), drawn(rng)]
    sides = [{item.key: item for item in side} for side in layers]
    found = diff_reports(report(model("m", [], layers[0])), report(model("m", [], layers[1])), NAMES).parts[0]
    told = {item.key: item for item in found.layers}
    common = set()
    for key in set(sides[0]) & set(sides[1]):
        old, new = sides[0][key], sides[1][key]
        if old.filters != new.filters:
            continue
        common.add(key)
        died, revived = {}, {}
        for criterion in CRITERIA:
            was, now = getattr(old, criterion), getattr(new, criterion)
            if was is not None and now is not None:
                died[criterion] = [index for index in range(old.filters) if index in now and index not in was]
                revived[criterion] = [index for index in range(old.filters) if index in was and index not in now]
        if any(died.values()) or any(revived.values()):
            item = told.pop(key)
            assert (item.died, item.revived, item.filters) == (died, revived, old.filters)
    assert not told
    assert set(found.layers_removed) == set(sides[0]) - common
    assert set(found.layers_added) == set(sides[1]) - common
    assert found.filters == sum(item.filters for item in layers[1])
    for criterion, dead in found.dead.items():
        counts = [sum(len(getattr(item, criterion) or []) for item in side) for side in layers]
        assert [dead.before, dead.after] == counts


def one(before: list[RuleResult], after: list[RuleResult]) -> PartDiff:
    return diff_reports(report(model("m", before)), report(model("m", after)), NAMES).parts[0]


FAILED = result("SA101", "a", "failed", 0.5)
WARNED = result("SA101", "a", "failed", 0.5, severity="warning")
PASSED = result("SA101", "a", "passed", 0.0)
SKIPPED = result("SA101", "a", "skipped")
NAN = result("SA101", "a", "failed", math.nan)


@pytest.mark.parametrize(
    ("before", "after", "change"),
    [
        (PASSED, FAILED, "new"),
        (SKIPPED, FAILED, "new"),
        (None, FAILED, "new"),
        (FAILED, PASSED, "gone"),
        (FAILED, SKIPPED, None),
        (FAILED, None, None),
        (FAILED, FAILED, None),
        (NAN, NAN, None),
        (PASSED, PASSED, None),
        (PASSED, SKIPPED, None),
        (WARNED, FAILED, "worse"),
        (FAILED, WARNED, "better"),
        (FAILED, FAILED.model_copy(update={"value": 0.6}), "worse"),
        (FAILED, FAILED.model_copy(update={"value": 0.4}), "better"),
        (FAILED, NAN, "worse"),
        (NAN, FAILED, "better"),
        (
            FAILED.model_copy(update={"limit": 0.9}),
            FAILED.model_copy(update={"limit": 0.9, "value": 0.6}),
            "better",  # it has to be above 0.9
        ),
    ],
)
def test_failures_that_came_and_went(before, after, change):
    found = one([before] if before else [], [after] if after else []).findings
    assert [item.change for item in found] == ([change] if change else [])
    for item in found:
        assert (item.rule, item.layer) == ("SA101", "a")
        assert item.outcome_before == (before.outcome if before else None)
        assert item.outcome_after == (after.outcome if after else None)
        assert item.severity_after == (after.severity if after else None)


def test_the_same_report_twice_has_no_difference():
    made = report(model("m", [FAILED], [layer("a", scale=[1, 2])]), study("s", [compared("x", "y", value=0.3)]))
    found = diff_reports(made, made, NAMES)
    assert [part.name for part in found.parts] == ["m", "s"]
    assert all(not (part.layers or part.findings or part.layers_added or part.layers_removed) for part in found.parts)
    text = diff_text(found)
    assert text.count("no filter died or revived, no failure came or went") == 2
    assert "the same weights" in text
    assert "dead by scale: 2 of 8 (25.0 %), as before" in text


def test_reports_of_other_models_are_refused():
    with pytest.raises(UsageError, match=r"a\.json and b\.json have no model in common"):
        diff_reports(report(model("m", []), model("n", [])), report(model("o", [])), NAMES)
    with pytest.raises(UsageError):
        diff_reports(report(), report(), NAMES)
    with pytest.raises(UsageError):  # a study is no model
        diff_reports(report(study("m", [])), report(model("m", [])), NAMES)


def test_models_without_a_counterpart_are_named():
    found = diff_reports(report(model("m", []), model("n", [])), report(model("m", []), model("o", [])), NAMES)
    assert ([part.name for part in found.parts], found.only_before, found.only_after) == (["m"], ["n"], ["o"])
    text = diff_text(found)
    assert "n: only in a.json" in text
    assert "o: only in b.json" in text


def test_one_model_is_not_compared_with_two():
    found = diff_reports(report(model("x/m", [])), report(model("x/m", []), model("y/m", [])), NAMES)
    assert ([part.name for part in found.parts], found.only_after) == (["x/m"], ["y/m"])


def test_studies_are_compared_by_their_runs():
    before = report(study("s", [compared("l2", "wd", value=0.3), compared("l2", "sgd", value=0.3)]))
    after = report(study("s", [compared("l2", "wd", value=0.3), compared("l2", "sgd", value=0.4)]))
    (finding,) = diff_reports(before, after, NAMES).parts[0].findings
    assert (finding.layer, finding.change) == ("l2 against sgd", "worse")


def test_the_text_tells_every_index_with_v_and_no_control_characters():
    dead = list(range(0, 60, 2))
    before = report(model(NASTY, [], [layer(NASTY, 64, scale=[])]))
    after = report(model(NASTY, [result("SA101", NASTY, "failed", 0.5)], [layer(NASTY, 64, scale=dead)]))
    found = diff_reports(before, after, (NASTY, NASTY))
    for verbosity in (0, 1):
        text = diff_text(found, verbosity=verbosity)
        assert all(line.isprintable() for line in text.split("\n"))
        assert ("more" in text) is (verbosity == 0)
    assert "dead by scale: 0 → 30 of 64 (46.9 %), +30" in text
    assert ", ".join(map(str, dead)) in " ".join(text.split())


def test_reports_on_other_images_say_so():
    before = report(model("m", [FAILED]))
    corpus = {"name": "digits", "split": "test", "images": 10, "available": 10, "seed": None, "sha256": "0"}
    after = AuditReport.model_validate(
        before.model_dump(by_alias=True) | {"models": [before.models[0].model_dump() | {"corpus": corpus}]}
    )
    assert "images – → 10: not judged by the same ones" in diff_text(diff_reports(before, after, NAMES))
