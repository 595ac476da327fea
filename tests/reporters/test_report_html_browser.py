"""The HTML report in headless Chromium: what its script does, and that nothing else happens."""

from __future__ import annotations

import base64
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import html_pages as pages
import pytest
import report_builders as build

from sparsity_audit.reporters.html import to_html
from sparsity_audit.schema.report import AuditReport

pytestmark = pytest.mark.browser

SWITCHES = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
SWITCHES += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
OUTCOMES = ["failed", "warning", "known", "inconclusive", "passed", "skipped"]


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    browser, bridge = shutil.which("chromium"), shutil.which("chromedriver")
    if browser is None or bridge is None:
        pytest.skip("no chromium and chromedriver on the path (Debian: apt install chromium-driver)")
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for switch in (*SWITCHES, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    made = webdriver.Chrome(options=options, service=webdriver.ChromeService(bridge))
    yield made
    made.quit()


REPORTS = {
    "measured": lambda: build.report([pages.measured_model()], exit_code=1),
    "nasty": build.nasty,
    "study": pages.with_study,
    "weights": build.weights_only,
    "two": lambda: build.report([pages.measured_model(4), pages.measured_model(3)], exit_code=1),
    "crashed": build.crashed_rule,
    "empty": lambda: build.report([], exit_code=5),
    "long": lambda: build.huge(60, "a" * 150 + "{}"),
}


@pytest.fixture(scope="module")
def reports() -> dict[str, AuditReport]:
    return {name: make() for name, make in REPORTS.items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, reports: dict[str, AuditReport]) -> Path:
    made = tmp_path_factory.mktemp("pages")
    for name, report in reports.items():
        (made / f"{name}.html").write_text(to_html(report), "utf-8")
    return made


@pytest.fixture
def opened(driver: Any, folder: Path) -> Iterator[Any]:
    """Open the measured report, and hold after the test that nobody complained in the console."""
    show(driver, folder, "measured")
    yield driver
    assert driver.get_log("browser") == []


def show(driver: Any, folder: Path, name: str, width: int = 1280, theme: str = "light") -> None:
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    media = {"media": "", "features": [{"name": "prefers-color-scheme", "value": theme}]}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    driver.get((folder / f"{name}.html").as_uri())


def find(driver: Any, selector: str) -> Any:
    return driver.find_element("css selector", selector)


def column(driver: Any, n: int) -> list[str]:
    """Return the texts of a column of the layer table, of the rows that are shown, as they stand."""
    script = (
        "return [...document.querySelectorAll('table.sortable tbody tr')].filter(r => !r.hidden)"
        ".map(r => r.children[arguments[0]].textContent)"
    )
    found: list[str] = driver.execute_script(script, n)
    return found


def header(driver: Any, n: int) -> Any:
    return driver.find_elements("css selector", "table.sortable thead th button")[n]


def sorts(driver: Any) -> list[str | None]:
    script = "return [...document.querySelectorAll('table.sortable thead th')].map(h => h.getAttribute('aria-sort'))"
    found: list[str | None] = driver.execute_script(script)
    return found


def by(values: list[Any], *, falling: bool) -> list[int]:
    """Return the order of indices that a stable sort gives, unknown values last either way."""
    known = [i for i, value in enumerate(values) if value is not None]
    unknown = [i for i, value in enumerate(values) if value is None]
    return sorted(known, key=lambda i: (-values[i] if falling else values[i], i)) + unknown


def natural(key: str) -> list[Any]:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", key.lower())]


@pytest.mark.parametrize("name", REPORTS)
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_cut_off_nothing_is_fetched_nobody_complains(
    driver: Any, folder: Path, name: str, width: int, theme: str
) -> None:
    driver.get_log("performance")
    show(driver, folder, name, width, theme)
    wide, inner = driver.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
    assert inner == width
    assert wide <= inner
    assert driver.execute_script("return performance.getEntriesByType('resource').length") == 0
    events = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    asked = {event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"}
    assert asked - {"data:,"} == {(folder / f"{name}.html").as_uri()}
    assert driver.get_log("browser") == []
    # What reaches beyond the window does so inside a frame that scrolls.
    outside = driver.execute_script(
        "return [...document.querySelectorAll('main *, header *')].filter(e => !e.closest('.scroll, svg')"
        " && e.getBoundingClientRect().width && e.getBoundingClientRect().right > innerWidth + 0.5)"
        ".map(e => e.outerHTML)"
    )
    assert outside == []
    # What failed is read without scrolling sideways even on a telephone.
    frames = "return [...document.querySelectorAll('.failures')].every(t => t.scrollWidth <= t.parentNode.clientWidth)"
    assert width > 390 or driver.execute_script(frames)


@pytest.mark.parametrize("column_at", range(2, 12))
def test_sorting_by_numbers(opened: Any, reports: dict[str, AuditReport], column_at: int) -> None:
    layers = reports["measured"].models[0].layers
    values = [
        lambda item: item.filters,
        lambda item: None if item.scale is None else len(item.scale) / item.filters,
        lambda item: None if item.activation is None else len(item.activation) / item.filters,
        lambda item: None if item.constant is None else len(item.constant) / item.filters,
        lambda item: item.selectivity,
        lambda item: item.params,
        lambda item: item.lost["union"].params / item.params,
        lambda item: item.macs,
        lambda item: item.lost["union"].macs / item.macs,
        lambda item: item.lost["union"].held_back,
    ][column_at - 2]
    found = [values(item) for item in layers]
    for falling in (True, False):
        header(opened, column_at).click()
        assert column(opened, 1) == [layers[i].key for i in by(found, falling=falling)]
        told = sorts(opened)
        assert told[column_at] == ("descending" if falling else "ascending")
        assert sum(text is not None for text in told) == 1


def test_sorting_by_keyboard(opened: Any, reports: dict[str, AuditReport]) -> None:
    keys = [item.key for item in reports["measured"].models[0].layers]
    assert column(opened, 1) == keys
    opened.execute_script("arguments[0].focus()", header(opened, 1))
    opened.switch_to.active_element.send_keys("\ue007")  # Enter
    assert column(opened, 1) == sorted(keys, key=natural)
    opened.switch_to.active_element.send_keys(" ")
    assert column(opened, 1) == sorted(keys, key=natural, reverse=True)
    assert sorts(opened)[1] == "descending"
    header(opened, 0).click()
    assert column(opened, 1) == keys


def test_sorting_by_the_worst_outcome(opened: Any) -> None:
    header(opened, 12).click()
    found = column(opened, 12)
    assert found == sorted(found, key=OUTCOMES.index)
    assert set(found) == set(OUTCOMES)


def test_filtering_by_name_and_outcome(opened: Any, reports: dict[str, AuditReport]) -> None:
    keys = [item.key for item in reports["measured"].models[0].layers]
    count = find(opened, "output.shown")
    assert count.text == f"{len(keys)} of {len(keys)} layers"
    find(opened, "input.search").send_keys("BLOCK1")
    wanted = [key for key in keys if "block1" in key]
    assert column(opened, 1) == wanted
    assert count.text == f"{len(wanted)} of {len(keys)} layers"
    offered = [option.text for option in opened.find_elements("css selector", "select.outcome option")]
    assert offered == ["any", *OUTCOMES]
    find(opened, "select.outcome").send_keys("failed")
    assert column(opened, 1) == ["block1.conv"]
    find(opened, "input.search").send_keys("\ue003" * 6, "nowhere")
    assert column(opened, 1) == []
    assert count.text == f"0 of {len(keys)} layers"
    header(opened, 2).click()  # what is hidden is sorted too
    find(opened, "input.search").send_keys("\ue003" * 7)
    assert column(opened, 1) == ["block1.conv"]
    find(opened, "select.outcome").send_keys("any")
    assert sorted(column(opened, 1)) == sorted(keys)
    find(opened, "input.search").send_keys("unseen")
    assert column(opened, 1) == ["Unseen.Conv"]


def lit(driver: Any) -> set[str]:
    """Return the layers whose points stand out; without any, none is dimmed."""
    found, dimmed = driver.execute_script(
        "return [[...document.querySelectorAll('svg.scatter path.on')].map(p => p.dataset.i),"
        " document.querySelector('svg.scatter').classList.contains('lit')]"
    )
    assert dimmed == bool(found)
    return set(found)


def test_a_layer_is_pointed_out_in_the_scatter(opened: Any) -> None:
    rows = opened.find_elements("css selector", "table.sortable tbody tr")
    assert lit(opened) == set()
    assert [row.get_attribute("tabindex") for row in rows[:3]] == ["0", "-1", "-1"]
    opened.execute_script("arguments[0].focus()", rows[0])
    assert lit(opened) == {"0"}
    opened.switch_to.active_element.send_keys("\ue015")  # down
    assert opened.switch_to.active_element == rows[1]
    assert [row.get_attribute("tabindex") for row in rows[:3]] == ["-1", "0", "-1"]
    assert lit(opened) == {"1"}
    opened.switch_to.active_element.send_keys("\ue007")
    opened.execute_script("document.activeElement.blur()")
    assert lit(opened) == {"1"}
    chosen = find(opened, "select.point-out")
    assert opened.execute_script("return arguments[0].selectedOptions[0].text", chosen) == "block1.conv"
    opened.execute_script(
        "arguments[0].dispatchEvent(new MouseEvent('mouseover', { bubbles: true }))",
        rows[3].find_element("css selector", "td"),
    )
    assert lit(opened) == {"3"}
    opened.execute_script("document.querySelector('table.sortable tbody').dispatchEvent(new MouseEvent('mouseleave'))")
    assert lit(opened) == {"1"}
    chosen.send_keys("all layers")
    assert lit(opened) == set()


def ground(driver: Any) -> str:
    found: str = driver.execute_script("return getComputedStyle(document.body).backgroundColor")
    return found


@pytest.mark.parametrize(
    ("theme", "first", "second"), [("light", "255, 255, 255", "16, 21, 27"), ("dark", "16, 21, 27", "255, 255, 255")]
)
def test_theme(driver: Any, folder: Path, theme: str, first: str, second: str) -> None:
    show(driver, folder, "measured", theme=theme)
    button = find(driver, "#theme")
    other = {"light": "Dark theme", "dark": "Light theme"}
    assert ground(driver) == f"rgb({first})"
    assert button.text == other[theme]
    button.click()
    assert ground(driver) == f"rgb({second})"
    button.send_keys("\ue007")
    assert ground(driver) == f"rgb({first})"
    button.click()
    driver.refresh()  # kept in memory only
    assert ground(driver) == f"rgb({first})"
    assert driver.execute_script("return localStorage.length + sessionStorage.length + document.cookie.length") == 0


def test_tab_reaches_everything_in_order_and_can_be_seen(opened: Any) -> None:
    script = "const e = document.activeElement; return [e.tagName, e.className, getComputedStyle(e).outlineStyle]"
    seen = []
    for _ in range(200):
        opened.execute_cdp_cmd(
            "Input.dispatchKeyEvent", {"type": "keyDown", "key": "Tab", "code": "Tab", "windowsVirtualKeyCode": 9}
        )
        opened.execute_cdp_cmd(
            "Input.dispatchKeyEvent", {"type": "keyUp", "key": "Tab", "code": "Tab", "windowsVirtualKeyCode": 9}
        )
        tag, classes, outline = opened.execute_script(script)
        if tag == "BODY":
            break
        assert outline == "solid" or tag in ("INPUT", "SELECT", "BUTTON"), (tag, classes, outline)
        seen.append((tag, classes))
    assert seen[0] == ("A", "skip")
    assert ("INPUT", "search") in seen
    assert sum(tag == "TR" for tag, _ in seen) == 1
    assert sum(tag == "SUMMARY" for tag, _ in seen) == opened.execute_script(
        "return document.querySelectorAll('summary').length"
    )
    assert opened.execute_script("return document.querySelectorAll('.scroll').length") == sum(
        "scroll" in c for _, c in seen
    )


def test_header_stays_in_sight(opened: Any) -> None:
    script = (
        "const box = document.querySelector('.layers .tall'); box.style; box.scrollTop = 200;"
        "return [box.scrollHeight > box.clientHeight, box.querySelector('thead th').getBoundingClientRect().top"
        " - box.getBoundingClientRect().top]"
    )
    opened.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 1280, "height": 300, "deviceScaleFactor": 1, "mobile": False}
    )
    scrolls, off = opened.execute_script(script)
    assert scrolls
    assert abs(off) <= 2


