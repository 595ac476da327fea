"""Texts of rules and docstrings as Markdown, for ``scripts/docs.py``."""

from __future__ import annotations

import re

_CODE = re.compile(r"``(.+?)``|`([^`]+)`")


def prose(text: str) -> str:
    """Return running text as Markdown on one line: what is code stays code, everything else means itself."""
    text = " ".join(text.split())
    parts, end = [], 0
    for found in _CODE.finditer(text):
        parts += [_escaped(text[end : found.start()]), f"`{found[1] or found[2]}`"]
        end = found.end()
    return "".join([*parts, _escaped(text[end:])])


def cell(text: str) -> str:
    """Return running text for a table's cell."""
    return prose(text).replace("|", "\\|")


def _escaped(text: str) -> str:
    return re.sub(r"([\\*_`\[\]])", r"\\\1", text).replace("<", "&lt;")
