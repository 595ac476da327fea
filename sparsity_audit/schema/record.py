"""The record of a run: what was trained, how far it got, and what came of it (``record.json``)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from sparsity_audit.schema.base import Document, Fraction, Strict
from sparsity_audit.schema.spec import ZooSpec

Status = Literal["running", "interrupted", "diverged", "finished"]


class GroupRecord(Strict):
    """Parameters that are trained alike, and what they are regularised by."""

    role: Literal["weights", "gamma", "beta"]
    """γ and β of normalisations, or all the rest (biases of other layers among it)."""
    parameters: list[str]
    """Paths, in the model's order."""
    lr: float
    """Base learning rate, multiplier included."""
    regularizer: Literal["none", "l2", "wd", "gamma_l1"]
    strength: float


class SplitResult(Strict):
    """The finished model on one whole split, without augmentation, in evaluation mode."""

    images: int
    loss: float | None
    """Mean cross-entropy; null where it is not finite."""
    error: Fraction
    top5_error: Fraction | None = None
    """Null for five classes or fewer."""


class ScaleCount(Strict):
    """Filters inactive by scale at the end: convolution features only (Table 1's columns)."""

    filters: int
    inactive: int
    per_layer: dict[str, int]
    """Inactive filters by layer key."""


class SessionRecord(Strict):
    """One stretch of training between a start and a stop."""

    from_step: int
    to_step: int
    seconds: float
    device: str
    """``cpu``, or the accelerator's name."""
    threads: int
    torch: str
    python: str
    platform: str
    tool: str


class TrainingRecord(Document):
    """All that is known of a run; fractions are 0–1, losses in nats."""

    name: str
    """The id of the spec it came from."""
    spec: ZooSpec
    digest: str
    """``spec.digest()``."""
    seed: int
    status: Status
    steps: int
    """Steps done and safe: a resumed run goes on from here."""
    total_steps: int
    steps_per_epoch: int
    decay_budget: float | None
    """E-folds that the regulariser alone could take a parameter down (``specs.budget``); null where it has none."""
    rate_sum: float
    """Σ lr_t over all steps: what an adaptive method under L2 can move a parameter by."""
    parameter_groups: list[GroupRecord]
    train: SplitResult | None = None
    test: SplitResult | None = None
    scale: ScaleCount | None = None
    message: str | None = None
    """Why a run that did not finish stopped."""
    sessions: list[SessionRecord] = Field(default_factory=list)
    history: Annotated[str | None, Field(description="File of the history, relative to the record.")] = None
    snapshots: list[str] = Field(default_factory=list)
    """Files of the snapshots, relative to the record."""
