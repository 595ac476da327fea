"""The audit configuration: the nearest file, then the command line over it."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sparsity_audit.engine.rulepacks import shipped_packs, validate
from sparsity_audit.errors import ConfigError
from sparsity_audit.schema.config import AuditConfig

OWN_FILE = "sparsity-audit.toml"
PROJECT_FILE = "pyproject.toml"
TABLE = "sparsity-audit"


def find_configuration(start: Path) -> tuple[Path, dict[str, Any]] | None:
    """Return the nearest configuration file at or above a folder, and its content; None where there is none.

    In one folder ``sparsity-audit.toml`` comes before ``pyproject.toml``, which counts only with a
    ``[tool.sparsity-audit]`` table.

    Raises:
        ConfigError: the nearest file is not TOML.
    """
    for folder in (start, *start.parents):
        own = folder / OWN_FILE
        if own.is_file():
            return own, _read(own)
        project = folder / PROJECT_FILE
        if project.is_file():
            table = _read(project).get("tool", {}).get(TABLE)
            if table is not None:
                return project, table
    return None


def load_configuration(overrides: Mapping[str, Any], start: Path | None = None) -> tuple[AuditConfig, str | None]:
    """Return the configuration that applies, and the file that it came from.

    Args:
        overrides: keys given on the command line; they win.
        start: folder to look from; the current one where left out.

    Raises:
        ConfigError: a file or value that does not fit the schema.
    """
    given = {key: value for key, value in overrides.items() if value is not None}
    found = find_configuration((start or Path()).resolve())
    if found is None:
        return validate(AuditConfig, given, "command line"), None
    path, content = found
    where = f"{path} [tool.{TABLE}]" if path.name == PROJECT_FILE else str(path)
    validate(AuditConfig, content, where)
    merged = {**_anchored(content, path.parent), **given}
    return validate(AuditConfig, merged, "command line"), str(path)


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as failure:
        raise ConfigError(f"{path}: cannot read the configuration: {failure}") from None
    except tomllib.TOMLDecodeError as failure:
        raise ConfigError(f"{path}: not TOML: {failure}") from None


def _anchored(content: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the content with its relative paths made relative to the file's folder."""
    anchored = dict(content)
    for key in ("data_root", "json", "markdown"):
        if key in anchored:
            anchored[key] = str(folder / anchored[key])
    if "models" in anchored:
        anchored["models"] = [str(folder / model) for model in anchored["models"]]
    if "rules" in anchored:
        packs = shipped_packs()
        anchored["rules"] = [rule if rule in packs else str(folder / rule) for rule in anchored["rules"]]
    # A corpus is named, or is a folder: only what lies there is one.
    if "data" in anchored and (folder / anchored["data"]).exists():
        anchored["data"] = str(folder / anchored["data"])
    return anchored
