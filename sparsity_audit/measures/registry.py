"""Measures by name: a measure turns what was found out about a model, or a study, into numbers with their evidence."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sparsity_audit.errors import ConfigError, did_you_mean
from sparsity_audit.schema.report import EvidenceValue, Unit
from sparsity_audit.schema.rule import ArgValue, Scope


@dataclass(frozen=True)
class Measurement:
    """One measured value.

    Attributes:
        value: the number that limits apply to; None where it could not be measured.
        message: the finding in words.
        n: images (or seeds) that it rests on; None where it rests on weights alone.
        reason: why there is no value, or why the value of a study decides nothing.
        interval: of a study, the 95 % t-interval over seeds; None for one seed.
    """

    value: float | None
    message: str = ""
    n: int | None = None
    reason: str | None = None
    evidence: dict[str, EvidenceValue] = field(default_factory=dict)
    interval: tuple[float, float] | None = None


Function = TypeVar("Function", bound=Callable[..., Any])


def unmeasured(reason: str) -> Measurement:
    """Return a measurement without a value, and why."""
    return Measurement(None, reason=reason)


@dataclass(frozen=True)
class Measure:
    """A named quantity.

    ``function`` takes the layer and model reports (scope layer) or the model report (scope model), and returns a
    ``Measurement``; of scope study it takes the facts of the runs, and returns one for each comparison it finds.
    """

    name: str
    scope: Scope
    unit: Unit
    function: Callable[..., Any]
    needs: str = ""
    """Of scope study: the runs that it compares."""
    instead: str = ""
    """Of scope study: the rules that answer for a single model."""

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


MEASURES: dict[tuple[str, Scope], Measure] = {}


def measure(
    scope: Scope, unit: Unit = "fraction", *, needs: str = "", instead: str = ""
) -> Callable[[Function], Function]:
    """Register a function as the measure of its own name for one scope; ``needs`` and ``instead`` as in ``Measure``.

    Raises:
        ConfigError: another function of that name is registered for the scope; no one's measure is replaced.
    """

    def register(function: Function) -> Function:
        name = function.__name__.removeprefix("model_")
        other = MEASURES.get((name, scope))
        if other is not None and other.function.__module__ != function.__module__:
            raise ConfigError(
                f"measure {name!r} of scope {scope!r} in {function.__module__} is already defined "
                f"in {other.function.__module__}: rename it"
            )
        MEASURES[name, scope] = Measure(name, scope, unit, function, needs, instead)
        return function

    return register
