"""What every filter of a network puts out, from one eager run that is watched call by call: no graph, no export."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

CONVOLUTIONS = ("conv1d", "conv2d", "conv3d", "conv_transpose2d")
NORMS = ("batch_norm", "group_norm", "instance_norm")
RECTIFIERS = ("relu", "relu_", "relu6", "hardtanh", "clamp_min")
"""They put out 0 for whatever is below 0; torchvision's hardtanh cuts at 0 and 6."""
NONLINEARITIES = (
    *RECTIFIERS,
    *"leaky_relu prelu silu gelu hardswish hardsigmoid sigmoid tanh elu selu celu softplus mish".split(),
)


@dataclass
class Call:
    """One call of a function: its name, the names of the parameters it was given, the extrema of its result."""

    name: str
    parameters: list[str]
    high: np.ndarray
    """[channels] over batch and plane."""
    low: np.ndarray
    depthwise: bool
    consumers: list[Call] = field(default_factory=list)


@dataclass(frozen=True)
class EagerFilters:
    """The filters of one convolution call, measured at the last tensor that depends on each of them alone."""

    key: str
    depthwise: bool
    bias: bool
    norm: str | None
    """Path of the norm's module."""
    nonlinearity: str | None
    high: np.ndarray
    low: np.ndarray

    def inactive(self) -> list[int]:
        return np.flatnonzero(self._peak() <= 1e-12).tolist()

    def constant(self) -> list[int]:
        return np.flatnonzero((self.high - self.low <= 1e-6) & (self._peak() > 1e-12)).tolist()

    def _peak(self) -> np.ndarray:
        return np.maximum(np.abs(self.high), np.abs(self.low))


class Watch(TorchFunctionMode):
    """Notes every call that takes and returns tensors."""

    def __init__(self, names: Mapping[int, str]) -> None:
        super().__init__()
        self.names = names
        self.calls: list[Call] = []
        self.producer: dict[int, Call] = {}
        self.kept: list[Tensor] = []  # so that no two tensors ever have the same id

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        given = [value for value in _flat([*args, *(kwargs or {}).values()]) if isinstance(value, Tensor)]
        returned = [value for value in _flat(result) if isinstance(value, Tensor)]
        handed_on = returned and returned[0] is given[0] and not name.endswith("_")
        in_place = (kwargs or {}).get("inplace") or name in ("relu_", "__iadd__")
        if returned and (in_place or not handed_on):
            self._note(name, given, returned)
        return result

    def _note(self, name: str, given: list[Tensor], returned: list[Tensor]) -> None:
        high, low = _extrema(returned[0])
        depthwise = name in CONVOLUTIONS and given[1].shape[1] == 1 and given[1].shape[0] == given[0].shape[1]
        call = Call(name, [self.names[id(t)] for t in given if id(t) in self.names], high, low, depthwise)
        self.calls.append(call)
        for tensor in given:
            if id(tensor) in self.producer:
                self.producer[id(tensor)].consumers.append(call)
        for tensor in returned:
            self.producer[id(tensor)] = call
        self.kept += [*given, *returned]


def eager_filters(model: nn.Module, images: Tensor) -> list[EagerFilters]:
    """Run a model once and return the filters of each convolution call, in order."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    with torch.no_grad(), Watch(names) as watch:
        model(images)
    return [_filters(call) for call in watch.calls if call.name in CONVOLUTIONS]


def _filters(convolution: Call) -> EagerFilters:
    measured = call = convolution
    norm = nonlinearity = None
    while len(call.consumers) == 1:
        call = call.consumers[0]
        if call.name in NORMS and norm is None and nonlinearity is None:
            norm, measured = call.parameters[0].rpartition(".")[0], call
        elif call.name in NONLINEARITIES:
            nonlinearity, measured = call.name, call
            break
        elif not call.name.endswith("pool2d"):
            break
    key, bias = convolution.parameters[0].rpartition(".")[0], len(convolution.parameters) > 1
    return EagerFilters(key, convolution.depthwise, bias, norm, nonlinearity, measured.high, measured.low)


def _extrema(value: Tensor) -> tuple[np.ndarray, np.ndarray]:
    if value.dim() < 2:
        return np.zeros(0), np.zeros(0)
    plane = value.double().transpose(0, 1).flatten(1)
    return plane.amax(1).numpy(), plane.amin(1).numpy()


def _flat(value: Any) -> list[Any]:
    return [part for each in value for part in _flat(each)] if isinstance(value, tuple | list) else [value]
