"""Values as short text: numbers as the paper writes them, and the names that row ids are made of."""

from __future__ import annotations

import re


def short_number(value: float) -> str:
    """Return 1e-3 for 0.001, 0.5 for 0.5, 12 for 12.0: what is read back as the same number."""
    if isinstance(value, int) or value == 0 or not 0 < abs(value) < float("inf"):
        return str(value).removesuffix(".0")
    if 0.1 <= abs(value) < 1e5:
        return repr(value).removesuffix(".0")
    mantissa, exponent = next(text for count in range(18) if float(text := f"{value:.{count}e}") == value).split("e")
    return f"{mantissa}e{int(exponent)}"


def slug(value: object) -> str:
    """Return a value in lower-case letters, digits, dots and hyphens; a table's and a list's values joined."""
    parts = [value]
    if isinstance(value, dict | list):
        parts = list(value.values()) if isinstance(value, dict) else value
        return "-".join(slug(part) for part in parts) or "none"
    text = short_number(value) if isinstance(value, float) else str(value)
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.") or "none"
