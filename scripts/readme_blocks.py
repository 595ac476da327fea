"""Put the real output of commands into README.md, between the marks that name them.

    python scripts/readme_blocks.py

``tests/test_readme.py`` runs the same commands and compares.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
from pathlib import Path

from sparsity_audit.cli.main import exit_code

README = Path(__file__).resolve().parent.parent / "README.md"
COMMANDS = {
    "session": ["run", "zoo/checkpoints/digits-adam-l2.safetensors", "--data", "digits"],
    "rules": ["rules", "list"],
}


def output_of(arguments: list[str]) -> str:
    """Return what a command prints on a terminal of 100 columns, run in the repository's root."""
    os.environ["COLUMNS"] = "100"
    printed = io.StringIO()
    with contextlib.chdir(README.parent), contextlib.redirect_stdout(printed):
        exit_code(arguments)
    lines = [line.rstrip() for line in printed.getvalue().splitlines()]
    return "\n".join([f"$ sparsity-audit {' '.join(arguments)}", *lines]) + "\n"


def pattern(mark: str) -> re.Pattern[str]:
    """Return the pattern of a marked block; its group 2 is the block's content."""
    return re.compile(rf"(<!-- {mark} -->\n```console\n)(.*?)(```)", re.DOTALL)


def main() -> None:
    """Rewrite README.md."""
    text = README.read_text("utf-8")
    for mark, arguments in COMMANDS.items():
        printed = output_of(arguments)
        text = pattern(mark).sub(lambda match, printed=printed: match[1] + printed + match[3], text)
    README.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
