"""What a regulariser does to a scalar that the loss hardly moves (Figure 4, and Figure 3 of the supplement)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from sparsity_audit.errors import UsageError, did_you_mean
from sparsity_audit.schema.base import Document, Fraction, Strict
from sparsity_audit.schema.optimizers import SETTINGS
from sparsity_audit.schema.spec import ZooOptimizerSpec
from sparsity_audit.stats.scalars import Scalars
from sparsity_audit.thresholds import GAMMA_THRESHOLD

Array = NDArray[np.float64]
SimulatedKind = Literal["l2", "wd"]

START = 1.0
"""Where every scalar starts: where the paper starts γ."""
WARM_STEPS = 100
WARM_STD = 1e-3
LOW_STD = 1e-5
"""Gradients have mean 0 and std ``WARM_STD`` for the first ``WARM_STEPS`` steps, then ``LOW_STD``."""
HALF = 0.5
BAND = (0.05, 0.95)
"""Quantiles over the draws between which ``Curve.low`` and ``Curve.high`` lie."""
POINTS = 250
"""Points of a curve that are kept, about."""
OPTIMIZERS = tuple(SETTINGS)
STRENGTHS = (1e-4, 1e-3, 2e-3, 5e-3, 1e-2)
KINDS: tuple[SimulatedKind, ...] = ("l2", "wd")


class Curve(Strict):
    """One optimizer, regulariser and λ: |θ| over the steps of ``Simulation.at``."""

    optimizer: str
    lr: float
    kind: SimulatedKind
    strength: float
    mean: list[float]
    """Mean of |θ| over the draws."""
    low: list[float]
    high: list[float]
    """Quantiles ``BAND`` of |θ| over the draws."""
    to_half: int | None
    """Median over the draws of the first step after which |θ| < 0.5; null where half of the draws did not get there."""
    to_threshold: int | None
    """Likewise for |θ| < 1e-3, where a filter counts as inactive by scale; some leave that again."""
    inactive: Fraction
    """Share of the draws with |θ| < 1e-3 after the last step."""

    @property
    def end(self) -> float:
        """Mean of |θ| after the last step."""
        return self.mean[-1]


class Simulation(Document):
    """The scalar experiment: every optimizer, regulariser and λ meets the same gradients."""

    steps: int
    draws: int
    """Scalars per curve, each with gradients of its own."""
    seed: int
    at: list[Annotated[int, Field(ge=0)]]
    """Steps done where the curves were read; 0 is the start."""
    curves: list[Curve]

    def curve(self, optimizer: str, kind: str, strength: float) -> Curve:
        """Return one curve; KeyError where it was not simulated."""
        for curve in self.curves:
            if (curve.optimizer, curve.kind, curve.strength) == (optimizer, kind, strength):
                return curve
        raise KeyError((optimizer, kind, strength))

    def order(self, strength: float) -> list[Curve]:
        """Return the curves of one λ that come below 1e-3, the fastest first."""
        arrived = [curve for curve in self.curves if curve.strength == strength and curve.to_threshold is not None]
        return sorted(arrived, key=lambda curve: curve.to_threshold or 0)


def simulate(
    optimizers: Sequence[str] = OPTIMIZERS,
    kinds: Sequence[str] = KINDS,
    strengths: Sequence[float] = STRENGTHS,
    *,
    steps: int = 5000,
    draws: int = 200,
    seed: int = 0,
) -> Simulation:
    """Let scalars decay under low gradients, at the paper's learning rates (supplement Figure 3).

    Args:
        strengths: λ, one curve each for every optimizer and kind.
        draws: scalars per curve; their gradients differ, those of the curves are the same.

    Raises:
        UsageError: one line on a name, a λ or a number that cannot be.
    """
    _check(optimizers, kinds, strengths)
    for name, value in (("steps", steps), ("draws", draws)):
        if value < 1:
            raise UsageError(f"simulate: {name} = {value}; it should be at least 1")
    if seed < 0:
        raise UsageError(f"simulate: seed = {seed}; it should be at least 0")
    at = _kept(steps)
    curves: list[Curve] = []
    for name in optimizers:
        for kind in (known for given in kinds for known in KINDS if known == given):
            scalars = _scalars(name, kind, strengths, draws)
            seen = _stepped(scalars, gradients(steps, draws, seed), at)
            curves += _curves(name, kind, strengths, seen)
    return Simulation(steps=steps, draws=draws, seed=seed, at=at, curves=curves)


def gradients(steps: int, draws: int, seed: int) -> Iterator[Array]:
    """Yield each step's gradients, [draws]; the first steps do not depend on how many follow."""
    random = np.random.default_rng(seed)
    for step in range(steps):
        yield random.normal(0.0, WARM_STD if step < WARM_STEPS else LOW_STD, draws)


