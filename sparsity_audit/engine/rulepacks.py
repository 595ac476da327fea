"""Loading rules: shipped packs by name, users' own files by path, and choosing among them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sparsity_audit.errors import ConfigError, UsageError, did_you_mean
from sparsity_audit.measures.lookup import measure_for
from sparsity_audit.resources import packaged
from sparsity_audit.schema.reading import read_toml
from sparsity_audit.schema.rule import Limits, Rule, RulePack
from sparsity_audit.schema.validating import validate


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


def check_rules(rules: Sequence[Rule]) -> Sequence[Rule]:
    """Return rules that were made in Python, checked as those of a file are.

    Raises:
        ConfigError: an unknown measure or argument, no limit, or layers where the scope has none.
    """
    for rule in rules:
        _check(rule, "")
    return rules


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
    """Return the rules that one of ``select`` names (all if it is empty) and none of ``ignore``.

    An entry names rules by an id, by the beginning of ids, or by a rule's name.

    Raises:
        UsageError: an entry that fits no rule.
    """
    chosen = [rule for rule in rules if not select or _matches(rule, select)]
    for entry in (*select, *ignore):
        if not any(_matches(rule, [entry]) for rule in rules):
            # Ids are upper case, names are not: what was meant tells which of them to suggest.
            known = [rule.name if entry.islower() and "-" in entry else rule.id for rule in rules]
            raise UsageError(f"no rule begins with {entry!r}{did_you_mean(entry, known)}")
    return [rule for rule in chosen if not _matches(rule, ignore)]


def _matches(rule: Rule, entries: Iterable[str]) -> bool:
    return any(entry and (rule.id.startswith(entry.upper()) or rule.name == entry.lower()) for entry in entries)


def _load_pack(pack: str, base: Path, above: tuple[str, ...]) -> list[Rule]:
    try:
        content, where, folder = _read(pack, base)
    except ConfigError as failure:
        raise ConfigError(f"{above[-1]}: extends: {failure}" if above else str(failure)) from None
    if where in above:
        raise ConfigError(f"{where}: extends itself by way of {' → '.join(above)}")
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
            raise ConfigError(f"{where}: rule {rule.id} stands twice; give one of them another id")
        seen.add(rule.id)
        _check(rule, f"{where}: ")
        merged[rule.id] = rule
    if not merged:
        raise ConfigError(f'{where}: holds no rule; add [[rule]], or extends = "default"')
    return apply_limits(list(merged.values()), parsed.limits, where)


def _check(rule: Rule, where: str) -> None:
    """Refuse a rule that could never be measured, or never fail: it would look like a passing one."""
    try:
        measure_for(rule)
    except ConfigError as failure:
        raise ConfigError(f"{where}{failure}") from None
    if rule.warning is None and rule.error is None and not rule.told_only:
        raise ConfigError(f"{where}rule {rule.id}: no limit; add warning = {{ max = … }}, error, or both")
    if rule.scope != "layer" and rule.layers != "*":
        raise ConfigError(f"{where}rule {rule.id}: layers is for rules of scope 'layer', not {rule.scope!r}")


def _read(pack: str, base: Path) -> tuple[dict[str, Any], str, Path]:
    """Return a pack's content, what to call it in messages, and the folder its own paths start from."""
    names = shipped_packs()
    if pack in names:
        return read_toml(packaged("rules").joinpath(f"{pack}.toml"), "rules", where=pack), pack, base
    path = base / pack
    # Normalised, so that a file which extends itself is known again by whatever way it is named.
    where = os.path.normpath(path)
    absent = f"no rule pack and no file {pack!r}{did_you_mean(Path(pack).name, names)}"
    return read_toml(path, "rules", where=where, absent=absent), where, path.parent
