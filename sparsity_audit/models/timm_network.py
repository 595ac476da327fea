"""timm's networks, built without weights; timm is an optional extra."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from torch import nn

from sparsity_audit.errors import ArchitectureError, UsageError, did_you_mean
from sparsity_audit.models.skeleton import build_skeleton

TIMM = "timm:"


def build_timm(name: str, classes: int, arguments: Mapping[str, Any] | None = None) -> nn.Module:
    """Return a timm network without its weights (nothing is fetched), where possible without memory for them.

    Args:
        name: As timm lists it, with or without the tag of its weights (``resnet50.a1_in1k``).
        classes: Outputs of the class layer.
        arguments: More keyword arguments of the network itself (``model_args`` of a ``config.json``).

    Raises:
        UsageError: timm is not installed, or has no such network.
        ArchitectureError: timm cannot build it.
    """
    try:
        import timm
    except ModuleNotFoundError:
        raise UsageError(
            f"network '{TIMM}{name}' needs the optional package timm: pip install 'sparsity-audit[timm]'"
        ) from None
    # Asked first, since create_model also takes addresses to fetch from and folders to load.
    if not timm.is_model(name):
        raise UsageError(f"unknown network '{TIMM}{name}'{_near(name, timm.list_models())}")

    def create() -> nn.Module:
        module: nn.Module = timm.create_model(name, pretrained=False, num_classes=classes, **(arguments or {}))
        return module

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about names and functions that the user did not choose
        try:
            return _without_memory(create) or create()
        except Exception as error:
            reason = " ".join(str(error).split())
            raise ArchitectureError(
                f"timm cannot build '{TIMM}{name}': {type(error).__name__}: {reason}; check its name and arguments"
            ) from None


def _without_memory(create: Any) -> nn.Module | None:
    """Return a skeleton; None for a network that computes with its values while it is built."""
    try:
        module = build_skeleton(create)
    except Exception:  # whatever an operation across devices raises; the network proper shows whether it is at fault
        return None
    kept = nn.Module.state_dict(module).keys()
    lost = any(buffer.is_meta for name, buffer in module.named_buffers() if name not in kept)
    return None if lost else module


def _near(name: str, known: list[str]) -> str:
    """Return the nearest name as a question, but not all 1,300 where none is near."""
    hint = did_you_mean(name, known)
    return hint if hint.startswith(" (did") else " (timm.list_models() names them)"
