from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser

import pytest
import report_builders as build
from markdown_it import MarkdownIt

from sparsity_audit.reporters.markdown import LONGEST, to_markdown
from sparsity_audit.reporters.text import html_code, markdown_code, markdown_text, printable
from sparsity_audit.schema.config import AuditConfig
from sparsity_audit.schema.report import AuditReport

OURS = {
    "h2",
    "h3",
    "p",
    "table",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
    "ul",
    "li",
    "strong",
    "code",
    "details",
    "summary",
}
REPORTS = [
    build.all_passed,
    build.failed_with_warnings,
    build.weights_only,
    build.crashed_rule,
    build.session_error,
    build.nasty,
]


class Page(HTMLParser):
    """What a reader sees: tags, and the text of every cell by row."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.rows: list[list[str]] = []
        self.text = ""
        self._in_cell = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert all(name == "style" for name, _ in attrs), attrs
        self.tags.add(tag)
        self._in_cell = self._in_cell or tag in ("td", "th")
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._in_cell = False

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._in_cell:
            self.rows[-1][-1] += data


def read(markdown: str) -> Page:
    """Render as GitHub does: CommonMark with tables, HTML passed through."""
    return Page(MarkdownIt("commonmark", {"html": True}).enable("table").render(markdown))


def unescaped_pipes(row: str) -> int:
    return len(re.findall(r"(?<!\\)\|", row))


@pytest.mark.parametrize("make", REPORTS)
def test_tables_are_whole_and_no_null_is_printed(make: Callable[[], AuditReport]) -> None:
    text = to_markdown(make())
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({unescaped_pipes(row) for row in block.splitlines()}) == 1
    assert not re.search(r"\b(None|nan|null|inf)\b", text)
    assert text.count("<details>") == text.count("</details>")


def test_nothing_foreign_is_read_as_markdown_or_html() -> None:
    report = build.nasty()
    text = to_markdown(report)
    page = read(text)
    assert "<script>" not in text
    assert page.tags <= OURS
    assert not re.search(r"@\w", text)
    shown = printable(build.NASTY)
    assert sum(row[0] == shown for row in page.rows) == 6  # two models: ledger, norms and plan
    assert any(row[1] == shown and row[-1] == f"message {shown}" for row in page.rows)
    assert page.text.count(f"note: {shown}") == 2
    assert "\x1b" not in text


@pytest.mark.parametrize(
    ("report", "heading"),
    [
        (build.all_passed(), "## ✅ sparsity-audit: passed"),
        (build.weights_only(), "## ✅ sparsity-audit: passed"),
        (build.failed_with_warnings(), "## ❌ sparsity-audit: 1 rule failed (2 failures)"),
        (build.crashed_rule(), "## ❌ sparsity-audit: 1 rule crashed"),
        (build.session_error(), "## ❌ sparsity-audit: 1 model could not be audited"),
        (build.report([], exit_code=5), "## ❌ sparsity-audit: nothing was audited"),
        (build.report([], exit_code=2), "## ❌ sparsity-audit: interrupted"),
        (build.report([], exit_code=3), "## ❌ sparsity-audit: exit code 3"),
        (
            build.report([build.model([], [build.undecided("skipped", "needs --data")])]),
            "## ⚠️ sparsity-audit: nothing was decided",
        ),
        (
            build.report([build.model([], [build.result(), build.failed(severity="warning")])]),
            "## ⚠️ sparsity-audit: passed with 1 warning",
        ),
    ],
)
def test_first_line_is_the_verdict(report: AuditReport, heading: str) -> None:
    assert to_markdown(report).splitlines()[0].startswith(heading)


def test_failures_are_open_and_warnings_folded() -> None:
    text = to_markdown(build.failed_with_warnings())
    open_part, folded = text.split("<details><summary>2 warnings</summary>")
    assert "| `layer1.0.conv1` | SA101 dead-filter-fraction-by-scale | 34.4 % | 30.0 % | error |" in open_part
    assert "| `layer2.0.downsample.0` |" in open_part
    assert "| `conv1` |" not in open_part
    assert "lower the L2 strength" in open_part
    assert "| `conv1` | SA101" in folded
    assert "(whole model) | SA105" in folded
    assert "lower the L2 strength" not in folded  # told above already
    assert "`SA201` skipped ×3: no nonlinearity follows" in folded


def test_warnings_that_fail_the_gate_are_not_folded() -> None:
    report = build.failed_with_warnings().model_copy(update={"config": AuditConfig(fail_on="warning")})
    text = to_markdown(report)
    assert "## ❌ sparsity-audit: 2 rules failed (4 failures)" in text
    assert "warnings</summary>" not in text
    assert "(whole model) | SA105" in text.split("<details>")[0]


def test_crash_and_unreadable_model_are_told() -> None:
    assert "| crashed | ZeroDivisionError: division by zero in measure 'x' |" in to_markdown(build.crashed_rule())
    text = to_markdown(build.session_error())
    assert "### Not audited" in text
    assert "- broken.pth: is an HTML page, not weights; download it again" in text


def test_figures_of_the_models_table_and_the_ledger() -> None:
    page = read(to_markdown(build.failed_with_warnings()))
    row = next(row for row in page.rows if row[0] == "models/resnet20.safetensors")
    expected = [
        "zoo:resnet20",
        "8.27 % (test)",
        "8 of 64 (12.5 %)",
        "4 of 64 (6.2 %)",
        "25.0 %",
        "25.0 %",
        "100.0 %",
    ]
    assert row[1:] == expected
    total = next(row for row in page.rows if row[0] == "total")
    assert total == ["total", "64", "12.5", "6.2", "6.2", "", "9.22 k", "25.0", "9.44 M", "25.0", "576"]


@pytest.mark.parametrize("key", ["stage{}.conv", "a|b<script>@" * 40 + "{}"])
def test_two_thousand_layers_stay_under_githubs_limit(key: str) -> None:
    text = to_markdown(build.huge(2000, key))
    assert len(text) <= LONGEST
    assert text.startswith("## ❌ sparsity-audit: 2 rules failed (4,000 failures)")
    left_out = [int(n.replace(",", "")) for n in re.findall(r"… and ([\d,]+) more in the JSON report", text)]
    assert left_out
    page = read(text)
    shown = sum(row[1].startswith("SA10") for row in page.rows if len(row) == 6)
    assert shown + left_out[0] == 4000
    assert page.tags <= OURS


def test_a_comment_that_fits_is_not_cut() -> None:
    text = to_markdown(build.huge(40))
    assert "more in the JSON report" not in text
    assert all(f"| `stage{i}.conv` | SA102" in text for i in range(40))


def test_even_the_worst_names_leave_a_verdict() -> None:
    worst = "@" * 5000
    results = [build.failed(f"SA{i}", worst, message=worst, remedies=[worst + str(i)]) for i in range(100, 130)]
    made = build.model([build.layer(worst)], results, path=worst, notes=[worst] * 50)
    text = to_markdown(build.report([made] * 30, exit_code=1))
    assert len(text) <= LONGEST
    assert text.startswith("## ❌ sparsity-audit: 30 rules failed (900 failures)")


def test_report_survives_json_before_markdown() -> None:
    report = build.failed_with_warnings()
    assert to_markdown(AuditReport.model_validate_json(report.to_json())) == to_markdown(report)


@pytest.mark.parametrize(
    "foreign",
    [
        "_a_ __b__",
        "*c* ~~d~~",
        "`e` ``f``",
        "[g](http://h)",
        "![i](j)",
        "<b>k</b>",
        "&lt;",
        "\\|",
        "a  |  b",
        "$x$",
        "l\nm",
    ],
)
@pytest.mark.parametrize("draw", [markdown_text, markdown_code, html_code])
def test_foreign_text_is_shown_letter_by_letter(foreign: str, draw: Callable[[str], str]) -> None:
    page = read(f"| a | b |\n| --- | --- |\n| {draw(foreign)} | x |\n")
    assert page.rows[1] == [printable(foreign), "x"]
    assert page.tags <= OURS


def test_ordinary_keys_stay_readable_in_the_source() -> None:
    assert markdown_code("layer1.0.conv_pw@2") == "`layer1.0.conv_pw@2`"
    assert markdown_text("zoo:vgg16_bn") == "zoo:vgg16_bn"
