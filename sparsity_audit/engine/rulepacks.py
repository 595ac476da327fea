"""Loading rules: shipped packs by name, users' own files by path, and choosing among them."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from sparsity_audit.errors import ConfigError, UsageError, did_you_mean
from sparsity_audit.measures.registry import measure_for
from sparsity_audit.resources import packaged
from sparsity_audit.schema.rule import Limits, Rule, RulePack

Model = TypeVar("Model", bound=BaseModel)


def shipped_packs() -> list[str]:
    """Return the names of the packs in ``rules/``."""
    return sorted(
        entry.name.removesuffix(".toml") for entry in packaged("rules").iterdir() if entry.name.endswith(".toml")
    )


def load_rules(packs: Sequence[str], *, base: Path | None = None) -> list[Rule]:
    """Return the rules of several packs, in order; a later pack's rule replaces an earlier one of the same id.

    Args:
        packs: names of shipped packs, or paths of TOML files.
        base: the folder that relative paths start from; the current one where left out.

    Raises:
        ConfigError: a pack that is unknown, unreadable, or does not fit the schema.
    """
    rules: dict[str, Rule] = {}
    for pack in packs:
        for rule in _load_pack(pack, base or Path(), ()):
            rules[rule.id] = rule
    return list(rules.values())


def load_pack_file(path: Path) -> list[Rule]:
    """Return the rules of one file, everything about them checked; as ``load_rules`` of that file."""
    return _load_pack(str(path), Path(), ())


def apply_limits(rules: Sequence[Rule], limits: Mapping[str, Limits], where: str) -> list[Rule]:
    """Return the rules with some limits replaced.

    Raises:
        ConfigError: limits for a rule that is not among them.
    """
    known = [rule.id for rule in rules]
    for rule_id in limits:
        if rule_id not in known:
            raise ConfigError(f"{where}: limits for unknown rule {rule_id!r}{did_you_mean(rule_id, known)}")
    return [rule.with_limits(limits[rule.id]) if rule.id in limits else rule for rule in rules]


def choose(rules: Sequence[Rule], select: Sequence[str], ignore: Sequence[str]) -> list[Rule]:
    """Return the rules whose id or name begins with one of ``select`` (all if empty) and with none of ``ignore``.

    Raises:
        UsageError: an entry that fits no rule.
    """
    chosen = [rule for rule in rules if not select or _matches(rule, select)]
    for entry in (*select, *ignore):
        if not any(_matches(rule, [entry]) for rule in rules):
            known = [name for rule in rules for name in (rule.id, rule.name)]
            raise UsageError(f"no rule begins with {entry!r}{did_you_mean(entry, known)}")
    return [rule for rule in chosen if not _matches(rule, ignore)]


def _matches(rule: Rule, entries: Iterable[str]) -> bool:
    return any(rule.id.startswith(entry.upper()) or rule.name == entry.lower() for entry in entries)


def _load_pack(pack: str, base: Path, above: tuple[str, ...]) -> list[Rule]:
    text, where, folder = _read(pack, base)
    if where in above:
        raise ConfigError(f"{where}: extends itself by way of {' → '.join(above)}")
    content = _parse(text, where)
    parsed = validate(RulePack, content, where)
    rules = _load_pack(parsed.extends, folder, (*above, where)) if parsed.extends else []
    if parsed.select is not None:
        try:
            rules = choose(rules, parsed.select, ())
        except UsageError as failure:
            raise ConfigError(f"{where}: select: {failure}") from None
    merged = {rule.id: rule for rule in rules}
    seen: set[str] = set()
    for rule in parsed.rule:
        if rule.id in seen:
            raise ConfigError(f"{where}: rule {rule.id} stands twice")
        seen.add(rule.id)
        merged[rule.id] = rule
    for rule in parsed.rule:
        try:
            measure_for(rule)
        except ConfigError as failure:
            raise ConfigError(f"{where}: {failure}") from None
    return apply_limits(list(merged.values()), parsed.limits, where)


def _read(pack: str, base: Path) -> tuple[str, str, Path]:
    """Return a pack's text, what to call it in messages, and the folder its own paths start from."""
    names = shipped_packs()
    if pack in names:
        return packaged("rules").joinpath(f"{pack}.toml").read_text("utf-8"), pack, base
    path = base / pack
    try:
        return path.read_text("utf-8"), str(path), path.parent
    except FileNotFoundError:
        raise ConfigError(f"no rule pack and no file {pack!r}{did_you_mean(pack, names)}") from None
    except (OSError, UnicodeDecodeError) as failure:
        raise ConfigError(f"{path}: cannot read the rules: {failure}") from None


def _parse(text: str, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as failure:
        raise ConfigError(f"{where}: not TOML: {failure}") from None


def validate(schema: type[Model], content: object, where: str) -> Model:
    """Fit a parsed file to its schema.

    Raises:
        ConfigError: one line with file, key, what is wrong, and the nearest known key.
    """
    try:
        return schema.model_validate(content)
    except ValidationError as failure:
        first = failure.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        more = f" (and {failure.error_count() - 1} more)" if failure.error_count() > 1 else ""
        hint = _nearest_key(schema, first["loc"]) if first["type"] == "extra_forbidden" else ""
        what = "unknown key" if hint else first["msg"]
        raise ConfigError(f"{where}: {key}: {what}{hint}{more}") from None


def _nearest_key(schema: type[BaseModel], location: tuple[int | str, ...]) -> str:
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
