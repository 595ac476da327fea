"""Which filters the regulariser will take: their γ stepped on from measured gradients (Sec. 2.3, Figure 4).

The optimizer's own formulas step every γ, as a scalar, through gradients drawn from those measured. Four things are
put into it that gradients of a single moment do not tell:

- A gradient scales with γ: β and the weights that read the filter shrink along with it.
- The gradients' mean is left out: at one moment it is a passing displacement, far above the λγ that would hold γ in
  place. Each draw is stepped with both signs, from one γ, and γ goes on at their mean: gradients act by what they do
  to the optimizer's denominators, which is where an adaptive method under L2 differs from all the others.
- What the loss gives back: it supports a filter in proportion to what that carries. So the regulariser's net pull
  is that on a filter of the median |γ|, the same for all, and reached over ``SUPPORT_LASTS`` steps; a filter that
  never has a gradient has no support, and feels all of it.
- The deviation over few batches at one moment is itself noisy: half of it, as powers, is the filter's own.

Where the loss lies in a lull, its gradients say nothing of the steps to come: see ``lull``.

The constants were set on seven runs of the digits and one of CIFAR-10; ``benchmarks/predicted_deaths.py`` holds the
outcome against runs that were not among them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from sparsity_audit.schema.spec import OptimizerSpec
from sparsity_audit.stats.scalars import Array, Kind, Scalars
from sparsity_audit.thresholds import GAMMA_THRESHOLD

SUPPORT_LASTS = 1_000
"""Steps at the base learning rate until the loss has withdrawn its support: adaptive methods under L2."""
SUPPORT_LASTS_ELSEWHERE = 10_000
"""The same for SGD, weight decay and γ-L1."""
OWN_DEVIATION = 0.5
"""Weight of a filter's own deviation against one in proportion to its |γ|, as powers."""
LULL = 10.0
"""Below this ratio of the gradients' median deviation to λ times the median |γ| the loss is in a lull."""
WARM_UP = 300
"""Steps that fill the memory of an optimizer whose state is not known."""
FIRST_MOMENTS = ("exp_avg", "momentum_buffer", "grad_avg")


@dataclass(frozen=True)
class Regime:
    """An optimizer and its regulariser on γ, the batch size in units of the one that gradients were measured at."""

    optimizer: OptimizerSpec
    kind: Kind
    strength: float
    batch_ratio: float = 1.0
    """1/2, 1/3, …, 1, 2, 3, …"""


def predict_scales(
    gamma: ArrayLike,
    gradients: ArrayLike,
    regime: Regime,
    scales: Sequence[float],
    *,
    memory: Mapping[str, ArrayLike] | None = None,
    steps_done: int = 0,
    seed: int = 0,
) -> Array:
    """Return |γ| after the next steps.

    Args:
        gamma: γ [filters] of the whole network: its median sets what a filter needs to be held up.
        gradients: of the loss on γ, [batches, filters].
        scales: lr_t / lr_0 of each step to come.
        memory: the optimizer's state on these γ, [filters] each, after ``steps_done`` steps. Where there were none,
            ``WARM_UP`` steps at the present γ fill it.
        seed: of the draws of batches.
    """
    after = np.abs(np.asarray(gamma, dtype=np.float64))
    alive = after >= GAMMA_THRESHOLD  # the others are dead already
    if alive.any() and scales:
        measured = np.asarray(gradients, dtype=np.float64)[:, alive]
        kept = {name: np.asarray(value, dtype=np.float64)[alive] for name, value in (memory or {}).items()}
        with np.errstate(over="ignore", invalid="ignore"):  # what a diverging rate leaves is not below any threshold
            after[alive] = _stepped(after[alive], measured, regime, scales, kept, steps_done, seed)
    return after


