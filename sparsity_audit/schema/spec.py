"""Zoo specs: everything that decides how a model was trained, and so the name of its run (the digest)."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from sparsity_audit.schema.base import Document, Finite
from sparsity_audit.schema.optimizers import IMAGENET_ADAM_LR, SETTINGS, completed
from sparsity_audit.schema.slim import SlimInfo

Positive = Annotated[float, Field(gt=0)]


class Normalisation(Finite):
    """Per-channel mean and deviation, on the 0–1 scale of pixels: x = (pixel − mean) / std."""

    mean: list[float]
    std: list[Positive]


class NetworkSpec(Finite):
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


class InitSpec(Finite):
    """Initial values (Sec. 2.1; supplement Sec. 3 for β)."""

    weights: Literal["xavier", "default"] = "xavier"
    gamma: float = 1.0
    beta: float = 0.0


class DataSpec(Finite):
    """The corpus trained on; ``test_size`` and ``split_seed`` where it comes without a split of its own."""

    name: str
    test_size: Annotated[int, Field(ge=1)] | None = None
    split_seed: int = 0
    flip: bool = True
    """Random horizontal flips while training (Sec. 2.1)."""
    resize: Annotated[int, Field(ge=1)] | None = None
    """Photographs: pixels of the shorter side, and of the central square that is cut then (256 on ImageNet, Sec. 4)."""
    crop: Annotated[int, Field(ge=1)] | None = None
    """Photographs: pixels of the square shown, at random while training, else central (224 on ImageNet, Sec. 4)."""

    @model_validator(mode="after")
    def _crop_fits(self) -> DataSpec:
        if self.crop is not None and (self.resize is None or self.crop > self.resize):
            raise ValueError(f"crop = {self.crop} needs a resize of at least as many pixels")
        return self


class OptimizerSpec(Finite):
    """A torch optimizer by name with its own hyperparameters (``betas``, ``momentum``, …)."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)

    name: Literal["sgd", "adam", "adadelta", "adagrad", "amsgrad", "rmsprop", "adamax"]
    lr: Positive


class ZooOptimizerSpec(OptimizerSpec):
    """An optimizer with all its hyperparameters: what a spec leaves out is the paper's value."""

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("name") in SETTINGS:
            rest = {key: value for key, value in given.items() if key != "name"}
            return {"name": given["name"], **completed(given["name"], rest)}
        return given


class RegularizerSpec(Finite):
    """What pulls parameters to 0, with λ = ``strength``.

    ``l2`` adds λθ to the gradient; ``wd`` multiplies θ by (1 − λ) after the step, λ scaled like the learning rate
    (Sec. 2.1, Table 1's caption); ``gamma_l1`` adds λ·sign(γ) to the gradient of γ (Network Slimming, reference 19
    of the paper).
    """

    kind: Literal["none", "l2", "wd", "gamma_l1"]
    strength: Annotated[float, Field(ge=0)] = 0.0
    on: Literal["all", "weights", "norm"] = "all"
    """``norm``: γ and β alone; ``weights``: all but them. ``gamma_l1`` is on γ alone, and has no choice."""

    @model_validator(mode="after")
    def _fits(self) -> RegularizerSpec:
        if self.kind == "none" and self.strength:
            raise ValueError(f"kind = 'none' has no strength, but {self.strength} is given; leave it out")
        if self.kind == "wd" and self.strength >= 1:
            raise ValueError(f"strength = {self.strength}: weight decay multiplies by 1 − λ, so λ must be below 1")
        if self.kind == "gamma_l1" and self.on != "all":
            raise ValueError(f"on = {self.on!r}: gamma_l1 is on γ alone; leave it out")
        return self


class LrMultipliers(Finite):
    """Factors on the learning rate of γ and β (supplement Table 3)."""

    gamma: Positive = 1.0
    beta: Positive = 1.0


class ScheduleSpec(Finite):
    """Length of the training and the steps at which the learning rate is multiplied by ``factor``."""

    unit: Literal["iterations", "epochs"]
    total: Annotated[int, Field(ge=1)]
    milestones: list[Annotated[int, Field(ge=1)]] = Field(default_factory=list)
    factor: Positive = 0.1

    @model_validator(mode="after")
    def _in_order(self) -> ScheduleSpec:
        if any(left >= right for left, right in zip(self.milestones, self.milestones[1:], strict=False)):
            raise ValueError(f"milestones = {self.milestones}: should rise")
        if self.milestones and self.milestones[-1] >= self.total:
            raise ValueError(f"milestones = {self.milestones}: the last should come before total = {self.total}")
        return self

    def iterations(self, per_epoch: int) -> int:
        """Return the number of steps, for an epoch of ``per_epoch`` steps."""
        return self.total * (per_epoch if self.unit == "epochs" else 1)

    def scale(self, step: int, per_epoch: int) -> float:
        """Return lr_t / lr_0 at a step, counted from 0."""
        done = step // per_epoch if self.unit == "epochs" else step
        return float(self.factor ** sum(milestone <= done for milestone in self.milestones))


class ObserveSpec(Finite):
    """What is written down while training; it changes no weight, so it is no part of the digest."""

    history_every: Annotated[int, Field(ge=1)] | None = None
    snapshots: list[Annotated[int, Field(ge=1)]] = Field(default_factory=list)


class TrainingSettings(Finite):
    """How a model that did not come from the zoo was trained, as far as its owner says so."""

    optimizer: OptimizerSpec | None = None
    regularizer: RegularizerSpec | None = None
    batch_size: Annotated[int, Field(ge=1)] | None = None


class ZooSpec(Document):
    """One training, complete: two runs of the same spec on one machine give the same weights."""

    network: NetworkSpec
    init: InitSpec = InitSpec()
    data: DataSpec
    optimizer: ZooOptimizerSpec
    regularizer: RegularizerSpec
    lr_multipliers: LrMultipliers = LrMultipliers()
    schedule: ScheduleSpec
    batch_size: Annotated[int, Field(ge=2)]
    """At least 2: batch norm cannot normalise a single vector."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    observe: ObserveSpec = ObserveSpec()

    @model_validator(mode="before")
    @classmethod
    def _adam_on_imagenet(cls, given: Any) -> Any:
        data, optimizer = (given.get(key) if isinstance(given, dict) else None for key in ("data", "optimizer"))
        if not (isinstance(data, dict) and isinstance(optimizer, dict)):
            return given
        if data.get("name") == "imagenet" and optimizer.get("name") == "adam" and "lr" not in optimizer:
            return {**given, "optimizer": {**optimizer, "lr": IMAGENET_ADAM_LR}}
        return given

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
    slim: SlimInfo | None = None
    """Of a network that filters were removed from."""
