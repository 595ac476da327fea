"""One update of each optimizer, written out in numpy and float64; no torch here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]
Rule = Callable[[dict[str, Any], int, float, Array, Array, dict[str, Any]], Array]
"""(settings, t from 1, learning rate, θ, gradient, what is remembered of before) → θ of the next step."""

PAPER: dict[str, dict[str, Any]] = {
    "sgd": {"lr": 0.1, "momentum": 0.9, "dampening": 0.0, "nesterov": False},
    "adam": {"lr": 1e-3, "betas": (0.9, 0.99), "eps": 1e-8},
    "adadelta": {"lr": 1.0, "rho": 0.9, "eps": 1e-6},
    "adagrad": {"lr": 1e-2, "lr_decay": 0.0, "eps": 1e-10},
    "amsgrad": {"lr": 1e-3, "betas": (0.9, 0.99), "eps": 1e-8},
    "rmsprop": {"lr": 1e-3, "alpha": 0.99, "eps": 1e-8, "momentum": 0.0, "centered": False},
    "adamax": {"lr": 2e-3, "betas": (0.9, 0.999), "eps": 1e-8},
}
"""Sec. 2.1 and supplement Figure 3, with torch's values for what the paper does not print."""


def sgd(h: dict[str, Any], t: int, lr: float, theta: Array, g: Array, memory: dict[str, Any]) -> Array:
    memory["b"] = g if t == 1 else h["momentum"] * memory["b"] + (1 - h["dampening"]) * g
    return theta - lr * (g + h["momentum"] * memory["b"] if h["nesterov"] else memory["b"])


def moments(h: dict[str, Any], g: Array, memory: dict[str, Any]) -> tuple[Array, Array]:
    first, second = h["betas"]
    memory["m"] = first * memory.get("m", 0.0) + (1 - first) * g
    memory["v"] = second * memory.get("v", 0.0) + (1 - second) * g**2
    return memory["m"], memory["v"]


def adam(h: dict[str, Any], t: int, lr: float, theta: Array, g: Array, memory: dict[str, Any]) -> Array:
    m, v = moments(h, g, memory)
    return theta - lr * (m / (1 - h["betas"][0] ** t)) / (np.sqrt(v / (1 - h["betas"][1] ** t)) + h["eps"])


def amsgrad(h: dict[str, Any], t: int, lr: float, theta: Array, g: Array, memory: dict[str, Any]) -> Array:
    m, v = moments(h, g, memory)
    memory["top"] = np.maximum(memory.get("top", 0.0), v)
    root = np.sqrt(memory["top"] / (1 - h["betas"][1] ** t)) + h["eps"]
    return theta - lr * (m / (1 - h["betas"][0] ** t)) / root


def adadelta(h: dict[str, Any], _: int, lr: float, theta: Array, g: Array, memory: dict[str, Any]) -> Array:
    memory["v"] = h["rho"] * memory.get("v", 0.0) + (1 - h["rho"]) * g**2
    change = np.sqrt(memory.get("u", 0.0) + h["eps"]) / np.sqrt(memory["v"] + h["eps"]) * g
    memory["u"] = h["rho"] * memory.get("u", 0.0) + (1 - h["rho"]) * change**2
    return theta - lr * change


def adagrad(h: dict[str, Any], t: int, lr: float, theta: Array, g: Array, memory: dict[str, Any]) -> Array:
    memory["sum"] = memory.get("sum", 0.0) + g**2
    return theta - lr / (1 + (t - 1) * h["lr_decay"]) * g / (np.sqrt(memory["sum"]) + h["eps"])


def rmsprop(h: dict[str, Any], _: int, lr: float, theta: Array, g: Array, memory: dict[str, Any]) -> Array:
    memory["v"] = v = h["alpha"] * memory.get("v", 0.0) + (1 - h["alpha"]) * g**2
    if h["centered"]:
        memory["mean"] = h["alpha"] * memory.get("mean", 0.0) + (1 - h["alpha"]) * g
        v = v - memory["mean"] ** 2
    memory["b"] = h["momentum"] * memory.get("b", 0.0) + g / (np.sqrt(v) + h["eps"])
    return theta - lr * memory["b"]


def adamax(h: dict[str, Any], t: int, lr: float, theta: Array, g: Array, memory: dict[str, Any]) -> Array:
    first, second = h["betas"]
    memory["m"] = first * memory.get("m", 0.0) + (1 - first) * g
    memory["u"] = np.maximum(second * memory.get("u", 0.0), np.abs(g) + h["eps"])
    return theta - lr / (1 - first**t) * memory["m"] / memory["u"]


RULES: dict[str, Rule] = {
    "sgd": sgd,
    "adam": adam,
    "adadelta": adadelta,
    "adagrad": adagrad,
    "amsgrad": amsgrad,
    "rmsprop": rmsprop,
    "adamax": adamax,
}
"""As torch's documentation has them from the optimizers' papers."""
NAMES = list(RULES)
