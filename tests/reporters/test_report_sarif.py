"""SARIF against its schema, GitHub's limits, and the report it was made of."""

from __future__ import annotations

import gzip
import json
import math
import os
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import jsonschema
import pytest
import report_builders as build
from gate_reports import EVERY, standings, two_models
from markdown_it import MarkdownIt
from report_parts import layer

from sparsity_audit.engine.rulepacks import load_rules
from sparsity_audit.reporters import sarif
from sparsity_audit.reporters.sarif import MOST, to_sarif
from sparsity_audit.reporters.text import printable
from sparsity_audit.schema.report import AuditReport

SCHEMA = json.loads((Path(__file__).resolve().parents[1] / "schemas" / "sarif-2.1.0-rtm.5.json").read_text("utf-8"))
ROOT = Path.cwd()


def run_of(report: AuditReport, root: Path = ROOT) -> dict[str, Any]:
    (run,) = json.loads(to_sarif(report, root))["runs"]
    return dict(run)


def hashes(report: AuditReport) -> list[str]:
    return [result["partialFingerprints"]["primaryLocationLineHash"] for result in run_of(report)["results"]]


@pytest.mark.parametrize("name", EVERY)
def test_every_report_fits_the_schema(name: str) -> None:
    validator = jsonschema.Draft4Validator(SCHEMA, format_checker=jsonschema.FormatChecker())
    assert [error.message for error in validator.iter_errors(json.loads(to_sarif(EVERY[name](), ROOT)))] == []


def test_the_schema_refuses_what_it_should() -> None:
    bad = json.loads(to_sarif(build.failed_with_warnings(), ROOT))
    bad["runs"][0]["results"][0]["level"] = "terrible"
    assert not jsonschema.Draft4Validator(SCHEMA).is_valid(bad)


@pytest.mark.parametrize("name", EVERY)
def test_a_result_for_each_rule_and_layer_that_failed_or_crashed(name: str) -> None:
    report = EVERY[name]()
    run = run_of(report)
    wanted = sorted(
        (r.rule, "warning" if r.severity == "warning" else "error")
        for r in report.results()
        if r.outcome in ("failed", "error")
    )
    assert sorted((result["ruleId"], result["level"]) for result in run["results"]) == wanted
    for result in run["results"]:
        assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["locations"][0]["physicalLocation"]["region"] == {"startLine": 1}
        assert result["message"]["text"].isprintable()


def test_rules_come_with_their_help_within_githubs_lengths() -> None:
    rules = {rule["id"]: rule for rule in run_of(standings())["tool"]["driver"]["rules"]}
    shipped = load_rules(["default"])
    assert list(rules) == [rule.id for rule in shipped]
    for rule in shipped:
        told = rules[rule.id]
        assert told["name"] == rule.name
        assert all(" ".join(remedy.split()) in " ".join(told["help"]["text"].split()) for remedy in rule.remedies)
        assert len(told["name"]) <= 255
        assert len(told["shortDescription"]["text"]) <= 1024
        assert len(told["fullDescription"]["text"]) <= 1024
        assert len(told["properties"]["tags"]) <= 20
        assert told["help"]["markdown"]
    assert "warning above 0.1; error above 0.3" in rules["SA101"]["help"]["text"]


def test_fingerprints_tell_findings_apart_and_stay() -> None:
    report = two_models()
    assert len(set(hashes(report))) == len(hashes(report)) == 8
    worse = [r.model_copy(update={"value": 0.9, "message": "otherwise"}) for r in report.models[0].results]
    changed = report.model_copy(update={"models": [report.models[0].model_copy(update={"results": worse})]})
    assert set(hashes(changed)) < set(hashes(report))
    assert len({key.partition(":")[0] for key in hashes(report)}) == 8  # told apart by what they are, not by order


