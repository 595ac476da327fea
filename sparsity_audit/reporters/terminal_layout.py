"""How rules, paragraphs and tables are laid out on a terminal."""

from __future__ import annotations

import re
import textwrap

from tabulate import tabulate

from sparsity_audit.reporters.tables import Table
from sparsity_audit.reporters.text import printable

_TEXT_WIDTH = 100
_BEFORE_UNIT = re.compile(r"(?<=\d) (?=[%kMGTP]( |\W|$))")
_GLUE = "\0"
"""Keeps a number and its unit on one line; no printable text holds it."""
_ALIGN = {"c": "left", "l": "left", "r": "right"}


def centred(title: str, width: int, fill: str = "=") -> str:
    """Return ``===== title =====``, ``width`` columns wide where the title fits."""
    return f" {title} ".center(width, fill)


def wrapped(text: str, first: str = "", rest: str = "    ") -> list[str]:
    """Return ``text`` as lines of 100 columns at most, with indents ``first`` and ``rest``; no word is broken."""
    lines = textwrap.wrap(
        _BEFORE_UNIT.sub(_GLUE, printable(text)),
        width=_TEXT_WIDTH,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [line.replace(_GLUE, " ") for line in lines]


def grid(table: Table) -> str:
    """Return the table with a rule under the headers and above the total; no cell is cut or broken."""
    heads = [header.split("\n") for header in table.headers]
    depth = max(len(head) for head in heads)
    tops = [[""] * (depth - len(head)) + head for head in heads]
    rows = [[top[i] for top in tops] for i in range(depth)]
    rows += [[printable(cell) for cell in row] for row in table.rows]
    if table.total is not None:
        rows.append(table.total)
    # Headers go in as rows: tabulate widens every column by two for a header, and a ledger must fit 100 columns.
    align = [_ALIGN[letter] for letter in table.align]
    lines = tabulate(rows, tablefmt="plain", disable_numparse=True, colalign=align).splitlines()
    rule = "-" * max(len(line) for line in lines)
    if table.total is not None:
        lines.insert(-1, rule)
    lines.insert(depth, rule)
    return "\n".join(line.rstrip() for line in lines)
