"""Looking measures up: ours, which register when they are imported, and those of installed packages."""

from __future__ import annotations

import functools

from sparsity_audit.errors import ConfigError, did_you_mean
from sparsity_audit.measures import (  # noqa: F401 (importing is registering)
    dominance_measures,
    layer_measures,
    model_measures,
    study_measures,
    training_measures,
    verdict_measures,
)
from sparsity_audit.measures.registry import MEASURES, Measure
from sparsity_audit.schema.rule import Rule, Scope

ENTRY_POINTS = "sparsity_audit.measures"
"""Packages name under this group the modules that register their measures when they are imported."""


def measure_for(rule: Rule) -> Measure:
    """Return the measure that a rule names, its arguments checked.

    Raises:
        ConfigError: no such measure for the rule's scope, arguments that it does not take, or no such measure
            and an installed package whose measures cannot be loaded.
    """
    found = _find(rule.measure, rule.scope)
    if found is None:
        known = sorted(name for name, scope in MEASURES if scope == rule.scope)
        hint = did_you_mean(rule.measure, known)
        raise ConfigError(f"rule {rule.id}: no measure {rule.measure!r} of scope {rule.scope!r}{hint}")
    try:
        found.check(rule.args)
    except ConfigError as failure:
        raise ConfigError(f"rule {rule.id}: {failure}") from None
    return found


def _find(name: str, scope: Scope) -> Measure | None:
    """Return a measure; installed packages are asked only for one that is not ours."""
    if (name, scope) not in MEASURES:
        failure = _load_entry_points()
        if (name, scope) not in MEASURES and failure is not None:
            raise ConfigError(failure)
    return MEASURES.get((name, scope))


@functools.cache
def _load_entry_points() -> str | None:
    """Import what installed packages offer, once; return what the first of those that cannot be imported said."""
    import importlib.metadata  # half of the time that the rest of this room takes to import

    failures = []
    for point in importlib.metadata.entry_points(group=ENTRY_POINTS):
        try:
            point.load()
        except Exception as failure:
            source = f"{point.dist.name} {point.dist.version}" if point.dist is not None else "an unknown package"
            said = " ".join(f"{type(failure).__name__}: {failure}".split())
            failures.append(f"measures of {source} ({point.name} = {point.value}) cannot be loaded: {said}")
    return failures[0] if failures else None
