"""Changes to a spec by dotted keys: ``--set`` on the command line, ``set`` and axes of studies."""

from __future__ import annotations

import copy
import os
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sparsity_audit.errors import UsageError

_KINDS_OF_PATHS = ("imagefolder", "parquet")
"""The corpora that are named by a path: ``imagefolder:PATH``; ``data.photographs`` opens them."""
_OF_A_NETWORK_FAMILY = ("first", "width", "head")
_OF_A_CORPUS = ("test_size", "split_seed", "resize", "crop")


def edited(content: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of a spec with some values changed; neither argument is altered.

    A dotted key sets one value, a table replaces its section. What belonged to an inherited name goes with it: an
    optimizer's hyperparameters, a network family's sizes, a corpus's split and size, and the strength where the
    regularizer becomes ``none``; values that ``changes`` itself gives stay, in whatever order they stand there.

    Raises:
        ValueError: one line on an empty key, or one below a value that is no table.
    """
    result: dict[str, Any] = copy.deepcopy(dict(content))
    given = {_parts(key): copy.deepcopy(value) for key, value in changes.items()}
    sections = {path[0]: value for path, value in given.items() if len(path) == 1}
    below = {path: value for path, value in given.items() if len(path) > 1}
    # Whole sections first, then names, then what is set one by one: the order of writing decides nothing.
    result.update(sections)
    for path, value in below.items():
        if path[0] not in sections:
            _forget_inherited(result, path, value)
    for path in sorted(below, key=len):
        _put(result, path, below[path])
    return result


def parsed_sets(sets: Sequence[str]) -> dict[str, Any]:
    """Return ``key=value`` texts of ``--set`` as changes; a value that is not TOML is taken as a plain string.

    Raises:
        UsageError: a text without ``=``, or with an empty key.
    """
    changes: dict[str, Any] = {}
    for text in sets:
        key, equals, value = (part.strip() for part in text.partition("="))
        if not equals:
            raise UsageError(f"--set {text!r}: no '='; write key=value, as in optimizer.lr=0.01")
        try:
            changes[".".join(_parts(key))] = _value(value)
        except ValueError as failure:
            raise UsageError(f"--set {text!r}: {failure}") from None
    return changes


def anchored(content: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return a spec's content, or changes to one, with a relative path in ``data.name`` taken from ``folder``.

    A corpus's name has no separator, so that one which has is a folder.
    """
    result = dict(content)
    if isinstance(name := result.get("data.name"), str):
        result["data.name"] = _anchored_name(name, folder)
    if isinstance(data := result.get("data"), dict) and isinstance(name := data.get("name"), str):
        result["data"] = {**data, "name": _anchored_name(name, folder)}
    return result


def _anchored_name(name: str, folder: Path) -> str:
    kind, colon, path = name.partition(":")
    if not colon or kind not in _KINDS_OF_PATHS:
        kind, colon, path = "", "", name if "/" in name or os.sep in name else ""
    if not path:
        return name
    try:
        place = folder / Path(path).expanduser()
        # The name is part of the digest: a folder that was reached by '..' gets the name that it has without.
        return f"{kind}{colon}{place.resolve() if '..' in place.parts else place}"
    except RuntimeError:  # ~somebody who is not there: opening the corpus says so
        return name


def _parts(key: str) -> tuple[str, ...]:
    parts = tuple(part.strip() for part in key.split("."))
    if not all(parts):
        raise ValueError(f"{key!r} has an empty key; write section.key, as in optimizer.lr")
    return parts


def _value(text: str) -> Any:
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (tomllib.TOMLDecodeError, RecursionError):
        return text
    return parsed["value"] if len(parsed) == 1 else text


def _forget_inherited(result: dict[str, Any], path: tuple[str, ...], new: object) -> None:
    """Drop what belonged to the name, or kind, that ``new`` takes the place of."""
    section = result.get(path[0])
    if not isinstance(section, dict) or section.get(path[1]) == new:
        return
    dropped: Iterable[str] = ()
    if path == ("optimizer", "name"):
        dropped = [key for key in section if key != "name"]
    elif path == ("network", "name"):
        dropped = _OF_A_NETWORK_FAMILY
    elif path == ("data", "name"):
        dropped = _OF_A_CORPUS
    elif path == ("regularizer", "kind") and new == "none":
        dropped = ["strength"]
    for key in dropped:
        section.pop(key, None)


def _put(result: dict[str, Any], path: tuple[str, ...], value: object) -> None:
    table = result
    for depth, part in enumerate(path[:-1], 1):
        below = table.setdefault(part, {})
        if not isinstance(below, dict):
            raise ValueError(f"{'.'.join(path)}: {'.'.join(path[:depth])} is no table, so nothing stands below it")
        table = below
    table[path[-1]] = value
