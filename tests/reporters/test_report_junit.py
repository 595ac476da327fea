"""JUnit XML against its schema, and against the report it was made of."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import report_builders as build
import xmlschema
from gate_reports import EVERY, nothing_audited, standings, warnings_gate
from report_parts import layer

from sparsity_audit.reporters.junit import to_junit
from sparsity_audit.reporters.text import printable
from sparsity_audit.schema.report import AuditReport, RuleResult

SCHEMA = Path(__file__).resolve().parents[1] / "schemas" / "junit-10.xsd"


@pytest.fixture(scope="module")
def schema() -> xmlschema.XMLSchema:
    return xmlschema.XMLSchema(SCHEMA)


@pytest.mark.parametrize("name", EVERY)
def test_every_report_fits_the_schema(name: str, schema: xmlschema.XMLSchema) -> None:
    schema.validate(to_junit(EVERY[name]()))


def test_the_schema_refuses_what_it_should(schema: xmlschema.XMLSchema) -> None:
    assert not schema.is_valid(to_junit(build.all_passed()).replace("testcase", "testbox"))


def parsed(report: AuditReport) -> ET.Element:
    return ET.fromstring(to_junit(report))  # noqa: S314  # made here


def fate(case: ET.Element) -> str:
    (child,) = case or [None]
    return "passed" if child is None else child.tag


def expected(result: RuleResult, report: AuditReport) -> str:
    """What a CI server should show, by the issue's words: failure, error or skipped where it looks."""
    if result.outcome == "error":
        return "error"
    if result.outcome == "passed":
        return "passed"
    counts = result.severity == "error" or report.config.fail_on == "warning"
    if result.outcome == "failed" and counts and result.standing not in ("known", "waived"):
        return "failure"
    return "skipped"


@pytest.mark.parametrize("name", EVERY)
def test_every_result_is_a_case_with_its_fate(name: str) -> None:
    report = EVERY[name]()
    cases = [case for suite in parsed(report) for case in suite if case.get("name") not in ("audit", "session")]
    wanted = [
        (f"{r.rule}{f'[{printable(r.layer)}]' if r.layer else ''}", expected(r, report)) for r in report.results()
    ]
    names = [re.sub(r" \(\d+\)$", "", str(case.get("name"))) for case in cases]
    assert [(name.rpartition(" ")[0], fate(case)) for name, case in zip(names, cases, strict=True)] == wanted
    assert len({(case.get("classname"), case.get("name")) for case in cases}) == len(cases)


@pytest.mark.parametrize("name", EVERY)
def test_counts_are_those_of_the_cases(name: str) -> None:
    root = parsed(EVERY[name]())
    for element in [root, *root]:
        cases = list(element.iter("testcase"))
        fates = Counter(fate(case) for case in cases)
        assert element.get("tests") == str(len(cases))
        assert element.get("failures") == str(fates["failure"])
        assert element.get("errors") == str(fates["error"])
        if element is not root:
            assert element.get("skipped") == str(fates["skipped"])


def test_broken_exactly_where_the_exit_code_is_not_0() -> None:
    for name, make in EVERY.items():
        report = make()
        root = parsed(report)
        broken = int(root.get("failures", "0")) + int(root.get("errors", "0"))
        assert bool(broken) == bool(report.exit_code), name


def test_what_is_told_of_a_failure() -> None:
    root = parsed(build.failed_with_warnings())
    failure = next(root.iter("failure"))
    assert failure.get("type") == "sparsity-audit.error"
    assert failure.get("message") == "34.4 % of 32 filters are inactive by scale, limit 30 %"
    for part in ("value 34.4 %, limit 30.0 %", "dead: 1–3, 9", "what to do: lower the L2 strength"):
        assert part in (failure.text or "")


def test_skipped_cases_say_why_and_of_what_kind() -> None:
    types = Counter(case.get("type") for case in parsed(standings()).iter("skipped"))
    assert types == {"sparsity-audit.known": 1, "sparsity-audit.waived": 1, "sparsity-audit.warning": 1}
    (waived,) = (c for c in parsed(standings()).iter("skipped") if c.get("type") == "sparsity-audit.waived")
    assert "waived until 2027-01-31: soon gone" in str(waived.get("message"))
    assert not list(parsed(warnings_gate()).iter("skipped[@type='sparsity-audit.warning']"))


def test_models_that_could_not_be_read_and_empty_sessions_are_errors() -> None:
    (error,) = parsed(build.session_error()).iter("error")
    assert "HTML page" in str(error.get("message"))
    (error,) = parsed(nothing_audited()).iter("error")
    assert "exit code 5" in str(error.get("message"))


def test_the_seconds_add_up() -> None:
    made = build.model([layer("a")], [build.result(layer_key="a")])
    root = parsed(build.report([made, made.model_copy(update={"path": "b"})], duration_seconds=1234.5))
    assert sum(float(suite.get("time", "0")) for suite in root) == float(root.get("time", "0")) == 1234.5


@pytest.mark.parametrize("code", [2, 3, 4, 5])
def test_a_session_that_broke_is_red_whatever_it_holds(code: int) -> None:
    assert parsed(build.report([], exit_code=code)).get("errors") == "1"
