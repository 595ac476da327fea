"""Claims about ways of training, as they stand in ``zoo/claims.toml``: which runs speak of them, and what they say."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field, model_validator

from sparsity_audit.errors import did_you_mean
from sparsity_audit.schema.base import Document, Strict
from sparsity_audit.schema.spec import ZooSpec

Value = bool | int | float | str


def _known(key: str) -> str:
    """Refuse a key that no spec has: it would fit no run, and the claim would look as if nothing had been run."""
    schema: type[BaseModel] | None = ZooSpec
    for part in key.split("."):
        if schema is None or (part not in schema.model_fields and schema.model_config.get("extra") != "allow"):
            raise ValueError(f"no spec has {key!r}{did_you_mean(part, schema.model_fields if schema else ())}")
        annotation = schema.model_fields[part].annotation if part in schema.model_fields else None
        schema = annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None
    return key


SpecKey = Annotated[str, AfterValidator(_known)]
"""A spec's key, dotted: ``regularizer.kind``."""
Selector = dict[SpecKey, Value | Annotated[list[Value], Field(min_length=1)]]
"""Runs by their settings; of several values each will do."""


class Claim(Strict):
    """One claim: an effect in a quantity of the runs, and the side of the margin that it should be on.

    ``arms`` compares the runs that fit ``first`` with those that fit ``second`` and are equal but for ``but_for``;
    ``steps`` compares each value of the setting ``along`` with the next smaller one (a run without a regulariser is
    λ = 0); ``level`` looks at the quantity itself.
    """

    id: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    claim: str
    """In words."""
    source: str
    """Where it is made."""
    quantity: str
    """A name in ``measures.quantities``."""
    compare: Literal["arms", "steps", "level"]
    where: Selector = Field(default_factory=dict)
    """Of all runs that take part."""
    first: Selector = Field(default_factory=dict)
    second: Selector = Field(default_factory=dict)
    along: SpecKey | None = None
    but_for: list[SpecKey] = Field(default_factory=list)
    """Settings, or sections, in which compared runs may differ besides."""
    at_comparable_error: bool = False
    """λ is chosen on either side so that the test errors are nearest; pairs more than two points apart don't count."""
    expect: Literal["above", "below", "within"]
    """The effect is above the margin, below its negative, or between the two."""
    margin: Annotated[float, Field(ge=0)] = 0.0

    @model_validator(mode="after")
    def _complete(self) -> Claim:
        if self.compare == "arms" and not (self.first and self.second):
            raise ValueError("compare = 'arms' needs first and second")
        if self.compare == "steps" and self.along is None:
            raise ValueError("compare = 'steps' needs along")
        if self.compare != "arms" and (self.first or self.second or self.at_comparable_error):
            raise ValueError("first, second and at_comparable_error are for compare = 'arms'")
        if self.compare != "steps" and self.along is not None:
            raise ValueError("along is for compare = 'steps'")
        return self


class ClaimList(Document):
    """A file of claims."""

    claim: Annotated[list[Claim], Field(min_length=1)]

    @model_validator(mode="after")
    def _told_apart(self) -> ClaimList:
        ids = [claim.id for claim in self.claim]
        twice = sorted({name for name in ids if ids.count(name) > 1})
        if twice:
            raise ValueError(f"claim {twice[0]!r} stands twice")
        return self