def test_printed_page_is_light_open_and_without_controls(opened: Any) -> None:
    find(opened, "#theme").click()
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert ground(opened) == "rgb(255, 255, 255)"
    hidden = (
        "return [...document.querySelectorAll('.js, .jump, .skip')].every(e => getComputedStyle(e).display === 'none')"
    )
    assert opened.execute_script(hidden)
    assert opened.execute_script(
        "return [...document.querySelectorAll('details > :not(summary)')].every(e => e.checkVisibility())"
    )
    assert opened.execute_script(
        "return [...document.querySelectorAll('.scroll')].every(e => e.scrollHeight <= e.clientHeight + 1)"
    )
    placed = "return [...document.querySelectorAll('th, td')].every(e => getComputedStyle(e).position === 'static')"
    assert opened.execute_script(placed)
    pdf = base64.b64decode(opened.print_page())
    assert pdf.startswith(b"%PDF")
    assert opened.execute_script("return document.querySelectorAll('details[open]').length") == 0
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_without_script_it_is_a_plain_table(driver: Any, folder: Path, reports: dict[str, AuditReport]) -> None:
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        show(driver, folder, "measured")
        rows = driver.find_elements("css selector", "table.sortable tbody tr")
        assert len(rows) == len(reports["measured"].models[0].layers)
        assert all(row.is_displayed() for row in rows[:3])
        assert driver.find_elements("css selector", "th button") == []
        assert not any(element.is_displayed() for element in driver.find_elements("css selector", ".js"))
    finally:
        driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
