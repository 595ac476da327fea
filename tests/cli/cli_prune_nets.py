"""A small BasicNet on the digits with filters planted dead, as a file; and any network file as it runs."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from sparsity_audit.checkpoints.checkpoint import read_checkpoint
from sparsity_audit.checkpoints.safetensors_io import write_safetensors
from sparsity_audit.data.digits import NORMALISATION, PIXEL_SCALE, load_digits_corpus
from sparsity_audit.models.basicnet import BasicNet
from sparsity_audit.models.load import load_model
from sparsity_audit.models.metadata import metadata_entries
from sparsity_audit.schema.spec import ModelMetadata, NetworkSpec

SPEC = NetworkSpec(name="basicnet", first=4, width=1 / 32, head=[8])
"""Layers of 4, 4, 4, 8, 8, 16 and 16 filters."""

Planted = dict[str, dict[int, tuple[float, float]]]
"""γ and β by layer and filter."""

PLANTED: Planted = {
    "c2": {0: (0.0, -0.5)},
    "c4": {5: (5e-4, 0.4), 6: (-5e-4, 0.7)},
    "c5": {1: (0.0, 0.3), 2: (0.0, -1.0), 3: (0.0, 0.6)},
    "c6": {4: (1.0, -20.0)},
    "c7": {3: (0.0, 0.7), 6: (5e-4, 0.2)},
}
DEAD = {"lossless": 5, "silent": 6, "small": 9}
"""Filters of each class and the safer ones, counted by hand from ``PLANTED``."""
REMOVED = {"lossless": 4, "silent": 5, "small": 7}
"""Less one carrier in each of c5 and c4: their constants are read by a convolution that pads."""


def digits(split: str = "test") -> Tensor:
    """Return the digits as the network sees them, [N, 1, 8, 8]."""
    pixels = torch.from_numpy(load_digits_corpus(split).images.copy()).float() / PIXEL_SCALE  # type: ignore[arg-type]
    return ((pixels - NORMALISATION.mean[0]) / NORMALISATION.std[0]).permute(0, 3, 1, 2).contiguous()


def make_net(planted: Planted, seed: int = 0) -> BasicNet:
    """Return a network whose norms fit the digits, so that no filters are dead but those that are planted."""
    torch.manual_seed(seed)
    net = BasicNet(SPEC, 1, 10)
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.bias.data.fill_(0.1)
    plant(net, planted)
    net.train()
    with torch.no_grad():
        for _ in range(30):
            net(digits("train")[:200])
    net.eval()
    net.get_submodule("head.3").weight.data *= 3  # type: ignore[operator]  # so that small changes can change answers
    return net


def plant(net: BasicNet, planted: Planted) -> BasicNet:
    """Give filters their γ and β."""
    for key, filters in planted.items():
        norm = net.get_submodule(f"{key}.norm")
        for i, (gamma, beta) in filters.items():
            norm.weight.data[i], norm.bias.data[i] = gamma, beta  # type: ignore[index, operator]
    return net


def save(path: Path, net: BasicNet) -> Path:
    """Write a network as the trainer does, with its architecture in the metadata."""
    names = [str(number) for number in range(10)]
    metadata = ModelMetadata(
        network=SPEC, input_shape=(1, 8, 8), classes=names, normalisation=NORMALISATION, pixel_scale=PIXEL_SCALE
    )
    write_safetensors(path, net.state_dict(), metadata_entries(metadata))
    return path


@torch.no_grad()
def logits(path: Path, images: Tensor) -> Tensor:
    """Return what the network in a file puts out, run eagerly."""
    answer: Tensor = load_model(read_checkpoint(path)).module(images)
    return answer
