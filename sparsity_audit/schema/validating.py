"""Fitting parsed files, configurations and options to their schema; what does not fit becomes one readable line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from sparsity_audit.errors import ConfigError, did_you_mean

Model = TypeVar("Model", bound=BaseModel)
Location = tuple[int | str, ...]

COMMAND_LINE = "command line"
"""Where options come from: their keys are shown as flags."""
_SCALARS = ("bool", "int", "float", "str")
_PLAIN = {
    "missing": "is missing",
    "model_type": "should be a table",
    "dict_type": "should be a table",
    "list_type": "should be a list",
}
_RULE_ID = "should be two to eight capital letters and three digits, as in ACME001"


def validate(schema: type[Model], content: object, where: str) -> Model:
    """Fit a parsed file to its schema.

    Args:
        where: what to call the content in messages: a file, or ``COMMAND_LINE``.

    Raises:
        ConfigError: one line with file, key, what is wrong, and the nearest known key.
    """
    try:
        return schema.model_validate(content)
    except ValidationError as failure:
        found = [(_location(error["loc"]), dict(error)) for error in failure.errors(include_url=False)]
        # A misspelt key also leaves the right one missing: tell of the misspelling.
        found.sort(key=lambda pair: pair[1]["type"] != "extra_forbidden")
        location, first = found[0]
        others = len({place for place, _ in found}) - 1
        more = f" (and {others} more)" if others else ""
        raise ConfigError(f"{_place(where, location, content)}{_problem(schema, location, first)}{more}") from None


def first_problem(failure: ValidationError) -> str:
    """Return where a document of ours does not fit its schema first, and how: ``models.0.sha256: Field required``."""
    first = failure.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"]) or "text"
    return f"{place}: {first['msg']}"


def _location(raw: Location) -> Location:
    """Return the keys of a location, without the names that pydantic gives to the members of a union."""
    keys = [part for part in raw if isinstance(part, int) or not any(mark in part for mark in "[(")]
    return tuple(keys[:-1] if len(keys) > 2 and keys[-1] in _SCALARS else keys)


def _place(where: str, location: Location, content: object) -> str:
    if where == COMMAND_LINE:
        return f"--{str(location[0]).replace('_', '-')} " if location else f"{where}: "
    if location[:1] == ("rule",) and len(location) > 1 and isinstance(location[1], int):
        name, location = _rule_name(content, location[1]), location[2:]
        where = f"{where}: {name}"
    key = ".".join(str(part) for part in location)
    return f"{where}: {key} " if key else f"{where}: "


def _rule_name(content: object, index: int) -> str:
    """Return the id of the rule at an index, or its number, counted from 1, where it has none."""
    rules = content.get("rule") if isinstance(content, Mapping) else None
    rule = rules[index] if isinstance(rules, list) else None
    known = rule.get("id") if isinstance(rule, Mapping) else None
    return f"rule {known}" if isinstance(known, str) else f"rule number {index + 1}"


def _problem(schema: type[BaseModel], location: Location, error: Mapping[str, Any]) -> str:
    kind, given = error["type"], error["input"]
    if kind == "extra_forbidden":
        return f"is an unknown key{_nearest_key(schema, location)}"
    if kind in _PLAIN:
        return _PLAIN[kind]
    shown = f"{given!r}: " if isinstance(given, bool | int | float | str) and len(str(given)) < 80 else ""
    if kind == "string_pattern_mismatch" and "{2,8}" in error["ctx"]["pattern"]:
        return shown + _RULE_ID
    if kind == "literal_error":
        shown = f"{given!r}{_nearest_value(given, error['ctx']['expected'])}: "
    text: str = error["msg"]
    for start in ("Value error, ", "Input ", "String "):
        text = text.removeprefix(start)
    return shown + text


def _nearest_value(given: object, expected: str) -> str:
    """Return a hint at one of the allowed values, which the message lists anyway, where one is near."""
    hint = did_you_mean(str(given), re.findall(r"'([^']*)'", expected))
    return hint if "did you mean" in hint else ""


def _nearest_key(schema: type[BaseModel], location: Location) -> str:
    """Return a hint at the key that an unknown one may have meant, found by walking the schema."""
    known: list[str] = []
    fields: type[BaseModel] | None = schema
    for part in location[:-1]:
        if isinstance(part, str) and fields is not None:
            fields = _submodel(fields, part)
    if fields is not None:
        known = [field.alias or name for name, field in fields.model_fields.items()]
    return did_you_mean(str(location[-1]), known)


def _submodel(schema: type[BaseModel], key: str) -> type[BaseModel] | None:
    """Return the model under a key, looking into optional, list and dict annotations."""
    for name, field in schema.model_fields.items():
        if key in (name, field.alias):
            pending: list[Any] = [field.annotation]
            while pending:
                annotation = pending.pop()
                if isinstance(annotation, type) and issubclass(annotation, BaseModel):
                    return annotation
                pending += getattr(annotation, "__args__", ())
    return schema if key not in schema.model_fields else None
