"""Manifests: models that were trained elsewhere, and what their owner says of each."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from sparsity_audit.schema.base import Document, Fraction
from sparsity_audit.schema.spec import TrainingSettings


class ManifestEntry(TrainingSettings):
    """One trained model; optimizer, regularizer and batch size have the same keys as in a spec."""

    name: Annotated[str, Field(min_length=1)]
    """What to call it; models that differ in their seed only have one name."""
    path: Annotated[str, Field(min_length=1)]
    """Weight file, or a folder with one; relative to the manifest."""
    seed: Annotated[int, Field(ge=0)] | None = None
    test_error: Fraction | None = None
    """Without it a model is comparable with no other."""
    group: Annotated[str, Field(min_length=1)] | None = None
    """Models of one group differ in nothing but what is said of them here."""
    steps: Annotated[int, Field(ge=1)] | None = None
    """Optimizer steps that it was trained for."""


class ManifestSpec(Document):
    """Models trained elsewhere: ``[[model]]`` tables."""

    model: Annotated[list[ManifestEntry], Field(min_length=1)]

    @model_validator(mode="after")
    def _told_apart(self) -> ManifestSpec:
        seen: set[tuple[str, int | None]] = set()
        for entry in self.model:
            if (entry.name, entry.seed) in seen:
                seed = "no seed" if entry.seed is None else f"seed {entry.seed}"
                raise ValueError(f"model {entry.name!r} with {seed} stands twice; give them seeds, or other names")
            seen.add((entry.name, entry.seed))
        return self
