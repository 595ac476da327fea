"""What a report holds of gradients on γ, and of the deaths predicted from them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sparsity_audit.schema.base import Strict


class LayerGradients(Strict):
    """Gradients of the mean cross-entropy on γ, over batches in training mode; one entry a filter."""

    layer: str
    mean: list[float]
    mean_absolute: list[float]
    std: list[float]
    zero_share: list[float]
    """Share of the batches whose gradient is exactly 0."""


class PredictedDeaths(Strict):
    """Filters that are alive by scale and whose |γ|, stepped on, comes to lie below 1e-3."""

    regularizer: Literal["l2", "wd", "gamma_l1"]
    strength: float
    batch_size: int
    steps: int
    """Steps ahead, at the base learning rate."""
    dead: dict[str, list[int]]
    """Filters by layer key; every layer that was looked at is there, none where a reason stands."""
    reason: str | None
    """Why nothing can be predicted under this regime."""


class GradientInfo(Strict):
    """Gradients on γ on the training split, without the regulariser, and what they let expect."""

    batch_size: int | None
    """That of the training; null where it is not known."""
    batches: int
    """0 where no gradients were measured."""
    reason: str | None
    """Why none were."""
    seed: int
    """Of the draw of the batches."""
    layers: list[LayerGradients] = Field(default_factory=list)
    predictions: list[PredictedDeaths] = Field(default_factory=list)
    """Under the model's own regulariser first; empty where optimizer or regulariser are not known, or none is on γ."""
