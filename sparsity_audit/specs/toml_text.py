"""A resolved spec as TOML text that reads back as the same spec."""

from __future__ import annotations

import json
from typing import Any

from sparsity_audit.schema.spec import ZooSpec
from sparsity_audit.specs.slug import short_number


def spec_toml(spec: ZooSpec) -> str:
    """Return a spec as the shipped ones are written: a section a line, all values spelt out."""
    content = spec.model_dump(mode="json", by_alias=True, exclude_none=True)
    return "".join(f"{key} = {_value(value)}\n" for key, value in content.items())


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{key} = {_value(each)}' for key, each in value.items())} }}" if value else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # JSON's escapes are TOML's too, except that TOML wants DEL escaped as well.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, float):
        text = short_number(value)
        return text if any(mark in text for mark in ".en") else f"{text}.0"
    return str(value)
