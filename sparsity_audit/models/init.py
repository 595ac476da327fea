"""Initial values of a network's parameters."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from sparsity_audit.schema.spec import InitSpec


def initialise(module: nn.Module, spec: InitSpec) -> None:
    """Set the parameters in place from torch's global generator, so seed that first.

    ``xavier``: convolution and linear weights uniform after Glorot & Bengio with the gain for ReLU (Sec. 2.1),
    their biases zero; ``default`` leaves both as torch made them. γ and β of every batch norm are those of the
    spec, 1 and 0 in the paper's baseline (supplement Sec. 4).
    """
    gain = nn.init.calculate_gain("relu")
    with torch.no_grad():
        for part in nn.Module.modules(module):
            if isinstance(part, _BatchNorm) and part.affine:
                nn.init.constant_(part.weight, spec.gamma)
                nn.init.constant_(part.bias, spec.beta)
            elif isinstance(part, nn.Conv2d | nn.Linear) and spec.weights == "xavier":
                nn.init.xavier_uniform_(part.weight, gain=gain)
                if part.bias is not None:
                    nn.init.zeros_(part.bias)
