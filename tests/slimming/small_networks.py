"""Small networks with filters of known kinds, and images for them."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparsity_audit import Corpus
from sparsity_audit.schema.spec import Normalisation

CLASSES, SIDE = 4, 12
PLANTED = {
    "lossless": {"c1": {0: -0.5, 1: 0.0}, "c2": {2: 0.7, 3: -1.0, 4: 0.3}},
    "silent": {"c1": {2: -6.5}, "c2": {5: -6.5}},
    "small": {"c1": {3: 0.4}, "c2": {6: 0.15, 7: 0.25}},
}
"""β of the filters of each class, by layer; γ is 0 for the lossless, 1 for the silent, 5e-4 for the small."""
GAMMA = {"lossless": 0.0, "silent": 1.0, "small": 5e-4}


class Plain(nn.Module):
    """Three padded convolutions with norms and ReLU, pooling, a linear layer."""

    def __init__(self, width: int = 12) -> None:
        super().__init__()
        self.c1, self.n1 = nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.c2, self.n2 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.c3, self.n3 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.n1(self.c1(x))), 2)
        x = F.relu(self.n3(self.c3(F.relu(self.n2(self.c2(x))))))
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))


def planted(width: int = 12, seed: int = 0) -> Plain:
    """Return a network in which the filters of ``PLANTED`` are dead and all others fire."""
    torch.manual_seed(seed)
    net = Plain(width)
    net.train()
    for _ in range(40):  # so that the norms fit the images
        net(scaled(images(64, seed=3)))
    net.eval()
    norms = {"c1": net.n1, "c2": net.n2}
    for kind, layers in PLANTED.items():
        for key, betas in layers.items():
            for i, beta in betas.items():
                norms[key].weight.data[i], norms[key].bias.data[i] = GAMMA[kind], beta
    net.head.weight.data *= 5
    return net


def images(count: int, seed: int = 1) -> np.ndarray:
    """Return uint8 images [count, side, side, 3]."""
    return np.random.RandomState(seed).randint(0, 256, (count, SIDE, SIDE, 3)).astype(np.uint8)


def scaled(pixels: np.ndarray) -> Tensor:
    """Return images as the network of a corpus from here sees them."""
    return ((torch.from_numpy(pixels).float() / 255 - 0.5) / 0.25).permute(0, 3, 1, 2).contiguous()


def corpus(count: int = 200) -> Corpus:
    """Return images with labels that the network is mostly right about."""
    pixels = images(count)
    with torch.no_grad():
        labels = planted()(scaled(pixels)).argmax(1).numpy()
    labels[::7] = (labels[::7] + 1) % CLASSES
    names = [f"class {i}" for i in range(CLASSES)]
    normalisation = Normalisation(mean=[0.5] * 3, std=[0.25] * 3)
    return Corpus.from_arrays(pixels, labels, class_names=names, normalisation=normalisation)
