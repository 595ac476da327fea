"""The weights-only view: which tensors are batch norms, and which convolution each one follows.

Names and shapes are all there is to go by, so pairing is conservative: an exact sibling or nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparsity_audit.checkpoints.tensor import Tensor

Position = Literal["conv", "linear", "unknown"]

_NORM_LEAF = re.compile(r"batch_?norm|norm|bn", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class Norm:
    """A batch normalisation, as its parameters show it."""

    path: str
    """Path of the module in the state dict: ``"layer1.0.bn1"``."""
    features: int
    scale: NDArray[np.float64] | None
    """γ, shape ``(features,)``; None where the norm has no affine parameters."""
    shift: NDArray[np.float64] | None
    """β, shape ``(features,)``; None where there is none."""
    conv: str | None = None
    """Path of the convolution whose output it normalises, None where names do not tell."""
    position: Position = "unknown"
    """What it follows: ``"linear"`` where the sibling holds a 2-D weight."""


class SkippedNorm(NamedTuple):
    """Parameters that look like a normalisation's and cannot be judged from the file, with the reason."""

    path: str
    features: int
    reason: str


class ConvLayer(NamedTuple):
    """A weight of at least three dimensions."""

    filters: int
    """Output channels: the first dimension. (A transposed convolution has its inputs there.)"""
    numel: int
    """Elements of the weight; the bias is not counted."""


def find_norms(tensors: Mapping[str, Tensor]) -> list[Norm]:
    """Return the batch norms in the file's order: every path with both running statistics.

    Instance norms that track statistics look the same. A norm is paired with an exact sibling or with nothing:

    - the name with ``conv`` or ``conv2d`` in place of ``bn``, ``norm`` or ``batchnorm`` (``layer1.0.bn1`` and
      ``layer1.0.conv1``), or the place before in a numbered sequence (``features.1`` and ``features.0``);
    - whose weight has at least three dimensions and as many filters as the norm has features;
    - which no second norm claims;
    - and whose block is not pre-activated (DenseNet, where ``norm1`` comes before ``conv1``): names say nothing
      of the order, but a norm with its namesake's *inputs* gives all blocks of its kind away.
    """
    norms = _batch_norms(tensors)
    return [_norm(tensors, path, norms[path], conv) for path, conv in pair_norms(tensors).items()]


def pair_norms(tensors: Mapping[str, Tensor]) -> dict[str, str | None]:
    """Return the batch norms and the convolution that each follows, as ``find_norms`` does, from names and shapes."""
    norms = _batch_norms(tensors)
    siblings = {path: _sibling(path, tensors) for path in norms}
    kinds = _kinds({path for path, sibling in siblings.items() if sibling})
    pre_activated = {
        kinds[path]
        for path, sibling in siblings.items()
        if sibling and path in kinds and _normalises_inputs(norms[path], tensors[_join(sibling, "weight")].shape)
    }
    fitting = {
        path: sibling
        for path, sibling in siblings.items()
        if sibling
        and tensors[_join(sibling, "weight")].shape[0] == norms[path]
        and kinds.get(path) not in pre_activated
    }
    claims = Counter(fitting.values())
    return {path: fitting.get(path) if claims[fitting.get(path, "")] == 1 else None for path in norms}


def find_unnormed(tensors: Mapping[str, Tensor]) -> list[SkippedNorm]:
    """Return what looks like a normalisation and is not among ``find_norms``, with the reason.

    These are running statistics without a partner or of unequal length, and 1-D weights with a bias of the same
    length but no running statistics: group, layer and instance norms, or batch norms that track nothing.
    """
    known = _batch_norms(tensors)
    skipped = []
    for path in dict.fromkeys(name.rpartition(".")[0] for name in tensors):
        if path in known:
            continue
        weight, bias, mean, var = (
            tensors.get(_join(path, leaf)) for leaf in ("weight", "bias", "running_mean", "running_var")
        )
        statistics = mean or var
        if statistics is not None:
            reason = "running mean, running variance, weight and bias are not vectors of one length"
            skipped.append(SkippedNorm(path, statistics.numel, reason))
        elif weight is not None and bias is not None and len(weight.shape) == 1 and weight.shape == bias.shape:
            reason = "no running statistics: the file does not tell group, layer and other norms apart"
            skipped.append(SkippedNorm(path, weight.numel, reason))
    return skipped


def conv_layers(tensors: Mapping[str, Tensor]) -> dict[str, ConvLayer]:
    """Return the paths with a weight of at least three dimensions, in the file's order."""
    return {
        path: ConvLayer(tensor.shape[0], tensor.numel)
        for (path, _, leaf), tensor in ((name.rpartition("."), tensor) for name, tensor in tensors.items())
        if leaf == "weight" and len(tensor.shape) >= 3
    }


def _join(path: str, leaf: str) -> str:
    return f"{path}.{leaf}" if path else leaf


def _batch_norms(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """Return path and features of every norm whose statistics, weight and bias are vectors of one length."""
    norms = {}
    for name, mean in tensors.items():
        path, _, leaf = name.rpartition(".")
        if leaf != "running_mean" or len(mean.shape) != 1 or _join(path, "running_var") not in tensors:
            continue
        parameters = (tensors.get(_join(path, leaf)) for leaf in ("running_var", "weight", "bias"))
        if all(parameter is None or parameter.shape == mean.shape for parameter in parameters):
            norms[path] = mean.shape[0]
    return norms


def _sibling(path: str, tensors: Mapping[str, Tensor]) -> str | None:
    """Return the one sibling module that by its name computes what the norm at ``path`` normalises."""
    parent, _, leaf = path.rpartition(".")
    if leaf.isdecimal():
        names = [str(int(leaf) - 1)]
    else:
        names = [_NORM_LEAF.sub(conv, leaf, count=1) for conv in ("conv", "conv2d")] if _NORM_LEAF.search(leaf) else []
    siblings = [_join(parent, name) for name in names]
    weights = {s: tensors[_join(s, "weight")] for s in siblings if _join(s, "weight") in tensors}
    holding = [s for s, weight in weights.items() if len(weight.shape) >= 2]
    return holding[0] if len(holding) == 1 else None


def _kinds(paths: set[str]) -> dict[str, frozenset[str]]:
    """Return, for each norm paired by name, the names of such norms in its block: blocks of a kind share them."""
    leaves: dict[str, set[str]] = {}
    for parent, _, leaf in (path.rpartition(".") for path in paths):
        if not leaf.isdecimal():
            leaves.setdefault(parent, set()).add(leaf)
    return {_join(parent, leaf): frozenset(block) for parent, block in leaves.items() for leaf in block}


def _normalises_inputs(features: int, weight: tuple[int, ...]) -> bool:
    return weight[0] != features and weight[1] == features


def _norm(tensors: Mapping[str, Tensor], path: str, features: int, sibling: str | None) -> Norm:
    scale, shift = (tensors.get(_join(path, leaf)) for leaf in ("weight", "bias"))
    position: Position = "unknown"
    if sibling is not None:
        position = "conv" if len(tensors[_join(sibling, "weight")].shape) >= 3 else "linear"
    return Norm(
        path,
        features,
        None if scale is None else scale.numpy().astype(np.float64),
        None if shift is None else shift.numpy().astype(np.float64),
        conv=sibling if position == "conv" else None,
        position=position,
    )
