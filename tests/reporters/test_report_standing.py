"""Known, waived, worse: told in the terminal and in Markdown, and never as if it were gone."""

from __future__ import annotations

import datetime
import re

import pytest
import report_builders as build
from gate_reports import standings
from html_pages import study
from report_parts import layer

from sparsity_audit.reporters import standing, summary, terminal
from sparsity_audit.reporters.markdown import to_markdown
from sparsity_audit.reporters.terminal_session import session_text
from sparsity_audit.schema.gate import BaselineInfo, Improvement, Waiver
from sparsity_audit.schema.report import AuditReport


def nasty() -> AuditReport:
    """Return a report in which everything about baseline and waivers is foreign."""
    text = build.NASTY
    words = {"standing_reason": f"why {text}", "message": text}
    results = [
        build.failed("SA101", text, standing=which, **words) for which in ("known", "waived", "new", "worse", "expired")
    ]
    better = [
        Improvement(
            model=text, rule="SA101", layer=text, severity_before="error", severity_after=after, before=0.5, after=None
        )
        for after in (None, "warning", "error")
    ]
    info = BaselineInfo(path=text, started=text, tolerance=0.0, improvements=better)
    waiver = Waiver(rule="SA201", layer=text, model=text, reason=text, expires=datetime.date(2027, 1, 31))
    made = build.model([layer(text)], results, path=text)
    return build.report([made, made], exit_code=1, baseline=info, unused_waivers=[waiver])


def all_known() -> AuditReport:
    keys = [f"layer{i}" for i in range(30)]
    known = [build.failed("SA101", key, standing="known", standing_reason="0.34 in the baseline") for key in keys]
    info = BaselineInfo(path="b.json", started=None, tolerance=1e-4, improvements=[])
    return build.report([build.model([layer(key) for key in keys], [*known, build.result("SA102")])], baseline=info)


@pytest.mark.parametrize("verbosity", [-1, 0, 1])
def test_nothing_foreign_reaches_the_terminal(verbosity):
    text = session_text(nasty(), colour=False, verbosity=verbosity)
    assert all(line.isprintable() for line in text.split("\n"))
    assert r"\x1b[31m" in text


def test_nothing_foreign_is_markup_in_markdown():
    text = to_markdown(nasty())
    assert "<script" not in text
    assert "\x1b" not in text
    assert "@team" not in text
    assert text.count("a&#124;b") > 10
    assert set(re.findall(r"</?([a-z]+)", text)) <= {"details", "summary", "code"}
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):  # no cell ends early
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1, table


@pytest.mark.parametrize("verbosity", [-1, 0, 1])
def test_known_failures_stay_in_sight(verbosity):
    report = all_known()
    text = session_text(report, colour=False, verbosity=verbosity)
    assert text.splitlines()[-1].strip("= ").startswith("30 known, 1 passed")
    assert "30 known" in text
    if verbosity == 0:
        assert "… and 10 more (-v shows all)" in text
        assert "x" * 30 in text
    if verbosity == 1:
        for item in report.models[0].layers:
            assert f"SA101 {item.key}: 34.4 % of 32 filters" in text
        assert text.count(" KNOWN 34.4 %, limit 30.0 % (known: 0.34 in the baseline)") == 30
    assert "FAILED" not in text
    assert "FAILURES" not in text


def test_known_failures_are_rows_of_the_markdown():
    text = to_markdown(all_known())
    assert text.startswith("## ⚠️ sparsity-audit: passed with 30 known")
    assert "30 known or waived" in text
    for i in range(30):
        assert f"| `layer{i}` | SA101 dead-filter-fraction-by-scale |" in text
    assert "### Failures" not in text


def test_each_standing_in_its_place():
    report = standings()
    text = session_text(report, colour=False)
    failures, end = text.split("short summary")
    excused = failures.split("known and waived")[1]
    assert "SA101 a: " in excused
    assert "SA101 d: " in excused
    assert "waived until 2027-01-31: soon gone" in " ".join(excused.split())
    lines = [line.split(" ")[:2] for line in end.splitlines() if line.startswith(("FAILED", "WARNING"))]
    errors = [["FAILED", place] for place in ("SA101[b]", "SA101[c]", "SA102[e]")]
    assert lines == [*errors, ["WARNING", "SA102[a]"]]
    assert "(worse: 0.3 in the baseline)" in end
    assert "its waiver ended on 2026-01-31: soon gone" in " ".join(end.split())
    assert "BETTER SA101[f] 50.0 % → 0.0 %: passes now" in end
    assert "waiver for SA201 in layers *, models * (until 2027-01-31: once): no failure needs it" in end
    assert summary.tally(report) == "3 failed, 1 warning, 1 known, 1 waived"
    assert summary.verdict(report).words == "2 rules failed (3 failures)"
    markdown = to_markdown(report)
    table = markdown.split("### Failures")[1].split("<details>")[0]
    assert re.findall(r"^\| `(.)` \| (SA\d+)", table, re.MULTILINE) == [
        ("b", "SA101"),
        ("c", "SA101"),
        ("e", "SA102"),
    ]
    assert "Better than the baseline" in markdown
    assert "no failure needs it" in markdown


def test_colours_are_the_verdicts():
    last = terminal.session_end(all_known(), colour=True).splitlines()[-1]
    assert last.startswith(("\x1b[32m", "\x1b[33m"))
    assert terminal.session_end(standings(), colour=True).splitlines()[-1].startswith("\x1b[31m")


@pytest.mark.parametrize("fail_on", ["error", "warning"])
def test_an_excused_failure_is_no_gate_failure(fail_on):
    report = all_known()
    report = report.model_copy(update={"config": report.config.model_copy(update={"fail_on": fail_on})})
    assert summary.gate_failures(report) == []
    assert summary.verdict(report).state == "warned"
    assert summary.model_verdict(report.models[0], report).startswith("passed with 30 known")
    assert report.failures() == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"started": None, "updated": True}, "baseline b (tolerance 0.0001), written"),
        ({"started": "then", "updated": True}, "baseline b (of then, tolerance 0.0001), written anew"),
        ({"started": "then"}, "baseline b (of then, tolerance 0.0001)"),
    ],
)
def test_what_a_session_was_held_against(changes, expected):
    info = BaselineInfo(path="b", tolerance=1e-4, improvements=[], **changes)
    assert standing.baseline_words(build.report([], baseline=info)) == expected


def test_improvements_are_in_the_units_of_their_rules():
    better = {"model": "m", "rule": "SA904", "layer": None, "severity_before": "error"}
    for after, severity, expected in (
        (2.0, "error", "SA904 3 → 2: still fails"),
        (2.0, "warning", "SA904 3 → 2: a warning now"),
        (0.0, None, "SA904 3 → 0: passes now"),
        (None, "error", "SA904 3 → –: still fails"),
    ):
        told = Improvement(before=3.0, after=after, severity_after=severity, **better)
        assert standing.improvement_words(told, "count") == expected


def test_a_known_failure_of_a_study_is_told():
    known = study()
    results = [item.model_copy(update={"standing": "known", "standing_reason": "0.3"}) for item in known.results]
    report = build.report([], studies=[known.model_copy(update={"results": results})])
    text = session_text(report, colour=False)
    assert "known and waived" in text
    assert "adam-l2 against adam-wd" in text
    assert "1 known" in text.splitlines()[-1]
    assert "1 known or waived" in to_markdown(report)
