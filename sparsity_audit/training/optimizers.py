"""Optimizers, torch's own, and the regularisers of the paper around them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from sparsity_audit.schema.record import GroupRecord
from sparsity_audit.schema.spec import RegularizerSpec, ZooSpec

Role = Literal["weights", "gamma", "beta"]
Kind = Literal["none", "l2", "wd", "gamma_l1"]
NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm)
"""Modules whose ``weight`` is γ and whose ``bias`` is β."""

BUILDERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adadelta": torch.optim.Adadelta,
    "adagrad": torch.optim.Adagrad,
    "amsgrad": torch.optim.Adam,
    "rmsprop": torch.optim.RMSprop,
    "adamax": torch.optim.Adamax,
}
FUSED = frozenset({"sgd", "adam", "amsgrad", "adagrad"})
"""Those whose whole step is one kernel, on the CPU and on CUDA."""


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that are trained alike."""

    role: Role
    names: tuple[str, ...]
    parameters: tuple[nn.Parameter, ...]
    lr: float
    """Base learning rate, multiplier included."""
    kind: Kind
    strength: float

    def record(self) -> GroupRecord:
        """Return what the run's record says of the group."""
        return GroupRecord(
            role=self.role,
            parameters=list(self.names),
            lr=self.lr,
            regularizer=self.kind,
            strength=self.strength,
        )


def parameter_groups(model: nn.Module, spec: ZooSpec) -> list[ParameterGroup]:
    """Return the model's parameters by role: γ and β of normalisations, and all the rest.

    Every parameter is regularised, γ and β too, unless the spec's ``on`` says otherwise (Sec. 2.1).
    """
    members: dict[Role, list[tuple[str, nn.Parameter]]] = {"weights": [], "gamma": [], "beta": []}
    for name, parameter, role in _roles(model):
        members[role].append((name, parameter))
    factors = {"weights": 1.0, "gamma": spec.lr_multipliers.gamma, "beta": spec.lr_multipliers.beta}
    groups = []
    for role, found in members.items():
        if found:
            names, parameters = zip(*found, strict=True)
            kind = _kind(spec.regularizer, role)
            strength = spec.regularizer.strength if kind != "none" else 0.0
            groups.append(ParameterGroup(role, names, parameters, spec.optimizer.lr * factors[role], kind, strength))
    return groups


def _roles(model: nn.Module) -> Iterator[tuple[str, nn.Parameter, Role]]:
    """Yield every parameter once, with its path and role."""
    leaves: dict[str, Role] = {"weight": "gamma", "bias": "beta"}
    seen: set[int] = set()
    for path, module in model.named_modules():
        for leaf, parameter in module.named_parameters(recurse=False):
            if id(parameter) not in seen:
                seen.add(id(parameter))
                role = leaves.get(leaf, "weights") if isinstance(module, NORMS) else "weights"
                yield f"{path}.{leaf}".lstrip("."), parameter, role


def _kind(regularizer: RegularizerSpec, role: Role) -> Kind:
    if regularizer.kind == "gamma_l1":
        return "gamma_l1" if role == "gamma" else "none"
    apart = {"all": (), "weights": ("gamma", "beta"), "norm": ("weights",)}[regularizer.on]
    return "none" if role in apart else regularizer.kind


class Updater:
    """One step of an optimizer with its regulariser, the learning rate scaled by a schedule.

    L2 adds λθ to the gradient (torch's ``weight_decay``); weight decay multiplies θ by 1 − λ·lr_t/lr_0 after the
    step (Sec. 2.1 and Table 1's caption; torch's AdamW decays before the step); γ-L1 adds λ·sign(γ) to the gradient
    of γ. A learning-rate multiplier of γ or β does not reach weight decay, which only the schedule scales.
    """

    def __init__(self, spec: ZooSpec, groups: Sequence[ParameterGroup]) -> None:
        self.groups = groups
        arguments: dict[str, Any] = spec.optimizer.model_dump(exclude={"name", "lr"})
        if spec.optimizer.name == "amsgrad":
            arguments["amsgrad"] = True
        if spec.optimizer.name in FUSED:
            arguments["fused"] = True
        else:
            arguments["foreach"] = True
        given = [
            {
                "params": list(group.parameters),
                "lr": group.lr,
                "weight_decay": group.strength if group.kind == "l2" else 0.0,
            }
            for group in groups
        ]
        self.optimizer = BUILDERS[spec.optimizer.name](given, lr=spec.optimizer.lr, **arguments)
        self._scale = 1.0

    def step(self, scale: float) -> None:
        """Update the parameters from their gradients, then clear these.

        Args:
            scale: lr_t / lr_0 at this step.
        """
        if scale != self._scale:
            self._scale = scale
            for group, settings in zip(self.groups, self.optimizer.param_groups, strict=True):
                settings["lr"] = group.lr * scale
        for group in self.groups:
            if group.kind == "gamma_l1":
                _add_signs(group)
        self.optimizer.step()
        for group in self.groups:
            if group.kind == "wd":
                _decay(group, group.strength * scale)
        self.optimizer.zero_grad(set_to_none=True)


@torch.no_grad()
def _add_signs(group: ParameterGroup) -> None:
    trained: list[Tensor] = [parameter for parameter in group.parameters if parameter.grad is not None]
    gradients = [parameter.grad for parameter in trained if parameter.grad is not None]
    torch._foreach_add_(gradients, torch._foreach_sign(trained), alpha=group.strength)


@torch.no_grad()
def _decay(group: ParameterGroup, rate: float) -> None:
    """Multiply by 1 − rate, written so that only the rate is rounded: 1 − 1e-5 in float32 is off by 0.1 % of 1e-5."""
    parameters: list[Tensor] = list(group.parameters)
    torch._foreach_add_(parameters, parameters, alpha=-rate)
