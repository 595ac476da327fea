"""The tensors of timm's MobileNetV2, written by hand from the paper's table, so that tests need no timm."""

from __future__ import annotations

import torch

STAGES = [(1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3), (6, 160, 3), (6, 320, 1)]
"""Expansion, filters and blocks (arXiv:1801.04381, Table 2)."""


def mobilenetv2_100(classes: int) -> dict[str, torch.Tensor]:
    """Return a state dict under timm's names, with ones for all weights."""
    state: dict[str, torch.Tensor] = {}

    def conv(name: str, filters: int, inputs: int, side: int = 1) -> None:
        state[f"{name}.weight"] = torch.ones(filters, inputs, side, side)

    def norm(name: str, filters: int) -> None:
        for leaf in ("weight", "bias", "running_mean", "running_var"):
            state[f"{name}.{leaf}"] = torch.ones(filters)
        state[f"{name}.num_batches_tracked"] = torch.tensor(0)

    conv("conv_stem", 32, 3, 3)
    norm("bn1", 32)
    inputs = 32
    for stage, (expansion, filters, blocks) in enumerate(STAGES):
        for block in range(blocks):
            path, wide = f"blocks.{stage}.{block}", inputs * expansion
            parts = [("conv_pw", wide, inputs, 1)] if expansion > 1 else []
            parts += [("conv_dw", wide, 1, 3), ("conv_pwl" if parts else "conv_pw", filters, wide, 1)]
            for number, (name, outputs, incoming, side) in enumerate(parts, start=1):
                conv(f"{path}.{name}", outputs, incoming, side)
                norm(f"{path}.bn{number}", outputs)
            inputs = filters
    conv("conv_head", 1280, 320)
    norm("bn2", 1280)
    return state | {"classifier.weight": torch.ones(classes, 1280), "classifier.bias": torch.ones(classes)}
