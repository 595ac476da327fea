"""The optimizers of the zoo: the hyperparameters each has, with the paper's values as defaults."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, ValidationError

from sparsity_audit.errors import did_you_mean
from sparsity_audit.schema.base import Finite

Positive = Annotated[float, Field(gt=0)]
Decay = Annotated[float, Field(ge=0, lt=1)]
"""Of a moving average, or a momentum."""


class SgdSettings(Finite):
    """Sec. 2.1: 0.1, momentum 0.9."""

    lr: Positive = 0.1
    momentum: Decay = 0.9
    dampening: Decay = 0.0
    nesterov: bool = False


class AdamSettings(Finite):
    """Sec. 2.1: 1e-3, β₁ = 0.9, β₂ = 0.99, ε = 1e-8; 1e-4 on ImageNet (supplement Sec. 4)."""

    lr: Positive = 1e-3
    betas: tuple[Decay, Decay] = (0.9, 0.99)
    eps: Positive = 1e-8


class AmsgradSettings(AdamSettings):
    """Supplement Figure 3: 1e-3. The rest is not printed: reconstructed as Adam's."""


class AdadeltaSettings(Finite):
    """Sec. 2.1: 1.0, ρ = 0.9, ε = 1e-6."""

    lr: Positive = 1.0
    rho: Decay = 0.9
    eps: Positive = 1e-6


class AdagradSettings(Finite):
    """Sec. 2.1: 1e-2. The rest is torch's."""

    lr: Positive = 1e-2
    lr_decay: Annotated[float, Field(ge=0)] = 0.0
    eps: Positive = 1e-10


class RmspropSettings(Finite):
    """Reconstructed: the rate is that of supplement Figure 3, 1e-3, the rest is torch's."""

    lr: Positive = 1e-3
    alpha: Decay = 0.99
    eps: Positive = 1e-8
    momentum: Decay = 0.0
    centered: bool = False


class AdamaxSettings(Finite):
    """Reconstructed: the rate is that of supplement Figure 3, 2e-3, the rest is torch's."""

    lr: Positive = 2e-3
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    eps: Positive = 1e-8


SETTINGS: dict[str, type[Finite]] = {
    "sgd": SgdSettings,
    "adam": AdamSettings,
    "adadelta": AdadeltaSettings,
    "adagrad": AdagradSettings,
    "amsgrad": AmsgradSettings,
    "rmsprop": RmspropSettings,
    "adamax": AdamaxSettings,
}
IMAGENET_ADAM_LR = 1e-4


def completed(name: str, given: dict[str, Any]) -> dict[str, Any]:
    """Return all hyperparameters of an optimizer: those given, and the paper's for the rest.

    Raises:
        ValueError: one line on a key that the optimizer does not have, or a value that cannot be.
    """
    settings = SETTINGS[name]
    for key in given:
        if key not in settings.model_fields:
            raise ValueError(f"{name} has no {key!r}{did_you_mean(key, settings.model_fields)}")
    try:
        return settings.model_validate(given).model_dump(mode="json")
    except ValidationError as failure:
        first = failure.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{place} = {first['input']!r}: {first['msg'].removeprefix('Input ')}") from None
