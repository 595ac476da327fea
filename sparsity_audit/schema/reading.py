"""Reading the project's files: TOML as tables, JSON as objects, failures as one line."""

from __future__ import annotations

import json
import tomllib
from importlib.resources.abc import Traversable
from typing import Any

from sparsity_audit.errors import ConfigError


def read_toml(path: Traversable, what: str, *, where: str | None = None, absent: str | None = None) -> dict[str, Any]:
    """Return the content of a TOML file, not yet fitted to any schema.

    Args:
        what: what the file holds, for messages: ``configuration``, ``rules``, ``spec``.
        where: what to call the file in messages; its path where left out.
        absent: the message where there is no such file, if another should stand there.

    Raises:
        ConfigError: one line on a file that is not there, cannot be read, or is not TOML.
    """
    where = where or str(path)
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except UnicodeDecodeError:
        raise ConfigError(f"{where}: cannot read the {what}: not UTF-8 text") from None
    except OSError as failure:
        if absent is not None and isinstance(failure, FileNotFoundError):
            raise ConfigError(absent) from None
        raise ConfigError(f"{where}: cannot read the {what}: {failure.strerror}") from None
    except tomllib.TOMLDecodeError as failure:
        raise ConfigError(f"{where}: not TOML: {failure}") from None
    except RecursionError:
        raise ConfigError(f"{where}: cannot read the {what}: nested too deeply") from None
    except ValueError as failure:  # a path with a NUL in it
        raise ConfigError(f"{where!r}: cannot read the {what}: {failure}") from None


def read_json(path: Traversable, what: str) -> dict[str, Any]:
    """Return the JSON object in a file, not yet fitted to any schema.

    Args:
        what: what the file holds, for messages: ``plan``, ``report``.

    Raises:
        ConfigError: it cannot be read, or is something else.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
    except OSError as failure:
        raise ConfigError(f"{path}: cannot read the {what}: {failure.strerror}") from None
    except (ValueError, RecursionError) as failure:
        raise ConfigError(f"{path}: cannot read the {what}: not JSON: {failure}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: is no {what}: a JSON {type(content).__name__}, not an object")
    return content
