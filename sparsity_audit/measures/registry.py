"""Measures by name: a measure turns what was found out about a model into one number, with its evidence."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sparsity_audit.errors import ConfigError, did_you_mean
from sparsity_audit.schema.report import EvidenceValue, Unit
from sparsity_audit.schema.rule import ArgValue, Rule, Scope


@dataclass(frozen=True)
class Measurement:
    """One measured value.

    Attributes:
        value: the number that limits apply to; None where it could not be measured.
        message: the finding in words.
        n: images (or runs) that it rests on; None where it rests on weights alone.
        reason: why there is no value.
    """

    value: float | None
    message: str = ""
    n: int | None = None
    reason: str | None = None
    evidence: dict[str, EvidenceValue] = field(default_factory=dict)


def unmeasured(reason: str) -> Measurement:
    """Return a measurement without a value, and why."""
    return Measurement(None, reason=reason)


@dataclass(frozen=True)
class Measure:
    """A named quantity. ``function`` takes the layer and model reports (scope layer) or the model report."""

    name: str
    scope: Scope
    unit: Unit
    function: Callable[..., Measurement]

    @property
    def summary(self) -> str:
        """The first line of the function's docstring."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]

    def parameters(self) -> dict[str, inspect.Parameter]:
        """Return the arguments that a rule may set: the function's keyword-only ones."""
        signature = inspect.signature(self.function, eval_str=True)
        return {
            name: parameter
            for name, parameter in signature.parameters.items()
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY
        }

    def check(self, args: Mapping[str, ArgValue]) -> None:
        """Check a rule's arguments.

        Raises:
            ConfigError: an unknown argument, or a value that it does not take.
        """
        known = self.parameters()
        for name, value in args.items():
            if name not in known:
                raise ConfigError(f"measure {self.name!r} has no argument {name!r}{did_you_mean(name, known)}")
            choices = typing.get_args(known[name].annotation)
            if typing.get_origin(known[name].annotation) is typing.Literal and value not in choices:
                raise ConfigError(
                    f"measure {self.name!r}: {name} = {value!r} is none of {', '.join(map(repr, choices))}"
                )
            if known[name].annotation in (float, float | None) and isinstance(value, bool | str):
                raise ConfigError(f"measure {self.name!r}: {name} = {value!r} is not a number")


ENTRY_POINTS = "sparsity_audit.measures"
"""Packages name under this group the modules that register their measures when they are imported."""

_MEASURES: dict[tuple[str, Scope], Measure] = {}


def measure(
    scope: Scope, unit: Unit = "fraction"
) -> Callable[[Callable[..., Measurement]], Callable[..., Measurement]]:
    """Register a function as the measure of its own name for one scope.

    Raises:
        ConfigError: another function of that name is registered for the scope; no one's measure is replaced.
    """

    def register(function: Callable[..., Measurement]) -> Callable[..., Measurement]:
        name = function.__name__.removeprefix("model_")
        other = _MEASURES.get((name, scope))
        if other is not None and other.function.__module__ != function.__module__:
            raise ConfigError(
                f"measure {name!r} of scope {scope!r} in {function.__module__} is already defined "
                f"in {other.function.__module__}: rename it"
            )
        _MEASURES[name, scope] = Measure(name, scope, unit, function)
        return function

    return register


def measure_for(rule: Rule) -> Measure:
    """Return the measure that a rule names, its arguments checked.

    Raises:
        ConfigError: no such measure for the rule's scope, arguments that it does not take, or no such measure
            and an installed package whose measures cannot be loaded.
    """
    found = _find(rule.measure, rule.scope)
    if found is None:
        known = sorted(name for name, scope in _MEASURES if scope == rule.scope)
        hint = did_you_mean(rule.measure, known)
        raise ConfigError(f"rule {rule.id}: no measure {rule.measure!r} of scope {rule.scope!r}{hint}")
    try:
        found.check(rule.args)
    except ConfigError as failure:
        raise ConfigError(f"rule {rule.id}: {failure}") from None
    return found


def _find(name: str, scope: Scope) -> Measure | None:
    """Return a measure; installed packages are asked only for one that is not ours."""
    # Registering happens on import; importing here keeps a rule's schema free of the measures' code.
    from sparsity_audit.measures import (  # noqa: F401
        layer_measures,
        model_measures,
        training_measures,
        verdict_measures,
    )

    if (name, scope) not in _MEASURES:
        failure = _load_entry_points()
        if (name, scope) not in _MEASURES and failure is not None:
            raise ConfigError(failure)
    return _MEASURES.get((name, scope))


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
