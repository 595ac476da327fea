"""Zoo specs: everything that decides how a model was trained, and so the name of its run (the digest)."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from sparsity_audit.schema.base import Document, Strict

Positive = Annotated[float, Field(gt=0)]


class Normalisation(Strict):
    """Per-channel mean and deviation, on the 0–1 scale of pixels: x = (pixel − mean) / std."""

    mean: list[float]
    std: list[Positive]


class NetworkSpec(Strict):
    """An architecture by name; the other keys belong to the families that have them."""

    name: str
    first: Annotated[int, Field(ge=1)] | None = None
    """BasicNet: filters of C1 (the 32 of 32-0.25x)."""
    width: Positive | None = None
    """BasicNet: factor on the filters of C2–C7 (the 0.25 of 32-0.25x)."""
    head: list[int] | None = None
    """Nodes of the hidden fully connected layers; the class layer follows."""
    activation: Literal["relu", "leaky_relu"] = "relu"
    negative_slope: float = 0.01
    """Slope of LeakyReLU below zero; unused with ``relu``."""


class InitSpec(Strict):
    """Initial values (Sec. 2.1; supplement Sec. 3 for β)."""

    weights: Literal["xavier", "default"] = "xavier"
    gamma: float = 1.0
    beta: float = 0.0


class DataSpec(Strict):
    """The corpus trained on; ``test_size`` and ``split_seed`` where it comes without a split of its own."""

    name: str
    test_size: Annotated[int, Field(ge=1)] | None = None
    split_seed: int = 0
    flip: bool = True


class OptimizerSpec(Strict):
    """A torch optimizer by name with its own hyperparameters (``betas``, ``momentum``, …)."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: Literal["sgd", "adam", "adadelta", "adagrad", "amsgrad", "rmsprop", "adamax"]
    lr: Positive


class RegularizerSpec(Strict):
    """L2 adds λθ to the gradient; WD multiplies θ by (1 − λ) after the step (Sec. 2.1)."""

    kind: Literal["none", "l2", "wd", "gamma_l1"]
    strength: Annotated[float, Field(ge=0)] = 0.0
    on: Literal["all", "weights", "norm"] = "all"


class LrMultipliers(Strict):
    """Factors on the learning rate of γ and β (supplement Table 3)."""

    gamma: Positive = 1.0
    beta: Positive = 1.0


class ScheduleSpec(Strict):
    """Length of the training and the steps at which the learning rate is multiplied by ``factor``."""

    unit: Literal["iterations", "epochs"]
    total: Annotated[int, Field(ge=1)]
    milestones: list[Annotated[int, Field(ge=1)]] = Field(default_factory=list)
    factor: Positive = 0.1


class ObserveSpec(Strict):
    """What is written down while training; it changes no weight, so it is no part of the digest."""

    history_every: Annotated[int, Field(ge=1)] | None = None
    snapshots: list[Annotated[int, Field(ge=1)]] = Field(default_factory=list)


class TrainingSettings(Strict):
    """How a model that did not come from the zoo was trained, as far as its owner says so."""

    optimizer: OptimizerSpec | None = None
    regularizer: RegularizerSpec | None = None
    batch_size: Annotated[int, Field(ge=1)] | None = None


class ZooSpec(Document):
    """One training, complete: two runs of the same spec on one machine give the same weights."""

    network: NetworkSpec
    init: InitSpec = InitSpec()
    data: DataSpec
    optimizer: OptimizerSpec
    regularizer: RegularizerSpec
    lr_multipliers: LrMultipliers = LrMultipliers()
    schedule: ScheduleSpec
    batch_size: Annotated[int, Field(ge=1)]
    seed: int = 0
    observe: ObserveSpec = ObserveSpec()

    def digest(self) -> str:
        """Return the sha256 of the spec as canonical JSON: sorted keys, seed included, ``observe`` left out."""
        resolved = self.model_dump(mode="json", by_alias=True, exclude={"observe"})
        canonical = json.dumps(resolved, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    def settings(self) -> TrainingSettings:
        """Return the part that is known of models from elsewhere too."""
        return TrainingSettings(optimizer=self.optimizer, regularizer=self.regularizer, batch_size=self.batch_size)


class ModelMetadata(Document):
    """What a zoo checkpoint says of itself: JSON under ``sparsity_audit`` in its safetensors metadata."""

    network: NetworkSpec
    input_shape: tuple[int, int, int]
    """Channels, height, width of the images it was trained on."""
    classes: list[str]
    normalisation: Normalisation
    pixel_scale: Positive = 255.0
    """The pixel value that stands for 1.0: 255 for 8-bit images, 16 for the digits."""
    spec: ZooSpec | None = None
