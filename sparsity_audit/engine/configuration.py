"""The audit configuration: the nearest file, then the command line over it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

from sparsity_audit.engine.rulepacks import shipped_packs
from sparsity_audit.schema.config import AuditConfig, Format
from sparsity_audit.schema.reading import read_toml
from sparsity_audit.schema.spec import TrainingSettings, ZooSpec
from sparsity_audit.schema.validating import COMMAND_LINE, validate

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
            return own, read_toml(own, "configuration")
        project = folder / PROJECT_FILE
        if project.is_file():
            tools = read_toml(project, "configuration").get("tool")
            if isinstance(tools, dict) and TABLE in tools:
                return project, tools[TABLE]
    return None


def load_configuration(
    overrides: Mapping[str, Any], start: Path | None = None, *, file: Path | None = None
) -> tuple[AuditConfig, str | None]:
    """Return the configuration that applies, and the file that it came from.

    Args:
        overrides: keys given on the command line; they win.
        start: folder to look from; the current one where left out.
        file: the one that applies, such as ``model.audit.toml``; none is looked for.

    Raises:
        ConfigError: a file or value that does not fit the schema.
    """
    given = {key: value for key, value in overrides.items() if value is not None}
    if file is not None:
        found: tuple[Path, dict[str, Any]] | None = (file, _table(file, read_toml(file, "configuration")))
    else:
        found = find_configuration((start or Path()).resolve())
    if found is None:
        return validate(AuditConfig, given, COMMAND_LINE), None
    path, content = found
    where = f"{path} [tool.{TABLE}]" if path.name == PROJECT_FILE else str(path)
    validate(AuditConfig, content, where)
    merged = {**_anchored(content, path.parent), **given}
    return validate(AuditConfig, merged, COMMAND_LINE), _short(path)


def _table(file: Path, content: dict[str, Any]) -> dict[str, Any]:
    tools = content.get("tool")
    if file.name == PROJECT_FILE and isinstance(tools, dict) and isinstance(tools.get(TABLE), dict):
        found: dict[str, Any] = tools[TABLE]
        return found
    return content


def load_training(path: Path) -> TrainingSettings:
    """Return how a model was trained, from a file of settings alone or a whole zoo spec.

    Raises:
        ConfigError: a file that cannot be read or does not fit.
    """
    content = read_toml(path, "training settings")
    if "network" in content:
        return validate(ZooSpec, content, str(path)).settings()
    return validate(TrainingSettings, content, str(path))


def _anchored(content: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the content with its relative paths made relative to the file's folder."""

    def anchor(path: str) -> str:
        return str(folder / Path(path).expanduser())

    anchored = dict(content)
    if "data_root" in anchored:
        anchored["data_root"] = anchor(anchored["data_root"])
    # What reports name; names of corpora and packs are told from paths, so those stay whole.
    for key in ("baseline", *get_args(Format)):
        if key in anchored:
            anchored[key] = _short(Path(anchor(anchored[key])))
    if "models" in anchored:
        anchored["models"] = [_short(Path(anchor(model))) for model in anchored["models"]]
    if "rules" in anchored:
        packs = shipped_packs()
        anchored["rules"] = [rule if rule in packs else anchor(rule) for rule in anchored["rules"]]
    if "data" in anchored:
        anchored["data"] = _anchored_data(anchored["data"], folder, anchor)
    return anchored


def _short(path: Path) -> str:
    """Return a path as seen from the current folder where it lies below it: reports are then alike on all machines."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def _anchored_data(data: str, folder: Path, anchor: Callable[[str], str]) -> str:
    from sparsity_audit.data.photographs import path_of

    if (named := path_of(data)) is not None:
        kind, path = named
        return f"{kind}:{anchor(path)}"
    return anchor(data) if _is_folder(data, folder) else data


def _is_folder(data: str, folder: Path) -> bool:
    """Tell a corpus's folder from its name; a name that is known stays one, whatever lies beside the file."""
    from sparsity_audit.data.load import known_corpora

    if data in known_corpora():
        return False
    return "/" in data or os.sep in data or (folder / data).exists()
