"""Numbers, index lists and foreign text as a reader sees them, in terminals and in Markdown alike."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from sparsity_audit.schema.report import EvidenceValue, Unit

DASH = "–"
"""Stands wherever a value is unknown; never for zero."""

_UNITS = ("", " k", " M", " G", " T", " P")
LONGEST_RANGES = 12
"""Ranges of indices, or items of any list, shown where not everything was asked for."""

_PLAIN_CODE = re.compile(r"[\w./:@+=,~ -]*\w[\w./:@+=,~-]*", re.ASCII)
_MARKDOWN_SPECIAL = re.compile(r"[&<>|`*\[\]\\~#$]|_(?![A-Za-z0-9])")


def printable(text: str) -> str:
    r"""Return ``text`` as one line that a terminal cannot act on: a control character becomes ``\n`` or ``\x1b``.

    Keys and paths come from files that nobody vouches for; line ends break tables, and escape sequences rewrite
    the screen.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def markdown_text(text: str) -> str:
    """Return ``text`` so that Markdown and HTML show it letter by letter, in table cells too."""
    safe = _MARKDOWN_SPECIAL.sub(lambda match: f"&#{ord(match[0])};", printable(text))
    # An entity does not keep GitHub from notifying whoever has that name; splitting the text node does.
    return safe.replace("@", "@<!-- -->")


def html_code(text: str) -> str:
    """Return ``text`` in code letters where Markdown is not read, as in ``<summary>``."""
    return f"<code>{markdown_text(text)}</code>"


def markdown_code(text: str) -> str:
    """Return ``text`` in code letters: between backticks where it holds nothing special, else as HTML."""
    return f"`{text}`" if _PLAIN_CODE.fullmatch(text) else html_code(text)


def clip(text: str, longest: int) -> str:
    """Return ``text``, cut to ``longest`` characters with an ellipsis where it is longer."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


def plural(n: int, one: str) -> str:
    """Return ``1 warning`` or ``2 warnings``."""
    return f"{n:,} {one}" if n == 1 else f"{n:,} {one}s"


def ratio(part: int | None, whole: int | None) -> float | None:
    """Return ``part / whole``, or None where either is unknown or there is no whole."""
    return None if part is None or not whole else part / whole


def points(fraction: float | None, digits: int = 1) -> str:
    """Return a fraction in percent without the sign; what rounds to 0 or 100 without being it says so."""
    if fraction is None or not math.isfinite(fraction):
        return DASH
    step = 10.0**-digits
    percent = 100 * fraction
    if 0 < percent < step / 2:
        return f"<{step:.{digits}f}"
    if 100 - step / 2 < percent < 100:
        return f">{100 - step:.{digits}f}"
    return f"{percent:.{digits}f}"


def percent(fraction: float | None, digits: int = 1) -> str:
    """Return a fraction as ``2.5 %``."""
    shown = points(fraction, digits)
    return shown if shown == DASH else f"{shown} %"


def share(part: int | None, whole: int | None) -> str:
    """Return ``17 of 688 (2.5 %)``."""
    return DASH if part is None or whole is None else f"{part:,} of {whole:,} ({percent(ratio(part, whole))})"


def count(n: int | None) -> str:
    """Return ``50,000``."""
    return DASH if n is None else f"{n:,}"


def human(n: int | None) -> str:
    """Return a count with three digits and a unit, ``4.65 M``; below a thousand the count itself."""
    if n is None:
        return DASH
    if abs(n) < 1000:
        return str(n)
    value = float(n)
    for unit in _UNITS:
        if abs(value) < 999.5 or unit == _UNITS[-1]:
            break
        value /= 1000
    digits = 2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0
    return f"{value:.{digits}f}{unit}"


def number(value: float | None) -> str:
    """Return a measured value or a limit: whole numbers in full, others with four digits."""
    if value is None or math.isnan(value):
        return DASH
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.1f}" if 1000 <= abs(value) < 1e6 else f"{value:.4g}"


def measured(value: float | None, unit: Unit) -> str:
    """Return a rule's value or limit in its unit: shares in percent."""
    return percent(value) if unit == "fraction" else number(value)


def index_ranges(indices: Iterable[int], limit: int | None = None) -> str:
    """Return ``3, 7–9``; with ``limit``, that many ranges and the count of the indices left out."""
    runs: list[tuple[int, int]] = []
    for index in sorted(set(indices)):
        if runs and index == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], index)
        else:
            runs.append((index, index))
    shown = runs if limit is None else runs[:limit]
    text = ", ".join(str(first) if first == last else f"{first}–{last}" for first, last in shown)
    rest = sum(last - first + 1 for first, last in runs[len(shown) :])
    return f"{text}, … and {rest:,} more" if rest else text or DASH


def evidence_text(value: EvidenceValue, *, whole: bool = False) -> str:
    """Return one piece of evidence; lists are cut after a dozen items unless ``whole``."""
    if isinstance(value, list):
        return _list_text(value, None if whole else LONGEST_RANGES)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    return number(value)


def _list_text(values: list[int] | list[float] | list[str], limit: int | None) -> str:
    indices = [value for value in values if isinstance(value, int)]
    if len(indices) == len(values) and indices == sorted(set(indices)):
        return index_ranges(indices, limit)
    texts = [value if isinstance(value, str) else number(value) for value in values]
    shown = texts if limit is None else texts[:limit]
    rest = len(texts) - len(shown)
    return ", ".join(shown) + (f", … and {rest:,} more" if rest else "")
