from __future__ import annotations

import base64
import datetime
import hashlib
import itertools
import re
from collections.abc import Callable
from pathlib import Path

import html_pages as pages
import numpy as np
import pytest
import report_builders as build
from html_pages import Node, read

from sparsity_audit.reporters import html as module
from sparsity_audit.reporters.html import LONGEST, to_html
from sparsity_audit.reporters.summary import verdict
from sparsity_audit.reporters.text import printable
from sparsity_audit.schema.gate import BaselineInfo, Improvement, Waiver
from sparsity_audit.schema.report import AuditReport, ModelReport
from sparsity_audit.schema.rule import Limit, Rule

TEMPLATES = Path(module.__file__).parent / "templates"
STATES = ["both", "scale", "activation", "constant", "alive"]


def measured() -> AuditReport:
    return build.report([pages.measured_model()], exit_code=1)


REPORTS = [
    build.all_passed,
    build.failed_with_warnings,
    build.weights_only,
    build.crashed_rule,
    build.session_error,
    build.nasty,
    measured,
    pages.with_study,
    lambda: build.report([], exit_code=5),
    lambda: build.report([build.model([], [])], exit_code=2),
]


def filters_by_state(model: ModelReport) -> list[dict[str, set[int]]]:
    """Return the filters of each layer by state, naively: one filter after another."""
    found = []
    for item in model.layers:
        states: dict[str, set[int]] = {state: set() for state in STATES}
        for i in range(item.filters):
            small, silent = i in (item.scale or []), i in (item.activation or [])
            constant = i in ((item.constant_candidates if item.constant is None else item.constant) or [])
            if constant:
                states["constant"].add(i)
            elif small and silent:
                states["both"].add(i)
            else:
                states["scale" if small else "activation" if silent else "alive"].add(i)
        found.append(states)
    return found


# The page as a whole


@pytest.mark.parametrize("make", REPORTS)
def test_every_report_makes_a_whole_page(make: Callable[[], AuditReport]) -> None:
    report = make()
    page = read(to_html(report))
    assert page.one("h1").text.lstrip("!✕✓ ") == verdict(report).words
    body = page.one("body")
    assert not re.search(r"\b(None|nan|null|inf|Undefined)\b", body.one("main").text)
    ids = [node.attrs["id"] for node in page.walk() if "id" in node.attrs]
    assert len(ids) == len(set(ids))
    links = [str(node.attrs["href"]) for node in body.all("a")]
    assert {link.removeprefix("#") for link in links} <= set(ids)
    levels = [int(node.tag[1]) for node in page.walk() if re.fullmatch(r"h[1-6]", node.tag)]
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    for region in page.all("div", role="region"):
        assert region.attrs["tabindex"] == "0"
        assert region.attrs["aria-label"]
    assert all(svg.attrs.get("aria-hidden") or svg.all("title") for svg in page.all("svg"))


def test_the_same_report_gives_the_same_bytes() -> None:
    report = measured()
    assert to_html(report) == to_html(AuditReport.model_validate_json(report.to_json()))


@pytest.mark.parametrize("make", REPORTS)
def test_no_address_leads_out_of_the_page(make: Callable[[], AuditReport]) -> None:
    page = read(to_html(make()))
    for node in page.walk():
        for name in ("src", "href", "action", "data", "poster", "srcset", "xlink:href"):
            value = node.attrs.get(name) or "#"
            assert value.startswith("#") or value == "data:,", (node.tag, name, value)
    style = page.one("style").text
    assert not re.search(r"url\(|@import|image-set", style)
    assert not re.search(
        r"fetch|XMLHttp|WebSocket|import\(|localStorage|sessionStorage|cookie", page.one("script").text
    )


