"""The page of the Python API, from public signatures and docstrings, for ``scripts/docs.py``."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

from docs_text import cell, prose

import sparsity_audit

REPORT = "sparsity_audit.schema.report"
MEASURES = "sparsity_audit.measures.registry"
_SECTION = re.compile(r"(Args|Attributes|Raises|Returns):\n((?:[ \t].*\n?|\n(?=[ \t]))+)")
_ENTRY = re.compile(r"(\w+): (.*)", re.DOTALL)
WIDTH = 100


def api_page() -> str:
    """Return docs/api.md."""
    lines = ["# Python API", "", "`import sparsity_audit` costs nothing: each name is imported when it is first used."]
    lines += ["", "## Auditing, watching, pruning"]
    for name in (name for name in sparsity_audit.__all__ if not name.startswith("__")):
        lines += _described(f"sparsity_audit.{name}", getattr(sparsity_audit, name))
    lines += ["", "## In pytest"]
    fixture = _found("sparsity_audit.integrations.audit_model", "audit_model")
    lines += _described("audit_model", fixture, "A fixture of pytest, there wherever the package is installed.")
    lines += [
        "",
        "## The report",
        "",
        "What `audit()` returns, a frozen pydantic model; `sparsity-audit schema report`",
    ]
    lines += ["prints its JSON Schema. Fractions are 0–1; index lists number the original's output channels."]
    for name in ("AuditReport", "ModelReport", "LayerReport", "Lost", "RuleResult"):
        lines += _described(f"{REPORT}.{name}", _found(REPORT, name))
    lines += ["", "## Measures of your own", "", "[Writing measures](writing-measures.md) has an example."]
    for name in ("measure", "Measurement", "unmeasured"):
        lines += _described(f"{MEASURES}.{name}", _found(MEASURES, name))
    # Parts bring their own blank lines; where two meet, one is enough.
    kept = [line for before, line in zip(["", *lines], lines, strict=False) if line or before]
    return "\n".join(kept) + "\n"


def _found(module: str, name: str) -> Any:
    return getattr(importlib.import_module(module), name)


def _described(name: str, found: Any, note: str = "") -> list[str]:
    """Return the section of a class or function."""
    short = name.rpartition(".")[2]
    lines = ["", f"### {short}", ""]
    lines += [f"`from {name.rpartition('.')[0]} import {short}`", ""] if "." in name else [note, ""]
    if not inspect.isclass(found):
        return [*lines, *_signature(short, found), *documented(found)]
    fields = list(_fields(found))
    if not fields:
        lines += _signature(short, found)
    lines += documented(found)
    if fields:
        lines += ["", "| field | type | |", "|---|---|---|", *fields]
    for key, function in _methods(found):
        lines += ["", f"#### {short}.{key}", "", *_signature(key, function), *documented(function)]
    return lines


def _methods(found: type) -> Iterator[tuple[str, Callable[..., Any]]]:
    for key, member in vars(found).items():
        function = member.__func__ if isinstance(member, classmethod | staticmethod) else member
        if inspect.isfunction(function) and not key.startswith("_"):
            yield key, function


def _fields(found: type) -> Iterator[str]:
    """Yield a line for each field of a schema or dataclass: name, type, and the text below it in the source."""
    if not dataclasses.is_dataclass(found) and not hasattr(found, "model_fields"):
        return
    if "Attributes:" in (found.__doc__ or ""):
        return  # the docstring has them
    body = ast.parse(textwrap.dedent(inspect.getsource(found))).body[0]
    assert isinstance(body, ast.ClassDef)
    for field, after in zip(body.body, [*body.body[1:], None], strict=True):
        if isinstance(field, ast.AnnAssign):
            said = after.value.value if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) else ""
            default = ""
            if field.value is not None and not ast.unparse(field.value).startswith(("Field(", "field(")):
                default = f" = {ast.unparse(field.value)}"
            # Within backticks Python-Markdown takes a bare bar, and GitHub an escaped one.
            kind = f"<code>{ast.unparse(field.annotation)}{default}</code>".replace("|", "&#124;")
            yield f"| `{ast.unparse(field.target)}` | {kind} | {cell(str(said))} |"


def documented(found: Any) -> list[str]:
    """Return a docstring as Markdown: paragraphs, examples, and its sections as lists."""
    text = inspect.getdoc(found) or ""
    lines: list[str] = []
    end = 0
    for section in _SECTION.finditer(text):
        lines += _paragraphs(text[end : section.start()])
        lines += ["", f"**{section[1]}**", ""]
        lines += [_entry(each) for each in re.split(r"\n(?! )", textwrap.dedent(section[2]).strip())]
        end = section.end()
    return [*lines, *_paragraphs(text[end:])]


def _paragraphs(text: str) -> list[str]:
    lines: list[str] = []
    example = False
    for part in re.split(r"\n\n(?=\S)|(?<=::)\n\n", text.strip()):
        if not part.strip():
            continue
        if example:
            lines += ["", "```py", textwrap.dedent(part), "```"]
        elif part.strip() != "::":
            lines += ["", prose(part.removesuffix(":") if part.endswith("::") else part)]
        example = part.endswith("::")
    return lines


def _entry(text: str) -> str:
    found = _ENTRY.fullmatch(text.strip())
    return f"- `{found[1]}`: {prose(found[2])}" if found else f"- {prose(text)}"


def _signature(name: str, found: Any) -> list[str]:
    whole = inspect.signature(found)
    kept = [parameter for key, parameter in whole.parameters.items() if key not in ("self", "cls")]
    shown = whole.replace(parameters=kept)
    returns = shown.return_annotation
    if inspect.isclass(found):
        shown = shown.replace(return_annotation=inspect.Signature.empty)
    text = re.sub(r"(: |-> )'([^']*)'", r"\1\2", f"{name}{shown}")
    if len(text) > WIDTH:
        parts = [re.sub(r"(: )'([^']*)'", r"\1\2", str(parameter)) for parameter in kept]
        first = next((i for i, each in enumerate(kept) if each.kind is each.KEYWORD_ONLY), None)
        if first is not None and not any(each.kind is each.VAR_POSITIONAL for each in kept):
            parts.insert(first, "*")
        tail = "" if inspect.isclass(found) or returns is inspect.Signature.empty else f" -> {returns}"
        text = "\n".join([f"{name}(", *(f"    {part}," for part in parts), f"){tail}"])
    return ["```py", text, "```"]
