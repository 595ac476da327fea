"""Pieces of GitHub Markdown: tables, lists, folded blocks, with every text escaped."""

from __future__ import annotations

from sparsity_audit.reporters.tables import WHOLE_MODEL, Table
from sparsity_audit.reporters.text import clip, markdown_code, markdown_text

_LONGEST_CELL = 300
_RULES = {"c": ":---", "l": ":---", "r": "---:"}


def short(text: str) -> str:
    """Return a text cut to the length of a cell."""
    return clip(text, _LONGEST_CELL)


def safe(text: str) -> str:
    """Return a text escaped for Markdown, and cut."""
    return markdown_text(short(text))


def _cell(text: str, letter: str) -> str:
    return markdown_code(short(text)) if letter == "c" and text != WHOLE_MODEL else safe(text)


def pipes(table: Table, longest: int) -> str:
    """Return a GitHub table; cells are escaped, rows beyond ``longest`` counted below it."""
    heads = [header.replace("\n", " ") for header in table.headers]
    rows = [heads, [_RULES[letter] for letter in table.align]]
    rows += [[_cell(*pair) for pair in zip(row, table.align, strict=True)] for row in table.rows[:longest]]
    if table.total is not None:
        rows.append([f"**{safe(cell)}**" if cell else "" for cell in table.total])
    text = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    return text + _more(len(table.rows) - longest)


def bullets(lines: list[str], longest: int) -> str:
    """Return a list, lines beyond ``longest`` counted below it."""
    return "".join(f"- {line}\n" for line in lines[:longest]) + _more(len(lines) - longest)


def _more(n: int) -> str:
    return f"\n… and {n:,} more in the JSON report\n" if n > 0 else ""


def folded(summary: str, body: str) -> str:
    """Return a block that is closed until it is clicked at."""
    return f"<details><summary>{summary}</summary>\n\n{body}\n</details>\n"