def test_the_policy_allows_the_one_style_and_the_one_script_and_nothing_else() -> None:
    page = read(to_html(build.nasty()))
    hashes = [
        "sha256-" + base64.b64encode(hashlib.sha256(page.one(tag).text.encode()).digest()).decode()
        for tag in ("style", "script")
    ]
    policy = page.one("meta", **{"http-equiv": "Content-Security-Policy"}).attrs["content"]
    assert policy == (
        f"default-src 'none'; style-src '{hashes[0]}'; script-src '{hashes[1]}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    order = [node.tag for node in page.walk()]
    assert order.index("style") > order.index("meta") + 1


def test_nothing_foreign_is_read_as_markup() -> None:
    reports = [build.nasty(), build.report([], exit_code=1, studies=[pages.study()])]
    rule = Rule(id="SA101", name="x", scope="layer", measure=build.NASTY, summary=build.NASTY, why=build.NASTY)
    reports.append(build.nasty().model_copy(update={"rules": [rule.model_copy(update={"source": build.NASTY})]}))
    # What a page without a foreign word has, and details that only the templates write.
    sources = "".join(path.read_text("utf-8") for path in TEMPLATES.glob("*.html"))
    ours = {tag.lower() for tag in re.findall(r"<([a-zA-Z][a-zA-Z0-9]*)", sources)}
    for report in reports:
        page = read(to_html(report))
        for node in page.walk():
            assert node.tag in ours | {""}
            for name, value in node.attrs.items():
                assert not name.startswith("on"), name
                assert name != "style"
                assert re.search(rf"(?i)\b{re.escape(name)}=", sources), name
                # Foreign text stands in attributes only as what a region is called.
                assert "team" not in (value or "") or name == "aria-label"
        assert "team" not in page.one("script").text + page.one("style").text
        assert "\x1b" not in page.text
    shown = printable(build.NASTY)
    page = read(to_html(build.nasty()))
    assert [row[1] for table in page.all("table", klass="sortable") for row in table.rows()] == [shown, shown]
    failures = [row for table in page.all("table", klass="failures") for row in table.rows()]
    assert sum(row[0] == shown and row[-1] == f"message {shown}" for row in failures) == 4
    assert page.text.count(f"cannot read {shown}") == 1
    assert page.text.count(f"remedy {shown}") == 2


# Failures


@pytest.mark.parametrize("make", REPORTS)
def test_every_failure_is_there_with_its_numbers(make: Callable[[], AuditReport]) -> None:
    report = make()
    page = read(to_html(report))
    told = [
        (article.one("h4").one("code").text, *row)
        for article in page.all("article")
        for row in article.one("table", klass="failures").rows()
    ]
    expected = []
    for result in report.results():
        if result.outcome not in ("failed", "error"):
            continue
        place = result.layer or " against ".join(result.evidence.get("runs", [])) or "(whole model)"
        value = "–" if result.value is None else f"{100 * result.value:.1f} %"
        limit = "–" if result.limit is None else f"{100 * result.limit:.1f} %"
        word = "crashed" if result.outcome == "error" else "failed" if result.severity == "error" else "warning"
        what = str(result.reason if result.outcome == "error" else result.message)
        if result.standing:
            word, what = result.standing, f"{what} {result.standing}: {result.standing_reason}"
        expected.append((result.rule, printable(place), value, limit, word, printable(what)))
    assert sorted(told) == sorted(expected)


def test_a_rule_explains_itself_where_it_failed() -> None:
    rule = Rule(
        id="SA101",
        name="dead-filter-fraction-by-scale",
        scope="layer",
        measure="dead_fraction",
        args={"threshold": 1e-3},
        warning=Limit(max=0.1),
        error=Limit(min=0.02, max=0.3),
        summary="Too many are dead",
        why="Because\nthey are.",
        source="Sec. 2.1",
    )
    page = read(to_html(build.failed_with_warnings().model_copy(update={"rules": [rule]})))
    first, second = page.all("article")
    assert "Too many are dead" in first.text
    help_text = " ".join(first.one("details").text.split())
    for words in ("Because they are.", "warning limitat most 10.0 %", "error limitat least 2.0 %, at most 30.0 %"):
        assert words in help_text
    assert "dead_fraction, threshold = 0.001" in help_text
    assert "lower the L2 strength" in first.text
    assert "sparsity-audit rules explain SA105" in second.text


def test_baseline_waivers_and_errors_are_told() -> None:
    waiver = Waiver(rule="SA103", layer="conv9", reason="kept <b>", expires=datetime.date(2026, 5, 1))
    better = Improvement(
        model="m", rule="SA101", layer="c4", severity_before="error", severity_after=None, before=0.375, after=0.25
    )
    info = BaselineInfo(path="base.json", started="2026-01-01", tolerance=1e-4, improvements=[better])
    changes = {"baseline": info, "unused_waivers": [waiver]}
    page = read(to_html(build.session_error().model_copy(update=changes)))
    told = page.one("section", id="baseline").text
    assert "baseline base.json" in told
    assert "SA101[c4] 37.5 % → 25.0 %: passes now" in told
    assert "waiver for SA103 in layers conv9" in told
    assert "kept <b>" in told
    assert "is an HTML page, not weights" in page.one("section", id="errors").text


def test_counts_of_outcomes() -> None:
    page = read(to_html(build.failed_with_warnings()))
    assert [item.text for item in page.one("ul", klass="counts").all("li")] == [
        "2 failed",
        "2 warnings",
        "1 inconclusive",
        "5 passed",
        "3 skipped",
    ]


def test_a_study_shows_its_tables() -> None:
    page = read(to_html(pages.with_study()))
    cells = [row for table in page.all("table") for row in table.rows()]
    assert ["row-2", "2", "50.0 ± 1.0"] in cells
    assert ["l2-kills", "reproduced", "0.31 (0.2 to 0.4)", "3"] in cells
    assert "row-3 seed 7: not run" in page.text
    assert "31 points more" in page.text


# Layers


def test_every_layer_has_a_row_with_the_numbers_of_the_report() -> None:
    report = measured()
    rows = read(to_html(report)).one("table", klass="sortable").rows()
    model = report.models[0]
    assert len(rows) == len(model.layers)

    def shares(indices: list[int] | None, of: int) -> str:
        return "–" if indices is None else f"{100 * len(indices) / of:.1f}"

    for i, (row, item) in enumerate(zip(rows, model.layers, strict=True)):
        assert row[:3] == [str(i + 1), item.key, str(item.filters)]
        assert row[3:6] == [shares(found, item.filters) for found in (item.scale, item.activation, item.constant)]
        assert row[6] == ("–" if item.selectivity is None else f"{100 * item.selectivity:.1f}")
        lost, params, macs = item.lost["union"], item.params or 0, item.macs or 0
        assert row[8] == f"{100 * (lost.params or 0) / params:.1f}"
        assert row[10] == f"{100 * (lost.macs or 0) / macs:.1f}"
        assert row[11] == str(lost.held_back)
    outcomes = {row[1]: row[-1] for row in rows}
    assert outcomes["block1.conv"] == "failed"
    assert outcomes["block2.conv"] == "warning"
    assert outcomes["block4.conv"] == "known"
    assert outcomes["block3.conv"] == "passed"
    assert outcomes["block5.conv"] == "inconclusive"
    assert outcomes["block7.conv"] == "skipped"


def test_values_to_sort_by_are_exact() -> None:
    report = measured()
    for row, item in zip(
        read(to_html(report)).one("table", klass="sortable").one("tbody").all("tr"),
        report.models[0].layers,
        strict=True,
    ):
        values = [None if text == "-" else float(text) for text in str(row.attrs["data-v"]).split()]
        lost = item.lost["union"]
        assert values == [
            item.filters,
            *(
                None if found is None else pytest.approx(len(found) / item.filters)
                for found in (item.scale, item.activation, item.constant)
            ),
            None if item.selectivity is None else pytest.approx(item.selectivity),
            item.params,
            pytest.approx((lost.params or 0) / (item.params or 1)),
            item.macs,
            pytest.approx((lost.macs or 0) / (item.macs or 1)),
            lost.held_back,
        ]


def test_bars_of_the_ledger_are_as_long_as_their_filters() -> None:
    report = measured()
    table = read(to_html(report)).one("table", klass="ledger")
    lines = table.one("tbody").all("tr")
    counted = filters_by_state(report.models[0])
    decided = [states for states, item in zip(counted, report.models[0].layers, strict=True)]
    for line, states, item in zip(lines, decided, report.models[0].layers, strict=True):
        parts = {str(rect.attrs["class"]).removeprefix("f-"): rect for rect in line.all("rect")}
        assert parts.keys() == {state for state in STATES if states[state]}
        left = 0.0
        for state in parts:
            width = float(str(parts[state].attrs["width"]))
            assert width == pytest.approx(200 * len(states[state]) / item.filters, abs=0.06)
            assert float(str(parts[state].attrs["x"])) == pytest.approx(left, abs=0.3)
            left += width
        assert [int(n) for n in re.findall(r"(\d+) [a-z]", line.one("title").text)] == [
            len(states[state]) for state in STATES if states[state]
        ]


# Charts


def test_histograms_count_as_numpy_does_and_keep_inactive_filters_apart() -> None:
    model = measured().models[0]
    page = read(to_html(build.report([model])))
    drawn = {figure.one("b").text: figure.one("svg") for figure in page.all("figure")}
    measured_layers = [item for item in model.layers if item.universality is not None]
    assert drawn.keys() == {"all layers", *(item.key for item in measured_layers)}
    every: list[float] = []
    silent = 0
    for item in measured_layers:
        active = [v for i, v in enumerate(item.universality or []) if i not in (item.activation or [])]
        counts = np.histogram(active, bins=np.arange(21) / 20)[0].tolist()
        said = [int(n) for n in re.findall(r"\d+", drawn[item.key].one("desc").text)]
        assert said == [len(item.activation or []), 20, 0, 1, *counts]
        path = str(drawn[item.key].one("path", klass="f-active").attrs["d"])
        heights = {int(x): float(h) for x, h in re.findall(r"M(\d+) \d+v-([\d.]+)h", path)}
        top = max(*counts, len(item.activation or []))
        for i, n in enumerate(counts):
            assert heights.get(24 + 6 * i, 0) == pytest.approx(0 if not n else max(50 * n / top, 2), abs=0.06)
        every += active
        silent += len(item.activation or [])
    bars = drawn["all layers"].all("rect")
    counts = np.histogram(every, bins=np.arange(21) / 20)[0].tolist()
    assert [int(re.findall(r"\d+", bar.one("title").text.split(":")[-1])[0]) for bar in bars] == [silent, *counts]
    for bar, n in zip(bars, [silent, *counts], strict=True):
        assert float(str(bar.attrs["height"])) == pytest.approx(
            max(110 * n / max(*counts, silent), 2 * (n > 0)), abs=0.06
        )


def test_a_share_on_the_edge_of_a_bin_belongs_to_its_right() -> None:
    values = [k / 3000 for k in range(0, 3001, 150)]
    item = pages.measured_layer("c", 21, 0, universality=values, activation=[])
    page = read(to_html(build.report([build.model([item], [])])))
    said = page.all("figure")[1].one("desc").text
    assert said.endswith(": " + ", ".join(["1"] * 19 + ["2"]))


def test_points_of_the_scatter() -> None:
    report = measured()
    model = report.models[0]
    svg = read(to_html(report)).one("svg", klass="scatter")
    states = filters_by_state(model)
    band = svg.one("rect", klass="band")
    low = int(str(band.attrs["x"]))
    high = low + int(str(band.attrs["width"]))
    found: dict[tuple[int, str], set[tuple[int, int]]] = {}
    for group in svg.all("g"):
        for path in group.all("path"):
            points = re.findall(r"M(\d+) (\d+)", str(path.attrs["d"]))
            key = int(str(path.attrs["data-i"])), str(group.attrs["class"]).removeprefix("p-")
            assert len(points) == len(set(points))
            found[key] = {(int(x), int(y)) for x, y in points}
    pairs = []
    for i, item in enumerate(model.layers):
        for state in STATES:
            filters = [] if item.gamma is None else sorted(states[i][state])
            assert bool(filters) == ((i, state) in found)
            places = sorted(found.get((i, state), set()))
            # Nearly every filter has a pixel of its own here, and those of one state lie apart.
            assert len(places) <= len(filters)
            values = sorted(((item.gamma or [])[f], (item.beta or [])[f]) for f in filters)
            if len(places) == len(values):
                pairs += list(zip(values, places, strict=True))
    assert len(pairs) > 100
    for (gamma, _), (x, _) in pairs:
        assert (abs(gamma) < 1e-3) == (low < x < high), (gamma, x)
    by_gamma = sorted((gamma, x) for (gamma, _), (x, _) in pairs)
    assert all(before[1] <= after[1] for before, after in itertools.pairwise(by_gamma))


def test_places_of_gamma_and_beta_against_the_axes() -> None:
    gamma, beta = [1.0, 0.1, 0.01, 1e-3, 0.0, -1e-3, -1.0], [-1.0, -0.5, 0.0, 0.25, 0.5, 0.75, 1.0]
    item = pages.measured_layer("c", 7, 0, gamma=gamma, beta=beta, scale=[4], activation=[], constant=[])
    svg = read(to_html(build.report([build.model([item], [])]))).one("svg", klass="scatter")
    places = [
        (int(x), int(y))
        for group in svg.all("g")
        for path in group.all("path")
        for x, y in re.findall(r"M(\d+) (\d+)", str(path.attrs["d"]))
    ]
    by_x = sorted(places)
    ys = [y for _, y in sorted(places)]
    assert ys == sorted(ys)  # here β falls as γ rises, and y grows downwards
    ticks = {text.text: int(str(text.attrs["x"])) for text in svg.all("text")}
    assert [x for x, _ in by_x] == [ticks[label] for label in ("-1", "-0.001", "0", "0.001", "0.01", "0.1", "1")]
    steps = [after - before for (before, _), (after, _) in itertools.pairwise(by_x)]
    assert max(steps[3:]) - min(steps[3:]) <= 1  # each factor of 10 takes the same room


def test_the_band_of_dead_scales_is_there_where_all_are_alive() -> None:
    item = pages.measured_layer("c", 2, 0, gamma=[0.5, 0.7], beta=[0.0, 1.0], scale=[], activation=[], constant=[])
    svg = read(to_html(build.report([build.model([item], [])]))).one("svg", klass="scatter")
    ticks = {text.text: int(str(text.attrs["x"])) for text in svg.all("text")}
    band = svg.one("rect", klass="band").attrs
    assert int(str(band["x"])) == ticks["-0.001"]
    assert int(str(band["width"])) == ticks["0.001"] - ticks["-0.001"]


@pytest.mark.parametrize("gamma", [[0.0, 0.0], [1e30, 1e-300], [float("inf"), 1.0], [None, -2.0], [-3e8, 1e200]])
@pytest.mark.parametrize("beta", [[0.0, 0.0], [1e300, -1e300], [float("nan"), 1e-9], [5.0, None]])
def test_odd_numbers_are_drawn_inside_or_left_out(gamma: list[float | None], beta: list[float | None]) -> None:
    item = pages.measured_layer("c", 2, 0, gamma=gamma, beta=beta, scale=[], activation=[], constant=[])
    page = read(to_html(build.report([build.model([item], [])])))
    for svg in page.all("svg", klass="scatter"):
        for path in [path for group in svg.all("g") for path in group.all("path")]:
            for x, y in re.findall(r"M(-?\d+) (-?\d+)", str(path.attrs["d"])):
                assert 0 <= int(x) <= 640
                assert 0 <= int(y) <= 340
        assert len(svg.all("text")) < 40


# Size


def test_thousands_of_layers_and_hundreds_of_models_stay_under_a_megabyte() -> None:
    layers = [pages.measured_layer(f"stage{i}.conv", 20, i) for i in range(3000)]
    many = build.model(layers, [build.failed(rule, item.key) for rule in ("SA101", "SA102") for item in layers[::3]])
    text = to_html(build.report([many], exit_code=1))
    assert 500_000 < len(text.encode()) < LONGEST
    page = read(text)
    assert sum(len(table.rows()) for table in page.all("table", klass="failures")) == 2000
    section = page.one("section", id="model-0-layers")
    missing = int(re.findall(r"and ([\d,]+) more layers", section.text)[0].replace(",", ""))
    assert len(section.one("table").rows()) + missing == 3000
    few = build.model(layers[:7], [build.failed("SA101", item.key) for item in layers[:7]])
    page = read(to_html(build.report([few] * 200, exit_code=1)))
    assert len(page.all("section", klass="model")) == 200
    assert len([row for table in page.all("table", klass="failures") for row in table.rows()]) == 1400


def test_thirty_thousand_filters_keep_every_chart() -> None:
    layers = [pages.measured_layer(f"stage{i}.conv", 600, i) for i in range(50)]
    text = to_html(build.report([build.model(layers, [])]))
    assert len(text.encode()) < LONGEST
    page = read(text)
    assert len(page.all("figure")) == 51
    assert all(
        "data-i" in path.attrs for group in page.one("svg", klass="scatter").all("g") for path in group.all("path")
    )


def test_a_page_that_fits_is_not_cut() -> None:
    assert "in the JSON report" not in to_html(build.huge(200)).replace("the JSON report holds all indices", "")


def test_even_the_worst_names_leave_a_verdict() -> None:
    worst = "\x1b<&\"'" * 900
    results = [build.failed(f"SA{i}", worst, message=worst, remedies=[worst + str(i)]) for i in range(100, 110)]
    made = build.model([pages.measured_layer(worst, 8, 0)], results, path=worst, notes=[worst] * 50)
    text = to_html(build.report([made] * 150, exit_code=1, config_file=worst))
    assert len(text.encode()) < LONGEST
    assert read(text).one("h1").text == "10 rules failed (1,500 failures)"


def test_even_the_last_step_tells_the_verdict_and_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    worst = "\x1b<&\"'" * 900
    waiver = Waiver(rule="SA103", layer=worst, model=worst, reason=worst, expires=datetime.date(2026, 5, 1))
    better = Improvement(
        model=worst, rule="SA101", layer=worst, severity_before="error", severity_after=None, before=0.3, after=0.2
    )
    info = BaselineInfo(path=worst, started=worst, tolerance=1, improvements=[better] * 50)
    changes = {"baseline": info, "unused_waivers": [waiver] * 50, "config_file": worst, "started": worst}
    report = build.nasty().model_copy(update={**changes, "errors": build.nasty().errors * 50})
    monkeypatch.setattr(module, "LONGEST", 150_000)
    monkeypatch.setattr(module, "_STEPS", module._STEPS[-1:])
    page = read(to_html(report))
    assert page.one("h1").text.lstrip("✕ ") == verdict(report).words
    assert "and 2 more models in the JSON report" in page.text
    assert page.text.count("and 49 more") == 3


# Colours


def _luminance(colour: str) -> float:
    def linear(part: float) -> float:
        return part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4

    red, green, blue = (linear(int(colour[i : i + 2], 16) / 255) for i in (1, 3, 5))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _contrast(one: str, other: str) -> float:
    low, high = sorted([_luminance(one), _luminance(other)])
    return (high + 0.05) / (low + 0.05)


@pytest.fixture(scope="module")
def colours() -> list[dict[str, str]]:
    style = (TEMPLATES / "style.css").read_text("utf-8")
    found = re.findall(r"--([a-z]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\)", style)
    return [{name: light for name, light, _ in found}, {name: dark for name, _, dark in found}]


def test_contrast_is_that_of_wcag_aa(colours: list[dict[str, str]]) -> None:
    for theme in colours:
        for ground in ("page", "panel"):
            for text in ("text", "muted", "link", "bad", "warn", "good"):
                assert _contrast(theme[text], theme[ground]) >= 4.5, (text, ground)
            for graphic in STATES:
                assert _contrast(theme[graphic], theme[ground]) >= 3, (graphic, ground)


# Machado, Oliveira and Fernandes 2009: severity 1.0, on linear RGB.
CONFUSED = {
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "none": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
}


def _lab(colour: str, matrix: list[list[float]]) -> np.ndarray:
    rgb = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.array(matrix) @ linear, 0, 1)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    f = np.cbrt(to_xyz @ seen / np.array([0.9505, 1.0, 1.089]))
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("sight", CONFUSED)
def test_states_can_be_told_apart_by_colour_blind_readers(sight: str, colours: list[dict[str, str]]) -> None:
    for theme in colours:
        for one, other in itertools.combinations(STATES, 2):
            matrix = CONFUSED[sight]
            distance = np.linalg.norm(_lab(theme[one], matrix) - _lab(theme[other], matrix))
            assert distance > 25, (one, other, distance)


def _tables(page: Node) -> list[list[list[str]]]:
    return [table.rows() for table in page.all("table")]


def test_tables_of_several_models_lead_to_each() -> None:
    page = read(to_html(build.report([build.failed_with_warnings().models[0], build.weights_only().models[0]])))
    links = page.one("section", id="models").all("a")
    assert [link.attrs["href"] for link in links] == ["#model-0", "#model-1"]
    assert ["fc.bn", "after Linear", "64", "2", "1"] in [row for rows in _tables(page) for row in rows]


def test_what_to_do_is_told_once_for_a_rule() -> None:
    known = build.failed("SA101", "conv2", standing="known", standing_reason="0.3 in the baseline")
    page = read(to_html(build.report([build.model([], [known, build.failed("SA101", "conv1")])], exit_code=1)))
    first, second = page.all("article")
    assert [first.one("h4").one("span").text, second.one("h4").one("span").text] == ["1 failed", "1 known"]
    assert "lower the L2 strength" in first.text
    assert "lower the L2 strength" not in second.text
