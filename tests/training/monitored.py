"""Small networks to be watched, and what their filters do: plain hooks, whole arrays."""

from __future__ import annotations

import copy

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparsity_audit.data.digits import load_digits_corpus
from sparsity_audit.models.registry import build_network
from sparsity_audit.schema.report import NormalisationInfo
from sparsity_audit.schema.spec import NetworkSpec
from sparsity_audit.stats.collect import Normaliser
from sparsity_audit.training.history import History


def basicnet(channels: int = 1) -> nn.Module:
    torch.manual_seed(0)
    return build_network(NetworkSpec(name="basicnet", first=8, width=0.0625, head=[16]), channels, 10)


def small_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(3, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 2)),
    )


def photographs(count: int, side: int = 16, seed: int = 1) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


def digits(count: int) -> tuple[Tensor, Tensor]:
    corpus = load_digits_corpus("train")
    info = NormalisationInfo(**corpus.normalisation.model_dump(), pixel_scale=corpus.pixel_scale, source="corpus")
    return Normaliser(info, "cpu")(corpus.images[:count]), torch.from_numpy(corpus.labels[:count])


def train_step(model: nn.Module, images: Tensor, labels: Tensor | None = None) -> None:
    labels = torch.zeros(len(images), dtype=torch.long) if labels is None else labels
    model.zero_grad()
    F.cross_entropy(model(images).float(), labels).backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= 0.05 * parameter.grad


def plant(model: nn.Module) -> None:
    """Filter 0: γ and β are 0. 1: γ below the threshold, yet responding. 2: so low that it never responds."""
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.weight.data.uniform_(0.5, 1.5)
            part.weight.data[:3] = torch.tensor([0.0, -9e-4, 1.0])
            part.bias.data[:3] = torch.tensor([0.0, 0.5, -1e4])


@torch.no_grad()
def by_hooks(model: nn.Module, watched: dict[str, tuple[str, bool]], images: Tensor) -> dict[str, np.ndarray]:
    """Return universality and inactive, from whole activations: of layer key by module and whether a ReLU follows."""
    kept: dict[str, Tensor] = {}
    model = copy.deepcopy(model).eval()
    for key, (path, rectified) in watched.items():

        def keep(_: nn.Module, __: object, out: Tensor, key: str = key, rectified: bool = rectified) -> None:
            kept[key] = out.clone().relu() if rectified else out.clone()

        model.get_submodule(path).register_forward_hook(keep)
    model(images)
    found: dict[str, np.ndarray] = {}
    for key, (_, rectified) in watched.items():
        planes = kept[key].double().flatten(2)  # [N, filters, plane]
        found[f"inactive/{key}"] = (planes.abs().amax((0, 2)) <= 1e-12).numpy()
        pooled = planes.amax(2)
        counted = (pooled > 1e-3 * pooled.amax(0)) & (pooled.amax(0) > 1e-12)
        share = counted.double().mean(0)
        found[f"universality/{key}"] = (share if rectified else torch.full_like(share, torch.nan)).numpy()
    return found


def check_point(history: History, expected: dict[str, np.ndarray], place: int = -1) -> None:
    for name, values in expected.items():
        np.testing.assert_allclose(history.series(name)[place], values, atol=1e-6, err_msg=name)


def basicnet_layers(model: nn.Module) -> dict[str, tuple[str, bool]]:
    names = list(dict(model.named_modules()))
    convs = [path for path in names if isinstance(model.get_submodule(path), nn.Conv2d)]
    norms = [path for path in names if isinstance(model.get_submodule(path), nn.BatchNorm2d)]
    return {conv: (norm, True) for conv, norm in zip(convs, norms, strict=True)}
