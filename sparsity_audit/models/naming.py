"""The names that a file's tensors may have in the network they belong to."""

from __future__ import annotations

import re

from sparsity_audit.checkpoints.checkpoint import Checkpoint
from sparsity_audit.checkpoints.tensor import Tensor

OLD_DENSENET = re.compile(r"(.*denselayer\d+\.(?:norm|conv))\.([12]\..*)")
"""torchvision's DenseNet files still say ``norm.1``, which modules no longer can; its own loader renames it too."""


def namings(checkpoint: Checkpoint) -> list[dict[str, Tensor]]:
    """Return the tensors by name: as read, DenseNet's renamed, then with more and more of the prefix put back.

    The last is for networks that have a part called ``model`` or ``module`` themselves.
    """
    named = [checkpoint.tensors]
    renamed = {OLD_DENSENET.sub(r"\1\2", name): tensor for name, tensor in checkpoint.tensors.items()}
    if renamed.keys() != checkpoint.tensors.keys():
        named.append(renamed)
    prefix = ""
    for part in reversed(checkpoint.prefix.split(".")[:-1]):
        prefix = f"{part}.{prefix}"
        named.append({prefix + name: tensor for name, tensor in checkpoint.tensors.items()})
    return named


def shapes_of(tensors: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Return the shapes by name."""
    return {name: tensor.shape for name, tensor in tensors.items()}