def _stepped(
    start: Array,
    measured: Array,
    regime: Regime,
    scales: Sequence[float],
    memory: dict[str, Array],
    steps_done: int,
    seed: int,
) -> Array:
    """Step positive γ, none of them dead."""
    draws = _draws(_steadied(measured, start), regime.batch_ratio, seed)
    # Directions are forgotten, as the gradients' mean is.
    state = {name: np.tile(0 * value if name in FIRST_MOMENTS else value, (2, 1)) for name, value in memory.items()}
    both = np.tile(start, (2, 1))
    scalars = Scalars(regime.optimizer, both, regime.kind, memory=state, steps_done=steps_done)
    if not steps_done:
        for _ in range(WARM_UP):
            scalars.step(next(draws))
            scalars.values[:] = start
    full = np.ones_like(start) if regime.kind == "gamma_l1" else np.median(start) / start
    silent = (measured == 0).mean(axis=0) ** regime.batch_ratio
    lasts, withdrawn = _support_lasts(regime), 0.0
    for scale in scales:
        withdrawn += scale
        pull = regime.strength * (silent + (1 - silent) * full * min(1.0, withdrawn / lasts))
        scalars.strength = np.minimum(pull, 1.0)  # weight decay of more would turn γ around
        scalars.step(next(draws) * (scalars.values / start), scale)
        scalars.values[:] = scalars.values.mean(axis=0)
    stepped: Array = np.abs(scalars.values[0])
    return stepped


def lull(gamma: ArrayLike, gradients: ArrayLike, regime: Regime) -> float | None:
    """Return how small the gradients are where they are too small to step on from; None where they are not.

    A network that fits its images has all but no gradients, until the regulariser has undone a part of it: what γ
    meets then was not measured. It matters to adaptive methods under L2, whose steps the gradients scale.

    Returns:
        Median deviation over filters alive by scale, divided by λ times their median |γ|.
    """
    start = np.abs(np.asarray(gamma, dtype=np.float64))
    alive = start >= GAMMA_THRESHOLD
    if not _adaptive_l2(regime) or not alive.any():
        return None
    deviation = np.sqrt((np.asarray(gradients, dtype=np.float64)[:, alive] ** 2).mean(axis=0))
    ratio = float(np.median(deviation) / (regime.strength * np.median(start[alive])))
    return ratio if ratio < LULL else None


def _adaptive_l2(regime: Regime) -> bool:
    return regime.kind == "l2" and regime.optimizer.name != "sgd"


def _support_lasts(regime: Regime) -> float:
    return SUPPORT_LASTS if _adaptive_l2(regime) else SUPPORT_LASTS_ELSEWHERE


def _steadied(measured: Array, start: Array) -> Array:
    """Return the gradients with each filter's deviation drawn towards one in proportion to its |γ|."""
    deviation = np.sqrt((measured**2).mean(axis=0))
    moved = deviation > 0
    if not moved.any():
        return measured
    expected = np.median(deviation[moved]) * start / np.median(start)
    wanted = deviation**OWN_DEVIATION * expected ** (1 - OWN_DEVIATION)
    factor: Array = np.divide(wanted, deviation, out=np.zeros_like(deviation), where=moved)
    return measured * factor


def _draws(gradients: Array, ratio: float, seed: int) -> Iterator[Array]:
    """Yield gradients of batches ``ratio`` times as large, each with both signs: [2, filters].

    The noise goes with 1/√ratio, and the share z of gradients that are exactly 0 becomes z^ratio: a larger batch
    joins several measured ones, and a smaller one has some of its gradients set to 0.
    """
    chance = np.random.default_rng(seed)
    joined = max(1, round(ratio))
    silent = (gradients == 0).mean(axis=0)
    lost = np.clip((silent**ratio - silent) / np.maximum(1 - silent, 1e-12), 0, 1) if ratio < 1 else np.zeros(1)
    louder = 1 / np.sqrt(ratio * (1 - lost)) if ratio < 1 else 1.0
    while True:
        rows = gradients[chance.integers(len(gradients), size=joined)]
        drawn = (rows * chance.choice([-1.0, 1.0], size=(joined, 1))).mean(axis=0)
        if lost.any():
            drawn = np.where(chance.random(drawn.shape) < lost, 0.0, drawn * louder)
        elif ratio < 1:
            drawn = drawn * louder
        yield np.stack([drawn, -drawn])