def paper_optimizer(name: str) -> ZooOptimizerSpec:
    """Return an optimizer with the paper's learning rate and hyperparameters."""
    return ZooOptimizerSpec.model_validate({"name": name})


def _check(optimizers: Sequence[str], kinds: Sequence[str], strengths: Sequence[float]) -> None:
    for what, given, known in (("optimizer", optimizers, OPTIMIZERS), ("regularizer", kinds, KINDS)):
        for name in given:
            if name not in known:
                raise UsageError(f"simulate: no {what} {name!r}{did_you_mean(name, known)}")
    for strength in strengths:
        if not 0 <= strength < 1:
            raise UsageError(f"simulate: strength = {strength}; λ should be at least 0 and below 1")
    for what, values in (("optimizer", optimizers), ("regularizer", kinds), ("strength", strengths)):
        if not values:
            raise UsageError(f"simulate: no {what} given")
        if len(set(values)) < len(values):
            raise UsageError(f"simulate: {what} {', '.join(map(str, values))}: one stands there twice")


def _kept(steps: int) -> list[int]:
    every = max(1, steps // POINTS)
    return sorted({*range(0, steps + 1, every), steps})


def _scalars(name: str, kind: SimulatedKind, strengths: Sequence[float], draws: int) -> Scalars:
    start = np.full((len(strengths), draws), START)
    return Scalars(paper_optimizer(name), start, kind, np.asarray(strengths)[:, None])


class _Passage:
    """The first step after which each of many values is below a limit."""

    def __init__(self, limit: float, shape: tuple[int, ...]) -> None:
        self._limit = limit
        self._first = np.full(shape, np.inf)

    def see(self, step: int, sizes: Array) -> None:
        self._first[(sizes < self._limit) & (self._first > step)] = step

    def medians(self) -> list[int | None]:
        """Return the median of each row; of an even number the upper one, so that it is a step that was seen."""
        middle = np.sort(self._first, axis=1)[:, self._first.shape[1] // 2]
        return [int(step) if np.isfinite(step) else None for step in middle]


class _Seen(NamedTuple):
    """What is kept of one optimizer's scalars, [λ, draws]."""

    points: Array
    """[points, 3, λ]: mean and quantiles of |θ|."""
    to_half: list[int | None]
    to_threshold: list[int | None]
    inactive: list[float]


def _stepped(scalars: Scalars, given: Iterable[Array], at: Sequence[int]) -> _Seen:
    shape = scalars.values.shape
    half, threshold = _Passage(HALF, shape), _Passage(GAMMA_THRESHOLD, shape)
    points = [_read(np.abs(scalars.values))]
    kept = set(at)
    for step, gradient in enumerate(given, start=1):
        scalars.step(gradient)
        sizes = np.abs(scalars.values)
        half.see(step, sizes)
        threshold.see(step, sizes)
        if step in kept:
            points.append(_read(sizes))
    inactive = (np.abs(scalars.values) < GAMMA_THRESHOLD).mean(axis=1).tolist()
    return _Seen(np.stack(points), half.medians(), threshold.medians(), inactive)


def _read(sizes: Array) -> Array:
    """Return mean and quantiles over the draws, [3, λ]."""
    return np.stack([sizes.mean(axis=1), *np.quantile(sizes, BAND, axis=1)])


def _curves(name: str, kind: SimulatedKind, strengths: Sequence[float], seen: _Seen) -> Iterator[Curve]:
    for row, strength in enumerate(strengths):
        mean, low, high = seen.points[:, :, row].T.tolist()
        yield Curve(
            optimizer=name,
            lr=paper_optimizer(name).lr,
            kind=kind,
            strength=strength,
            mean=mean,
            low=low,
            high=high,
            to_half=seen.to_half[row],
            to_threshold=seen.to_threshold[row],
            inactive=seen.inactive[row],
        )
