"""Rules and packs of rules, as they stand in ``rules/*.toml`` and in files that users write."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, FiniteFloat, model_validator

from sparsity_audit.schema.base import Document, Strict

Scope = Literal["layer", "model", "study"]
RuleId = Annotated[str, Field(pattern=r"^[A-Z]{2,8}[0-9]{3}$")]
Severity = Literal["warning", "error"]
ArgValue = bool | int | float | str


class Limit(Strict):
    """The range a measured value must stay in; a value outside it breaks the limit."""

    max: FiniteFloat | None = None
    min: FiniteFloat | None = None

    @model_validator(mode="after")
    def _holds_something(self) -> Limit:
        if self.max is None and self.min is None:
            raise ValueError("a limit needs max, min or both")
        if self.max is not None and self.min is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g} is above max {self.max:g}: no value can pass")
        return self

    def broken_by(self, value: float) -> float | None:
        """Return the bound that ``value`` breaks, or None where it lies inside; NaN breaks every limit."""
        if self.max is not None and not value <= self.max:
            return self.max
        if self.min is not None and not value >= self.min:
            return self.min
        return None


class Limits(Strict):
    """Limits that replace a rule's own; a severity that is left out keeps the rule's, ``false`` drops it."""

    warning: Limit | Literal[False] | None = None
    error: Limit | Literal[False] | None = None


class Rule(Strict):
    """A declarative check: one measure, one or two limits, and what to tell the user when they break."""

    id: RuleId
    """``SA`` and three digits are shipped and never reused; users' own rules take letters of their own."""
    name: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    version: Annotated[int, Field(ge=1)] = 1
    scope: Scope
    measure: str
    args: dict[str, ArgValue] = Field(default_factory=dict)
    layers: str = "*"
    """Glob over layer keys; only for scope ``layer``."""
    warning: Limit | None = None
    error: Limit | None = None
    told_only: bool = False
    """No limit is forgotten: the value is to be told, and passes unless a limit is set."""
    summary: str
    why: str = ""
    remedies: list[str] = Field(default_factory=list)
    source: str = ""

    def with_limits(self, limits: Limits) -> Rule:
        """Return the rule with its limits replaced."""
        changed = {
            severity: new or None
            for severity, new in (("warning", limits.warning), ("error", limits.error))
            if new is not None
        }
        return self.model_copy(update=changed)


class RulePack(Document):
    """A file of rules; with ``extends`` it takes another pack's rules and may select and re-limit them."""

    summary: str = ""
    extends: str | None = None
    """A shipped pack's name, or a path relative to this file."""
    select: list[str] | None = None
    """Ids or beginnings of ids taken from the extended pack; all of them where left out."""
    limits: dict[str, Limits] = Field(default_factory=dict)
    rule: list[Rule] = Field(default_factory=list)
