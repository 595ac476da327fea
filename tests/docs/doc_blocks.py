"""Code blocks of the documentation, with what comments above them say of how they are to be run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
_BLOCK = re.compile(
    r"((?:^<!-- .*? -->\n)*)^```(\w+)\n(.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_MARK = re.compile(r"<!-- (exit|file|not run|installed)(?:: (.*?))? -->")


class Block(NamedTuple):
    """A fenced block."""

    language: str
    text: str
    marks: dict[str, str]
    """``exit``: the exit code of its last command; ``file``: where the reader would put it; ``not run``: why it is not;
    ``installed``: a module that has to be registered first."""


def blocks(page: Path) -> list[Block]:
    """Return a page's blocks in order."""
    return [
        Block(language, text, dict(_MARK.findall(marks)))
        for marks, language, text in _BLOCK.findall(page.read_text("utf-8"))
    ]
