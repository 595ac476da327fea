"""γ and β of the feature layers, watched while they are trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sparsity_audit.graph.feature_graph import FeatureLayer
from sparsity_audit.thresholds import GAMMA_THRESHOLD


@dataclass(frozen=True)
class TrackedLayer:
    """One feature layer's affine parameters, shared with the model."""

    key: str
    gamma: Tensor
    beta: Tensor | None


def tracked_layers(model: nn.Module, layers: Sequence[FeatureLayer]) -> list[TrackedLayer]:
    """Return the feature layers whose γ is a parameter of the model, in order of their calls."""
    parameters = dict(nn.Module.named_parameters(model))
    return [
        TrackedLayer(layer.key, parameters[layer.gamma], parameters.get(layer.beta or ""))
        for layer in layers
        if layer.gamma in parameters
    ]


def affine_values(layers: Sequence[TrackedLayer]) -> dict[str, NDArray[np.generic]]:
    """Return ``gamma/<layer key>`` and ``beta/<layer key>``, float32 [filters], as a history holds them."""
    values: dict[str, NDArray[np.generic]] = {}
    for layer in layers:
        values[f"gamma/{layer.key}"] = _copied(layer.gamma)
        if layer.beta is not None:
            values[f"beta/{layer.key}"] = _copied(layer.beta)
    return values


@torch.no_grad()
def inactive_by_scale(layers: Sequence[TrackedLayer]) -> dict[str, int]:
    """Return, by layer key, how many filters have |γ| < 1e-3 (Sec. 2.1)."""
    if not layers:
        return {}
    counts = torch.stack([(layer.gamma.abs().double() < GAMMA_THRESHOLD).sum() for layer in layers]).tolist()
    return {layer.key: int(count) for layer, count in zip(layers, counts, strict=True)}


def _copied(values: Tensor) -> NDArray[np.generic]:
    copied: NDArray[np.generic] = values.detach().float().cpu().numpy().copy()
    return copied
