"""Where specs and studies lie: files of the user's, and the shipped ones by id."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Literal

from sparsity_audit.resources import packaged
from sparsity_audit.schema.reading import read_toml

_DIGITS = re.compile(r"(\d+)")
_NO_SPECS = ("claims.toml",)
"""What lies among the specs and is none."""
Kind = Literal["spec", "study"]


@dataclass(frozen=True)
class TomlFile:
    """A file's content as it stands there: nothing checked, no default filled in."""

    id: str
    """The file's name without ``.toml``."""
    origin: str
    """What to call it in messages: its path, or ``zoo:ID`` for a shipped one."""
    content: dict[str, Any]
    folder: Path | None
    """Absolute folder that its own relative paths start from; None for a shipped one, which has none."""

    @property
    def is_study(self) -> bool:
        """Whether it is a study: it has a base."""
        return "base" in self.content


def means_file(name: str, folder: Path = Path()) -> bool:
    """Tell a path from the id of something shipped: it ends in ``.toml``, has a separator, or is a file.

    Args:
        folder: where a relative path starts from; the current folder where left out.
    """
    separators = {"/", os.sep}
    return name.endswith(".toml") or any(mark in name for mark in separators) or _is_file(folder / name)


def read_file(path: Path, what: str = "spec") -> TomlFile:
    """Return a file of the user's.

    Raises:
        ConfigError: it is not there, cannot be read, or is not TOML.
    """
    content = read_toml(path, what)
    return TomlFile(path.name.removesuffix(".toml"), str(path), content, path.resolve().parent)


def shipped_ids(kind: Kind) -> list[str]:
    """Return the ids of the shipped specs or studies, sorted, table2 before table10."""
    folder = _shipped_folder(kind)
    if not folder.is_dir():
        return []
    files = [entry.name for entry in folder.iterdir() if entry.name not in _NO_SPECS]
    ids = [name.removesuffix(".toml") for name in files if name.endswith(".toml")]
    return sorted(ids, key=lambda name: [part.zfill(9) if part.isdigit() else part for part in _DIGITS.split(name)])


def read_shipped(kind: Kind, name: str) -> TomlFile:
    """Return a shipped spec or study by its id, which must be one of ``shipped_ids(kind)``."""
    origin = f"zoo:{name}"
    return TomlFile(name, origin, read_toml(_shipped_folder(kind).joinpath(f"{name}.toml"), kind, where=origin), None)


def _shipped_folder(kind: Kind) -> Traversable:
    zoo = packaged("zoo")
    return zoo.joinpath("studies") if kind == "study" else zoo


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no file system allows
        return False
