"""Small networks in a folder of their own, and pytest sessions over them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "cli"))

from cli_helpers import write_healthy, write_linear, write_net, write_sick

__all__ = ["RULE", "AuditFolder", "write_healthy", "write_linear", "write_net", "write_sick"]

RULE = "SA101-dead-filter-fraction-by-scale"


class AuditFolder:
    """Where a test's weight files and audit files lie."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self.pytester = pytester
        self.path = pytester.path
        self.left = pytester.path / "temporary"
        """The folder for temporary files of sessions in processes of their own."""

    def good(self, name: str = "good.safetensors") -> Path:
        return write_healthy(self.path / name)

    def sick(self, name: str = "sick.safetensors", dead: int = 4) -> Path:
        return write_sick(self.path / name, dead)

    def audit(self, *models: str, name: str = "m.audit.toml", text: str = "") -> Path:
        """Write an audit file that selects SA101, which is decided from weights, unless ``text`` selects others."""
        select = "" if "select" in text else 'select = ["SA101"]\n'
        path = self.path / name
        path.write_text(f"models = {[str(model) for model in models]}\n{select}{text}\n", "utf-8")
        return path

    def run(self, *arguments: Any) -> pytest.RunResult:
        """Run pytest in this process; no traceback may show."""
        return seen(self.pytester.runpytest_inprocess("-p", "no:cacheprovider", *map(str, arguments)))

    def run_process(self, *arguments: Any) -> pytest.RunResult:
        """Run pytest in a process of its own."""
        return seen(self.pytester.runpytest_subprocess(*map(str, arguments), timeout=60))


def seen(result: pytest.RunResult) -> pytest.RunResult:
    text = result.stdout.str() + result.stderr.str()
    for word in ("Traceback", "INTERNALERROR", "pytest_items.py", "pytest_audit.py", "\x1b[31mNASTY"):
        assert word not in text, text
    return result
