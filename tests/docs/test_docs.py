"""The documentation is current, its links lead somewhere, and it builds without warnings."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
import yaml
from doc_blocks import DOCS, PAGES, ROOT, name, prose

HAS_ZENSICAL = importlib.util.find_spec("zensical") is not None
CONFIGURATION = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))


def test_generated_pages_are_current() -> None:
    command = [sys.executable, ROOT / "scripts" / "docs.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def anchors(page: Path) -> set[str]:
    """Return the ids of a page's headings, as Python-Markdown's ``toc`` makes them."""
    found: list[str] = []
    for heading in re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE):
        text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading)
        plain = unicodedata.normalize("NFKD", re.sub(r"[`*\\]", "", text)).encode("ascii", "ignore").decode()
        slug = re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain).strip().lower())
        count = sum(other == slug or re.fullmatch(rf"{re.escape(slug)}_\d+", other) is not None for other in found)
        found.append(slug if not count else f"{slug}_{count}")
    return set(found)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", prose(page))):
        if target.startswith(("http://", "https://")):
            continue
        file, _, anchor = target.partition("#")
        there = (page.parent / file).resolve() if file else page
        assert there in PAGES, target
        assert not anchor or anchor in anchors(there), target


def in_navigation(entries: object) -> list[str]:
    if isinstance(entries, str):
        return [entries]
    parts = entries.values() if isinstance(entries, dict) else entries
    return [path for part in parts for path in in_navigation(part)]  # type: ignore[attr-defined]


def test_every_page_is_in_the_navigation_once() -> None:
    assert sorted(in_navigation(CONFIGURATION["nav"])) == sorted(map(name, PAGES))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site, of a copy: what it leaves behind does not come into the checkout."""
    if not HAS_ZENSICAL:
        pytest.skip("zensical is not installed; it comes with the test extra")
    folder = tmp_path_factory.mktemp("docs")
    shutil.copytree(DOCS, folder / "docs")
    shutil.copy(ROOT / "mkdocs.yml", folder)
    command = [sys.executable, "-m", "zensical", "build", "--strict"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    printed = done.stdout + done.stderr
    assert done.returncode == 0, printed
    assert "warning" not in printed.lower(), printed
    return folder / "site"


def built(page: Path, site: Path) -> Path:
    """Return where a page is in the site."""
    path = Path(name(page)).with_suffix("")
    return site / (path.parent if path.name == "index" else path) / "index.html"


def test_the_site_builds_without_warnings(site: Path) -> None:
    assert all(built(page, site).is_file() for page in PAGES)


def test_anchors_are_those_of_the_built_pages(site: Path) -> None:
    for page in PAGES:
        ids = set(re.findall(r'<h[1-6] id="([^"]+)"', built(page, site).read_text("utf-8")))
        assert anchors(page) == ids, name(page)


def test_the_site_asks_no_other_server(site: Path) -> None:
    loaded = re.compile(r'<(?:script|img|iframe)[^>]* src="(?:https?:)?//|<link[^>]* href="(?:https?:)?//')
    outside = re.compile(r"""(?:url\(|@import)\s*["']?(?:https?:)?//""")
    for file in site.rglob("*.html"):
        assert not loaded.findall(file.read_text("utf-8")), file
    for file in site.rglob("*.css"):
        assert not outside.findall(file.read_text("utf-8")), file


def test_markup_came_through(site: Path) -> None:
    """No Markdown is left over in what a reader sees: a fence, a comment, a bar that ended a cell, a backslash."""
    for page in PAGES:
        html = built(page, site).read_text("utf-8")
        seen = re.sub(r"<(script|style|pre)\b.*?</\1>", "", html, flags=re.DOTALL)
        text = re.sub(r"<[^>]+>", "", re.sub(r"<!--.*?-->", "", seen, flags=re.DOTALL))
        assert "```" not in text, name(page)
        assert not re.findall(r"\\[*_|`<\[\]]", text), name(page)
        assert not re.findall(r"\]\([\w./#-]+\)", text), name(page)
