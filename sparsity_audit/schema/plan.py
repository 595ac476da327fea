"""The pruning plan: which filters can go, on what evidence, and what that saves."""

from __future__ import annotations

from typing import Annotated, Literal

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
    """Disjoint; together they are ``removed``, less ``derived``."""
    constants: dict[int, float] = Field(default_factory=dict)
    """The value that a removed filter leaves behind and its consumers must take over; filters at 0 left out."""
    held: dict[int, float] = Field(default_factory=dict)
    """Where each filter that goes, or is a carrier, is held: the value, in float64, that its norm puts out (its
    convolution, where no norm follows). All that a cut follows from."""
    derived: list[int] = Field(default_factory=list)
    """Of ``removed``, those that are not dead themselves: all that reads them goes, or what they read."""
    scattered: list[int] = Field(default_factory=list)
    """Of ``removed``, those that leave the convolution alone: their channel stays, as a constant."""
    carriers: list[int] = Field(default_factory=list)
    """Dead filters that stay as a constant, from which padded convolutions make up for those removed."""
    kept: dict[str, list[int]] = Field(default_factory=dict)
    """Other dead filters that stay as they are, by the reason why."""
    kept_for_shape: int | None = None
    """A dead filter that stays because a layer can't be empty; it is not among ``removed``."""
    params_saved: int | None = None
    macs_saved: int | None = None
    held_back: int | None = None
    """Convolution parameters of this layer that stay because a channel they read has live producers too."""
    evidence: str


class ComparisonFigures(Strict):
    """A slim network beside the original on inputs of one kind; in units of the output."""

    against: Literal["held", "untouched"]
    """The original with the same filters held at their constants, or as it is."""
    inputs: str
    """Kind of images: corpus, random, other size."""
    output: int = 0
    """Which of the network's output tensors."""
    images: int
    scale: float
    """Largest |output| of the original."""
    noise_floor: float
    """Largest |fp32 − fp64| of the original."""
    delta_fp32: float
    """Largest |slim − original|."""
    delta_fp64: float
    limit_fp32: float
    limit_fp64: float
    changed: int
    """Images with another first answer."""


class CutSettings(Strict):
    """What a cut was asked for besides that it be exact; the same settings and holds give the same cut again."""

    min_width: Annotated[int, Field(ge=1)] = 1
    """Filters that every layer keeps at least."""
    round_to: Annotated[int, Field(ge=1)] = 1
    """Layers keep a multiple of so many filters."""


class PruningPlan(Document):
    """What can go (a recommendation), or what went into a slim file (then it has ``verification``)."""

    model_sha256: str
    criterion: Literal["union", "scale"]
    pruning_class: PruningClass | None = None
    """The riskiest class that goes; None: a recommendation of all of them."""
    settings: CutSettings = CutSettings()
    tolerances: Tolerances
    images: int | None
    """Images seen; None where only weights were."""
    layers: list[PlannedLayer]
    params_before: int | None
    params_after: int | None
    macs_before: int | None
    macs_after: int | None
    verification: list[ComparisonFigures] | None = None
    """The slim model against the original; None until it has been made."""
