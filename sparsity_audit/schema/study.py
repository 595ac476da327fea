"""Study files: a base spec, what is varied, and the numbers that the paper printed for it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from sparsity_audit.schema.base import Document, Fraction, Strict

RowId = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")]


class PrintedValues(Strict):
    """What the paper printed of a run; fractions 0–1, losses in nats. What it did not print is absent."""

    by_activation: Fraction | None = None
    """Share of convolution filters inactive by activation."""
    by_scale: Fraction | None = None
    """Share of convolution filters inactive by scale."""
    error: Fraction | None = None
    """Test error, or top-1 validation error."""
    top5_error: Fraction | None = None
    train_loss: float | None = None
    test_loss: float | None = None
    layers: list[Fraction] | None = None
    """Share of filters inactive by scale, layer by layer."""
    filters_pruned: int | None = None
    params_pruned: Fraction | None = None
    """Share of convolution parameters that go with the filters inactive by scale."""
    pruned_error: Fraction | None = None
    pruned_top5_error: Fraction | None = None


class StudyRow(Strict):
    """One run of a study: what differs from the base, and what was printed of it."""

    id: RowId
    set: dict[str, Any] = Field(default_factory=dict)
    """Values by dotted key; a table replaces its section."""
    printed: PrintedValues | None = None
    note: str | None = None


class ReferenceRow(Strict):
    """A row of a table that the authors took from elsewhere: nothing to train."""

    id: RowId
    source: str
    printed: PrintedValues
    note: str | None = None


class Conflict(Strict):
    """Where the paper contradicts itself, or leaves open what a run needs."""

    what: str
    found: list[str]
    """What is printed, each with its place."""
    chosen: str
    """What the rows here do about it."""


class StudySpec(Document):
    """Runs that differ in named factors: the product of ``axes``, and the rows one by one."""

    title: str
    source: str | None = None
    """The table that it is."""
    base: str
    """Id of a shipped spec, or a file relative to the study's."""
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(default_factory=lambda: [0], min_length=1)]
    axes: dict[str, Annotated[list[Any], Field(min_length=1)]] = Field(default_factory=dict)
    row: list[StudyRow] = Field(default_factory=list)
    reference: list[ReferenceRow] = Field(default_factory=list)
    conflict: list[Conflict] = Field(default_factory=list)

    @model_validator(mode="after")
    def _something_to_train(self) -> StudySpec:
        if not self.axes and not self.row:
            raise ValueError("has neither [axes] nor a [[row]]: nothing to train")
        ids = [row.id for row in self.row] + [row.id for row in self.reference]
        twice = sorted({name for name in ids if ids.count(name) > 1})
        if twice:
            raise ValueError(f"row id {twice[0]!r} stands twice")
        return self
