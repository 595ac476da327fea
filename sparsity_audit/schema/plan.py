"""The pruning plan: which filters can go, on what evidence, and what that saves."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sparsity_audit.schema.base import Document, Strict

PruningClass = Literal["lossless", "silent", "small"]
"""lossless: the function stays the same for every input. silent: never active on the corpus (evidence, not
proof). small: |γ| under the threshold, yet not silent. In this order each class is riskier than the last."""


class Tolerances(Strict):
    """The thresholds that the plan was made with."""

    gamma: float
    activation: float
    constant: float


class PlannedLayer(Strict):
    """What can go from one feature layer, in the original model's numbering."""

    key: str
    filters: int
    removed: list[int]
    classes: dict[PruningClass, list[int]]
    """Disjoint; together they are ``removed``."""
    constants: dict[int, float] = Field(default_factory=dict)
    """The value that a removed filter leaves behind and its consumers must take over; filters at 0 left out."""
    kept_for_shape: int | None = None
    """A dead filter that stays because a layer can't be empty; it is not among ``removed``."""
    params_saved: int | None = None
    macs_saved: int | None = None
    held_back: int | None = None
    """Convolution parameters of this layer that stay because a channel they read has live producers too."""
    evidence: str


class PruningPlan(Document):
    """A recommendation; nothing in it has been carried out."""

    model_sha256: str
    criterion: Literal["union", "scale"]
    tolerances: Tolerances
    images: int | None
    """Images seen; None where only weights were."""
    layers: list[PlannedLayer]
    params_before: int | None
    params_after: int | None
    macs_before: int | None
    macs_after: int | None
    verification: dict[str, float] | None = None
    """Figures of the slim model against the original; None until it has been made."""
