"""A report as one HTML file: no request goes out, so it opens from a disk, an artifact or a mail."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from sparsity_audit.reporters import html_histograms, html_scatter, html_states, standing, study_tables, tables
from sparsity_audit.reporters.facts import environment
from sparsity_audit.reporters.html_failures import failure_groups
from sparsity_audit.reporters.html_view import Cut, ModelView, model_view
from sparsity_audit.reporters.summary import error_words, exit_words, failures_of, study_verdict, undecided, verdict
from sparsity_audit.reporters.text import clip, count, evidence_text, plural, printable
from sparsity_audit.schema.report import AuditReport

LONGEST = 1_000_000
"""Bytes of UTF-8 that a report stays under."""

_LONGEST_TEXT = 2000
"""Characters of any one text; paths and messages come from files that nobody vouches for."""
_SHORT_TEXT = 200
_ALL = 10**9
_BEFORE_UNIT = re.compile(r"(?<=\d) (?=%)")
_STEPS = (
    Cut(_ALL, _ALL, _ALL, _ALL, charts=500, grid=1, by_layer=True, help=True),
    Cut(_ALL, 4000, 3000, 1000, charts=120, grid=1, by_layer=True, help=True),
    Cut(_ALL, 4000, 2000, 400, charts=60, grid=2, by_layer=False, help=True),
    Cut(_ALL, 4000, 1000, 200, charts=40, grid=3, by_layer=False, help=True),
    Cut(_ALL, 4000, 500, 100, charts=24, grid=4, by_layer=False, help=True),
    Cut(_ALL, 2000, 500, 100, charts=24, grid=4, by_layer=False, help=True),
    Cut(_ALL, 1000, 200, 50, charts=12, grid=5, by_layer=False, help=False),
    Cut(_ALL, 400, 100, 25, charts=6, grid=6, by_layer=False, help=False),
    Cut(_ALL, 100, 40, 12, charts=0, grid=6, by_layer=False, help=False),
    Cut(1000, 50, 0, 0, charts=0, grid=6, by_layer=False, help=False),
    Cut(1000, 10, 0, 0, charts=0, grid=6, by_layer=False, help=False),
    Cut(400, 3, 0, 0, charts=0, grid=6, by_layer=False, help=False),
    Cut(100, 1, 0, 0, charts=0, grid=6, by_layer=False, help=False),
    Cut(10, 1, 0, 0, charts=0, grid=6, by_layer=False, help=False),
    Cut(0, 1, 0, 0, charts=0, grid=6, by_layer=False, help=False),
)


class Drawn(str):
    """A path of an SVG: long, and of our own making."""

    __slots__ = ()


def to_html(report: AuditReport) -> str:
    """Return the report as one HTML page of fewer than ``LONGEST`` bytes, the same for the same report.

    Where it would be longer, charts and rows are left out, details before failures, and what is missing is counted.
    """
    # The last step shows no model and one line of each list, so that one always fits.
    return next(page for cut in _STEPS if (page := _page(report, cut)) is not None)


def _page(report: AuditReport, cut: Cut) -> str | None:
    """Return the page, or None as soon as it is seen to be too long."""
    pieces, size = [], 0
    for piece in _environment().get_template("page.html").generate(**_context(report, cut)):
        pieces.append(piece)
        size += len(piece.encode())
        if size >= LONGEST:
            return None
    return "".join(pieces)


def _context(report: AuditReport, cut: Cut) -> dict[str, Any]:
    return {
        "report": report,
        "cut": cut,
        "verdict": verdict(report),
        "exit_words": exit_words(report) or "",
        "counts": _counts(report),
        "environment": environment(report.tool),
        "models": _models(report, cut),
        "style_hash": _hash("style.css"),
        "script_hash": _hash("script.js"),
    }


def _models(report: AuditReport, cut: Cut) -> Iterator[ModelView]:
    """Yield one model after another, so that a page that gets too long costs no more than it has to."""
    return (model_view(i, model, report, cut) for i, model in enumerate(report.models[: cut.models]))


def _counts(report: AuditReport) -> list[tuple[str, int]]:
    """Return how many results ended how, those that are not zero; the worst first."""
    results = report.results()
    excused = [result.standing for result in standing.excused_of(results)]
    counts = [
        ("not audited", len(report.errors)),
        ("crashed", report.count("error")),
        ("failed", len(failures_of(results, "error"))),
        ("warning", len(failures_of(results, "warning"))),
        ("known", excused.count("known")),
        ("waived", excused.count("waived")),
        ("inconclusive", report.count("inconclusive")),
        ("passed", report.count("passed")),
        ("skipped", report.count("skipped")),
    ]
    return [(name, n) for name, n in counts if n]


@cache
def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "count": count,
        "short": lambda text: clip(printable(text), _SHORT_TEXT),
        "joined": _joined,
        "drawn": Drawn,
    }
    made.globals |= {
        "charts": html_histograms,
        "error_words": error_words,
        "evidence_text": evidence_text,
        "failure_groups": failure_groups,
        "plural": plural,
        "plot": html_scatter,
        "standing": standing,
        "states": html_states,
        "studies": study_tables,
        "study_verdict": study_verdict,
        "tables": tables,
        "undecided": undecided,
    }
    return made


def _shown(value: object) -> object:
    """Return what a template prints; foreign text without control characters and not endless.

    A line never ends between a number and its per cent sign.

    Raises:
        TypeError: there is no value; a reader must not meet ``None``.
    """
    if value is None:
        raise TypeError("a template of the HTML report prints a value that is None")
    if type(value) is not str:
        return value
    return _BEFORE_UNIT.sub("\u00a0", clip(printable(value), _LONGEST_TEXT))


def _joined(text: str) -> str:
    """Return a paragraph without the line breaks of the file it was written in."""
    return " ".join(text.split())


@cache
def _hash(name: str) -> str:
    """Return what the page's policy allows a style or a script by: the digest of the very text."""
    text = _environment().get_template(name).render()
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
