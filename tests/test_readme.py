"""What README.md shows is what the commands print."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]


def load_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("readme_blocks", ROOT / "scripts" / "readme_blocks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def steady(text: str) -> list[str]:
    """Return the lines without what differs from machine to machine: platform, versions, seconds, width of rules."""
    lines = [line for line in text.splitlines() if ", Python 3." not in line]
    return [re.sub(r"=+", "=", re.sub(r"in [0-9.]+s", "in Ns", line)) for line in lines]


@pytest.mark.parametrize("mark", ["session", "rules"])
def test_blocks_are_real(mark: str, monkeypatch: pytest.MonkeyPatch) -> None:
    script = load_script()
    monkeypatch.setenv("COLUMNS", "100")
    shown = script.pattern(mark).search((ROOT / "README.md").read_text("utf-8"))
    assert shown is not None
    assert steady(shown[2]) == steady(script.output_of(script.COMMANDS[mark]))
