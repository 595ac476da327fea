"""What every file format of the project shares: strict keys, frozen values, a schema number."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Criterion = Literal["scale", "activation", "constant", "union"]
"""What *dead* is judged by; ``union`` is scale or activation, and what *dead* means where none is named."""

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


class Strict(BaseModel):
    """A value object: an unknown key is an error, and nothing changes after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Finite(Strict):
    """A value object whose numbers are finite."""

    model_config = ConfigDict(allow_inf_nan=False)


class Document(Strict):
    """The top of a file; ``schema`` names the version of its format."""

    schema_version: Literal[1] = Field(default=1, alias="schema")

    def to_json(self, *, indent: int | None = 1) -> str:
        """Return the document as JSON text (RFC 8259: NaN and infinities are written as null)."""
        return self.model_dump_json(by_alias=True, indent=indent)