def test_fingerprints_and_places_do_not_depend_on_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = two_models().model_copy(update={"config_file": "audits/model audit.toml"})
    monkeypatch.chdir(tmp_path)
    here = run_of(report, tmp_path)
    below = tmp_path / "below"
    below.mkdir()
    monkeypatch.chdir(below)
    moved = report.model_copy(
        update={
            "config_file": os.path.join("..", "audits", "model audit.toml"),  # noqa: PTH118
            "models": [model.model_copy(update={"path": f"../{model.path}"}) for model in report.models],
        }
    )
    there = run_of(moved, tmp_path)
    for left, right in zip(here["results"], there["results"], strict=True):
        assert left["partialFingerprints"] == right["partialFingerprints"]
        assert left["locations"] == right["locations"]
    artifact = here["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]
    assert artifact == {"uri": "audits/model%20audit.toml", "uriBaseId": "%SRCROOT%"}


def test_a_file_elsewhere_and_none_at_all(tmp_path: Path) -> None:
    outside = build.failed_with_warnings().model_copy(update={"config_file": str(tmp_path / "a b.toml")})
    artifact = run_of(outside)["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]
    assert artifact["uri"].startswith("file:///")
    assert unquote(artifact["uri"].removeprefix("file://")) == str(tmp_path / "a b.toml")
    without = build.failed_with_warnings().model_copy(update={"config_file": None})
    artifact = run_of(without)["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]
    assert artifact["uri"] == "models/resnet20.safetensors"


def test_baseline_and_waivers() -> None:
    results = {result["logicalLocations"][0]["fullyQualifiedName"]: result for result in _located(standings())}
    states = {layer: result.get("baselineState") for layer, result in results.items()}
    assert states == {"a": "unchanged", "b": "updated", "c": "new", "d": None, "e": "unchanged"}
    assert {layer for layer, result in results.items() if result["suppressions"]} == {"a", "d"}
    assert all("suppressions" in result for result in run_of(standings())["results"])  # on all or on none
    assert not any("suppressions" in result for result in run_of(two_models())["results"])
    assert "soon gone" in results["d"]["suppressions"][0]["justification"]


def _located(report: AuditReport) -> list[dict[str, Any]]:
    errors = [result for result in run_of(report)["results"] if result["level"] == "error"]
    return [{**result, "logicalLocations": result["locations"][0]["logicalLocations"]} for result in errors]


def test_suppressions_are_on_all_results_or_on_none() -> None:
    assert all("suppressions" in result for result in run_of(standings())["results"])
    assert not any("suppressions" in result for result in run_of(build.failed_with_warnings())["results"])


def test_brackets_of_names_are_no_links() -> None:
    texts = [result["message"]["text"] for result in run_of(build.nasty())["results"]]
    assert all("\\[x\\](y)" in text for text in texts)


def test_a_model_that_stands_twice_has_findings_of_its_own() -> None:
    report = build.failed_with_warnings()
    twice = report.model_copy(update={"models": report.models * 2})
    assert len(set(hashes(twice))) == len(hashes(twice)) == 8


def test_what_could_not_be_audited_is_a_notification() -> None:
    (invocation,) = run_of(build.session_error())["invocations"]
    assert invocation["executionSuccessful"] is False
    assert "HTML page" in invocation["toolExecutionNotifications"][0]["message"]["text"]
    assert run_of(build.failed_with_warnings())["invocations"][0]["executionSuccessful"] is True


def test_more_results_than_github_shows_are_cut_errors_last_and_told() -> None:
    report = build.huge(MOST)
    warned = [r.model_copy(update={"severity": "warning"}) if r.rule == "SA101" else r for r in report.results()]
    report = report.model_copy(update={"models": [report.models[0].model_copy(update={"results": warned})]})
    run = run_of(report)
    assert len(run["results"]) == MOST
    assert {result["level"] for result in run["results"]} == {"error"}
    note = run["invocations"][0]["toolExecutionNotifications"][0]["message"]["text"]
    assert note.startswith("5,000 of 10,000 results are left out")


def test_foreign_text_is_no_markup() -> None:
    for result in run_of(build.nasty())["results"]:
        html = MarkdownIt("commonmark").render(result["message"]["markdown"])
        assert "<script" not in html
        assert "<img" not in html
        assert "<a " not in html
        assert "\x1b" not in json.dumps(result)


def test_no_foreign_name_is_a_link_in_plain_text() -> None:
    texts = [result["message"]["text"] for result in run_of(build.nasty())["results"]]
    for text in texts:
        assert not re.search(r"(?<!\\)\[[^\]]*\]\(", text)
        assert printable(build.NASTY) in re.sub(r"\\([\\\[\]])", r"\1", text)


def test_numbers_that_json_has_not_are_null() -> None:
    made = build.model([layer("a")], [build.failed("SA101", "a", value=bad) for bad in (math.nan, math.inf)])
    text = to_sarif(build.report([made], exit_code=1), ROOT)
    log = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert [result["properties"]["value"] for result in log["runs"][0]["results"]] == [None, None]


@pytest.mark.parametrize("name", EVERY)
def test_rules_have_what_github_requires_in_older_reports_too(name: str) -> None:
    for rule in run_of(EVERY[name]())["tool"]["driver"]["rules"]:
        assert rule["id"]
        for key in ("shortDescription", "fullDescription", "help"):
            assert len(rule[key]["text"]) > 0
            assert key == "help" or len(rule[key]["text"]) <= 1024


@pytest.mark.parametrize("name", EVERY)
def test_no_two_results_share_a_fingerprint(name: str) -> None:
    found = hashes(EVERY[name]())
    assert len(set(found)) == len(found)
    assert all(re.fullmatch(r"[0-9a-f]{16}:[1-9]\d*", one) for one in found)


def test_a_session_outside_the_repository_counts_from_its_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = to_sarif(two_models(), ROOT)
    monkeypatch.chdir(tmp_path)
    assert to_sarif(two_models(), ROOT) == inside


@pytest.mark.parametrize(
    ("make", "code", "words"),
    [
        (build.crashed_rule, 3, "SA103 crashed ×1: ZeroDivisionError"),
        (lambda: build.report([], exit_code=2), 2, "interrupted"),
        (lambda: build.report([], exit_code=5), 5, "nothing was audited"),
    ],
)
def test_a_session_that_broke_says_so(make: Callable[[], AuditReport], code: int, words: str) -> None:
    (invocation,) = run_of(make())["invocations"]
    assert (invocation["executionSuccessful"], invocation["exitCode"]) == (False, code)
    assert words in invocation["toolExecutionNotifications"][0]["message"]["text"]


def test_a_file_too_large_for_github_has_fewer_results_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(0)  # noqa: S311  # names that gzip cannot make small
    keys = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=2000)) for _ in range(300)]
    made = build.model([layer(key) for key in keys], [build.failed("SA101", key) for key in keys])
    monkeypatch.setattr(sarif, "LARGEST", 400_000)
    text = to_sarif(build.report([made], exit_code=1), ROOT)
    assert len(gzip.compress(text.encode())) <= 400_000
    run = json.loads(text)["runs"][0]
    assert len(run["results"]) == 200
    assert "100 of 300 results" in run["invocations"][0]["toolExecutionNotifications"][0]["message"]["text"]
