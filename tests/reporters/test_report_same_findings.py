"""Seven outputs of one report have the same findings, each read back by means of its own."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import report_builders as build
from gate_reports import standings, two_models, warnings_gate
from html_pages import read as read_page

from sparsity_audit.engine.audit import audit
from sparsity_audit.reporters.formats import render
from sparsity_audit.reporters.github import to_annotations
from sparsity_audit.reporters.terminal_session import session_text
from sparsity_audit.schema.report import AuditReport

ROOT = Path.cwd()
CIFAR = Path(__file__).resolve().parents[2] / "zoo" / "checkpoints" / "cifar-quarter-10-adam-l2.safetensors"
DIGITS = Path(__file__).resolve().parents[2] / "zoo" / "checkpoints" / "digits-adam-l2.safetensors"
Finding = tuple[str, str, str, str]
"""Model, rule, layer (empty for the whole model), severity, or ``crashed``."""


def of_json(report: AuditReport) -> set[Finding]:
    models = json.loads(render(report, "json", ROOT))["models"]
    return {
        (model["path"], r["rule"], r["layer"] or "", r["severity"] or "crashed")
        for model in models
        for r in model["results"]
        if r["outcome"] in ("failed", "error") and r["standing"] not in ("known", "waived")
    }


def of_junit(report: AuditReport) -> set[Finding]:
    found = set()
    root = ET.fromstring(render(report, "junit_xml", ROOT))  # noqa: S314  # made above
    for suite, case in [(parent, child) for parent in root for child in parent]:
        for child in case:
            kind = str(child.get("type")).removeprefix("sparsity-audit.")
            if kind in ("error", "warning", "crashed"):
                rule, _, layer = str(case.get("name")).partition(" ")[0].partition("[")
                found.add((str(suite.get("name")), rule, layer.removesuffix("]"), kind))
    return found


def of_sarif(report: AuditReport) -> set[Finding]:
    results = json.loads(render(report, "sarif", ROOT))["runs"][0]["results"]
    return {
        (
            r["properties"]["model"],
            r["ruleId"],
            next((o["fullyQualifiedName"] for o in r["locations"][0].get("logicalLocations", [])), ""),
            "crashed" if "(crashed)" in r["message"]["text"] else r["level"],
        )
        for r in results
        if not r.get("suppressions")
    }


def of_github(report: AuditReport) -> set[Finding]:
    found = set()
    severities = {
        (model.path, r.rule, r.layer or ""): r.severity or "crashed" for model in report.models for r in model.results
    }
    for line in to_annotations(report, ROOT).splitlines():
        command = re.fullmatch(r"::(error|warning) .*?title=(?:[^:]*?%3A )?(\w+) [^:]*::(.*)", line)
        if command:
            model, _, lines = command[3].partition(": ")
            if " crashed::" in line:  # the title has the model's name where there are several
                model, lines = report.models[0].path, command[3]
            for told in lines.split("%0A"):
                layer = told.split(" ")[0].removesuffix(":") if not told.startswith("(whole model)") else ""
                severity = severities[model, command[2], layer]
                if report.config.fail_on == "error" and severity != "crashed":
                    assert severity == command[1]
                found.add((model, command[2], layer, severity))
    return found


def of_markdown(report: AuditReport) -> set[Finding]:
    text = render(report, "markdown", ROOT).partition("known or waived")[0]
    found = set()
    for line in text.splitlines():
        cells = [html.unescape(re.sub(r"</?code>|`", "", cell.strip())) for cell in line.strip("|").split("|")]
        for at, cell in enumerate(cells):
            severity = cells[at + 3] if at + 3 < len(cells) else ""
            if re.fullmatch(r"SA\d{3} [\w-]+", cell) and severity in ("error", "warning", "crashed"):
                layer = "" if cells[at - 1] == "(whole model)" else cells[at - 1]
                model = cells[at - 2] if at > 1 else report.models[0].path
                found.add((model, cell.split()[0], layer, severity))
    return found


def of_terminal(report: AuditReport) -> set[Finding]:
    text = session_text(report, colour=False, verbosity=1, width=100)
    severity = {"FAILED": "error", "WARNING": "warning", "ERROR": "crashed"}
    pattern = r"^(FAILED|WARNING|ERROR) (?:(\S+)::)?(SA\d{3})(?:\[(.*?)\])? "
    return {
        (model or report.models[0].path, rule, layer, severity[word])
        for word, model, rule, layer in re.findall(pattern, text, re.MULTILINE)
    }


def of_html(report: AuditReport) -> set[Finding]:
    severities = {"failed": "error", "warning": "warning", "crashed": "crashed"}
    found = set()
    for section in read_page(render(report, "html", ROOT)).all("section", klass="model"):
        model = section.one("h2").one("span", klass="path").text
        for group in section.all("article", klass="rule"):
            rule = group.one("h4").all("code")[0].text
            for row in group.one("table", klass="failures").rows():
                place, word = row[0].strip(), row[3].strip()
                if word in severities:
                    found.add((model, rule, "" if place == "(whole model)" else place, severities[word]))
    return found


READERS: dict[str, Callable[[AuditReport], set[Finding]]] = {
    "JUnit": of_junit,
    "SARIF": of_sarif,
    "GitHub": of_github,
    "Markdown": of_markdown,
    "terminal": of_terminal,
    "HTML": of_html,
}
REPORTS: dict[str, Callable[[], AuditReport]] = {
    "passed": build.all_passed,
    "failed": build.failed_with_warnings,
    "crashed": build.crashed_rule,
    "standings": standings,
    "two models": two_models,
    "warnings gate": warnings_gate,
    "shipped": lambda: audit(DIGITS, "digits"),
}


@pytest.mark.parametrize("name", REPORTS)
def test_all_outputs_have_the_same_findings(name: str) -> None:
    report = REPORTS[name]()
    wanted = of_json(report)
    assert wanted or name == "passed"
    assert {reader: read(report) for reader, read in READERS.items()} == dict.fromkeys(READERS, wanted)


@pytest.mark.shared
def test_a_shipped_cifar_model_has_them_too(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARSITY_AUDIT_DATA", str(shared / "data"))
    report = audit(CIFAR, "cifar10", limit=500)
    wanted = of_json(report)
    assert {finding[-3:-1] for finding in wanted} >= {("SA101", "c6.conv"), ("SA101", "c7.conv"), ("SA102", "c7.conv")}
    assert {reader: read(report) for reader, read in READERS.items()} == dict.fromkeys(READERS, wanted)
