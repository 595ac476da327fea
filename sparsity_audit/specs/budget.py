"""How far a training can move a parameter: the decay budget, and the sum of learning rates.

From γ = 1, an arm whose budget is below ln(1 / 1e-3) = 6.9 cannot reach the threshold of inactivity without the loss's
help; an adaptive method under L2 moves a parameter by about the rate each step, so there the sum of rates counts.
"""

from __future__ import annotations

import itertools
import math

from sparsity_audit.schema.spec import ScheduleSpec, ZooSpec

_TRAINING_IMAGES = {
    "digits": 1400,
    "cifar10": 50_000,
    "cifar100": 50_000,
    "tinyimagenet": 100_000,
    "imagenet": 1_281_167,
}
"""Images of the training split."""


def decay_budget(spec: ZooSpec, steps_per_epoch: int) -> float | None:
    """Return how many e-folds the regularizer alone can take a parameter down; None where that is no constant.

    Weight decay takes λ · lr_t / lr_0 off a parameter at each step, whatever the optimizer; SGD with L2 about
    λ · lr_t / (1 − μ), less its dampening. Adaptive methods divide L2 by the gradient's own size, and γ-L1 takes off
    a constant: neither decays by e-folds. Multipliers of γ's and β's rate are left out.
    """
    strength, optimizer = spec.regularizer.strength, spec.optimizer
    if spec.regularizer.kind == "wd":
        return strength * _sum_of_scales(spec.schedule, steps_per_epoch)
    if spec.regularizer.kind == "l2" and optimizer.name == "sgd":
        settings = optimizer.model_dump()
        # What a constant gradient's momentum buffer settles at, in multiples of the gradient.
        carried = (1 - settings["dampening"]) / (1 - settings["momentum"]) if settings["momentum"] else 1.0
        return strength * carried * rate_sum(spec, steps_per_epoch)
    return None


def rate_sum(spec: ZooSpec, steps_per_epoch: int) -> float:
    """Return Σ lr_t over all steps: about as far as an adaptive method can move a parameter."""
    return spec.optimizer.lr * _sum_of_scales(spec.schedule, steps_per_epoch)


def steps_per_epoch(images: int, batch_size: int) -> int:
    """Return the steps that show every image once.

    The last batch may be shorter; one of a single image is left out, since batch norm cannot normalise it.
    """
    whole, rest = divmod(images, batch_size)
    return whole + (rest > 1)


def known_steps_per_epoch(spec: ZooSpec) -> int | None:
    """Return the steps of an epoch on a corpus whose size is known by its name; None for any other."""
    images = _TRAINING_IMAGES.get(spec.data.name)
    if images is None:
        return None
    return steps_per_epoch(images, spec.batch_size)


def _sum_of_scales(schedule: ScheduleSpec, steps_per_epoch: int) -> float:
    """Return Σ lr_t / lr_0: between two milestones the rate is constant, so each stretch is one product."""
    per_unit = steps_per_epoch if schedule.unit == "epochs" else 1
    bounds = [0, *(milestone * per_unit for milestone in schedule.milestones), schedule.iterations(steps_per_epoch)]
    stretches = itertools.pairwise(bounds)
    return math.fsum((end - start) * schedule.scale(start, steps_per_epoch) for start, end in stretches)
