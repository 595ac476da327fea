"""Many independent scalars stepped at once under the optimizers of the zoo and their regularisers (Figure 4)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sparsity_audit.schema.spec import OptimizerSpec, ZooOptimizerSpec

Array = NDArray[np.float64]
Kind = Literal["none", "l2", "wd", "gamma_l1"]
Memory = dict[str, Array]
"""What an optimizer remembers between steps, under the names of torch's state."""
Rule = Callable[[Mapping[str, Any], Memory, Array, int], Array]
"""(hyperparameters, memory, gradient, t from 1) → what is subtracted from θ, in units of the learning rate."""


class Scalars:
    """Scalars under one optimizer and one regulariser, in float64; each is a parameter of its own.

    As in training (Sec. 2.1): ``l2`` adds λθ to the gradient, ``wd`` multiplies θ by 1 − λ·lr_t/lr_0 after the step,
    ``gamma_l1`` adds λ·sign(θ) to the gradient. A multiplied learning rate does not reach weight decay.
    """

    def __init__(
        self,
        optimizer: OptimizerSpec,
        start: ArrayLike,
        kind: Kind,
        strength: ArrayLike = 0.0,
        *,
        memory: Mapping[str, ArrayLike] | None = None,
        steps_done: int = 0,
    ) -> None:
        """Take the scalars as they stand before a step.

        Args:
            optimizer: name, learning rate and hyperparameters; those left out are the paper's.
            start: θ, of any shape; it is copied. The other arrays are broadcast with it.
            strength: λ, one for all or one a scalar.
            memory: the state of an optimizer that has made ``steps_done`` steps, under torch's names (``exp_avg``,
                ``exp_avg_sq``, ``max_exp_avg_sq``, ``exp_inf``, ``momentum_buffer``, ``square_avg``, ``acc_delta``,
                ``sum``, ``grad_avg``); what is left out starts as a new optimizer does.
        """
        self.values: Array = np.array(start, dtype=np.float64)
        """θ, updated in place."""
        complete = ZooOptimizerSpec.model_validate(optimizer.model_dump())
        self._settings = complete.model_dump(exclude={"name", "lr"})
        self._lr = complete.lr
        self._rule = RULES[complete.name]
        self._kind = kind
        self.strength: Array = np.asarray(strength, dtype=np.float64)
        """λ; it may be replaced between steps."""
        self._memory = {name: np.array(value, dtype=np.float64) for name, value in (memory or {}).items()}
        self._done = steps_done

    def step(self, gradient: ArrayLike, scale: float = 1.0) -> None:
        """Make one step.

        Args:
            gradient: of the loss, without the regulariser; broadcast with ``values``.
            scale: lr_t / lr_0.
        """
        total = np.asarray(gradient, dtype=np.float64)
        if self._kind == "l2":
            total = total + self.strength * self.values
        elif self._kind == "gamma_l1":
            total = total + self.strength * np.sign(self.values)
        self._done += 1
        self.values -= scale * self._lr * self._rule(self._settings, self._memory, total, self._done)
        if self._kind == "wd":
            self.values -= self.strength * scale * self.values


def trajectory(
    scalars: Scalars, gradients: Iterable[ArrayLike], scales: Iterable[float] | None = None, *, every: int = 1
) -> Array:
    """Step through given gradients.

    Args:
        gradients: [steps, …], an array or anything that yields one step's gradients after the other.
        scales: lr_t / lr_0 of each step; 1 throughout where left out.
        every: keep each ``every``-th value only; the start and the last are always kept.

    Returns:
        θ before the first step and after each kept one: [1 + kept, …].
    """
    kept = [scalars.values.copy()]
    done = 0
    for gradient, scale in zip(gradients, _ones() if scales is None else scales, strict=False):
        scalars.step(gradient, scale)
        done += 1
        if done % every == 0:
            kept.append(scalars.values.copy())
    if done % every:
        kept.append(scalars.values.copy())
    return np.stack(kept)


def _ones() -> Iterator[float]:
    while True:
        yield 1.0


def _sgd(h: Mapping[str, Any], memory: Memory, g: Array, _: int) -> Array:
    if not h["momentum"]:
        return g
    before = memory.get("momentum_buffer")
    memory["momentum_buffer"] = g if before is None else h["momentum"] * before + (1 - h["dampening"]) * g
    ahead: Array = g + h["momentum"] * memory["momentum_buffer"] if h["nesterov"] else memory["momentum_buffer"]
    return ahead


def _average(memory: Memory, name: str, keep: float, new: Array) -> Array:
    """Move one average: keep·before + (1 − keep)·new, from 0."""
    memory[name] = keep * memory[name] + (1 - keep) * new if name in memory else (1 - keep) * new
    return memory[name]


def _adam(h: Mapping[str, Any], memory: Memory, g: Array, t: int) -> Array:
    first, second = h["betas"]
    mean = _average(memory, "exp_avg", first, g) / (1 - first**t)
    square = _average(memory, "exp_avg_sq", second, g * g)
    change: Array = mean / (np.sqrt(square / (1 - second**t)) + h["eps"])
    return change


def _amsgrad(h: Mapping[str, Any], memory: Memory, g: Array, t: int) -> Array:
    first, second = h["betas"]
    mean = _average(memory, "exp_avg", first, g) / (1 - first**t)
    square = _average(memory, "exp_avg_sq", second, g * g)
    memory["max_exp_avg_sq"] = np.maximum(memory.get("max_exp_avg_sq", 0.0), square)
    change: Array = mean / (np.sqrt(memory["max_exp_avg_sq"] / (1 - second**t)) + h["eps"])
    return change


def _adadelta(h: Mapping[str, Any], memory: Memory, g: Array, _: int) -> Array:
    square = _average(memory, "square_avg", h["rho"], g * g)
    change: Array = np.sqrt(memory.get("acc_delta", 0.0) + h["eps"]) / np.sqrt(square + h["eps"]) * g
    _average(memory, "acc_delta", h["rho"], change * change)
    return change


def _adagrad(h: Mapping[str, Any], memory: Memory, g: Array, t: int) -> Array:
    memory["sum"] = memory.get("sum", 0.0) + g * g
    change: Array = g / (np.sqrt(memory["sum"]) + h["eps"]) / (1 + (t - 1) * h["lr_decay"])
    return change


def _rmsprop(h: Mapping[str, Any], memory: Memory, g: Array, _: int) -> Array:
    square = _average(memory, "square_avg", h["alpha"], g * g)
    if h["centered"]:
        square = square - _average(memory, "grad_avg", h["alpha"], g) ** 2
    change: Array = g / (np.sqrt(square) + h["eps"])
    if h["momentum"]:
        memory["momentum_buffer"] = change = h["momentum"] * memory.get("momentum_buffer", 0.0) + change
    return change


def _adamax(h: Mapping[str, Any], memory: Memory, g: Array, t: int) -> Array:
    first, second = h["betas"]
    mean = _average(memory, "exp_avg", first, g)
    memory["exp_inf"] = np.maximum(second * memory.get("exp_inf", 0.0), np.abs(g) + h["eps"])
    change: Array = mean / memory["exp_inf"] / (1 - first**t)
    return change


RULES: dict[str, Rule] = {
    "sgd": _sgd,
    "adam": _adam,
    "adadelta": _adadelta,
    "adagrad": _adagrad,
    "amsgrad": _amsgrad,
    "rmsprop": _rmsprop,
    "adamax": _adamax,
}
"""torch's formulas; the order of their operations differs, so agreement is to rounding."""
