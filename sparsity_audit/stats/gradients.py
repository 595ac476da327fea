"""What the loss's gradient does to γ and β of each filter, on real batches in training mode (Sec. 2.3)."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from sparsity_audit.data.corpus import Corpus, Inputs, Labels, LazyImages, Pixels
from sparsity_audit.graph.feature_graph import FeatureLayer
from sparsity_audit.stats.collect import Normaliser, Progress

Array = NDArray[np.float32]
BATCHES = 50
"""Fifty batches without a gradient: at 95 %, none comes in at least 94 % of the steps (3/50)."""


class NoGradientsError(Exception):
    """The model or the images give no gradients to tell of; the message says why."""


@dataclass(frozen=True)
class Gradients:
    """Gradients of each batch's mean cross-entropy, without the regulariser.

    ``gamma`` and ``beta`` hold float32 [batches, filters] by layer key, in the order of the batches. A layer whose
    norm has none, or that the loss does not depend on, is missing.
    """

    gamma: dict[str, Array]
    beta: dict[str, Array]
    batches: int
    batch_size: int


def measure_gradients(
    module: nn.Module,
    layers: Sequence[FeatureLayer],
    corpus: Corpus,
    normalise: Normaliser,
    *,
    batch_size: int,
    batches: int = BATCHES,
    seed: int = 0,
    progress: Progress | None = None,
) -> Gradients:
    """Return the gradients on γ and β over batches drawn as training draws them, but not augmented.

    It is a copy of the module that runs in training mode, on the normaliser's device: the module keeps its running
    statistics, gradients, flags and device. Torch's random generators come back as they were.

    Args:
        module: the eager network; an exported graph is an inference graph.
        layers: the feature layers, which know the paths of their γ and β in the module.
        corpus: the training split.
        batch_size: that of the training: how often a gradient is exactly 0 depends on it.
        progress: called with batches done and batches in all.

    Raises:
        NoGradientsError: fewer images than one batch, no γ, a model that fails in training mode, whose output there
            is not [batch, classes], or whose gradients are not finite.
        DataError: images that are decoded on the way, and bad.
    """
    if len(corpus) < batch_size:
        raise NoGradientsError(f"{len(corpus):,} images are fewer than one training batch of {batch_size}")
    found: dict[str, list[Tensor]] = {}
    with _own_chance(normalise.device, seed):
        model, watched = _watched_copy(module, layers, normalise.device)
        for done, (pixels, labels) in enumerate(drawn_batches(corpus, batch_size, batches, seed), start=1):
            wanted = torch.from_numpy(labels).to(normalise.device)
            for path, gradient in _gradients(model, watched, normalise(pixels), wanted).items():
                found.setdefault(path, []).append(gradient)
            if progress is not None:
                progress(done, batches)
    arrays = {path: torch.stack(rows).cpu().numpy() for path, rows in found.items() if len(rows) == batches}
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise NoGradientsError("the loss in training mode, or its gradient, is NaN or infinite")
    gamma = {layer.key: arrays[layer.gamma] for layer in layers if layer.gamma in arrays}
    beta = {layer.key: arrays[layer.beta] for layer in layers if layer.beta in arrays}
    return Gradients(gamma, beta, batches, batch_size)


def drawn_batches(corpus: Corpus, batch_size: int, batches: int, seed: int) -> Iterator[tuple[Pixels | Inputs, Labels]]:
    """Yield (uint8 [B, H, W, C], int64 [B]): shuffled epochs, each without replacement and without its short end."""
    chance = np.random.RandomState(seed % 2**32)  # frozen across versions of numpy (NEP 19)
    order = np.zeros(0, dtype=np.int64)
    for _ in range(batches):
        if len(order) < batch_size:
            order = chance.permutation(len(corpus))
        chosen, order = np.sort(order[:batch_size]), order[batch_size:]
        images = corpus.images
        pixels = next(images.take(chosen).batches(batch_size)) if isinstance(images, LazyImages) else images[chosen]
        yield pixels, corpus.labels[chosen]


@contextmanager
def _own_chance(device: str, seed: int) -> Iterator[None]:
    """Seed torch's generators (dropout draws from them), and put them back at the end."""
    accelerators = [torch.device(device)] if torch.device(device).type == "cuda" else []
    with torch.random.fork_rng(accelerators):
        torch.manual_seed(seed)
        yield


def _watched_copy(
    module: nn.Module, layers: Sequence[FeatureLayer], device: str
) -> tuple[nn.Module, dict[str, nn.Parameter]]:
    """Return a copy in training mode, and its γ and β by path: the only parameters that take gradients."""
    try:
        # Methods of nn.Module through the class: users' classes have been seen to shadow them.
        model = nn.Module.train(nn.Module.to(copy.deepcopy(module), device))
    except Exception as failure:  # copying runs the model's own code
        raise NoGradientsError(f"the network cannot be copied: {_line(failure)}") from None
    wanted = {path for layer in layers for path in (layer.gamma, layer.beta)}
    watched = {}
    for path, parameter in nn.Module.named_parameters(model):
        parameter.grad = None
        parameter.requires_grad_(path in wanted)
        if path in wanted:
            watched[path] = parameter
    if not watched:
        raise NoGradientsError("no normalisation with γ belongs to any feature layer")
    return model, watched


def _gradients(model: nn.Module, watched: dict[str, nn.Parameter], images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    try:
        with torch.enable_grad():
            logits = model(images)
            if not isinstance(logits, Tensor) or logits.dim() != 2 or int(labels.max()) >= logits.shape[1]:
                raise NoGradientsError("its output in training mode is not [batch, classes] of this corpus")
            loss = F.cross_entropy(logits, labels)
            found = torch.autograd.grad(loss, list(watched.values()), allow_unused=True)
    except NoGradientsError:
        raise
    except Exception as failure:  # the model's own code raises whatever it likes
        raise NoGradientsError(f"the network fails in training mode: {_line(failure)}") from None
    return {path: gradient for path, gradient in zip(watched, found, strict=True) if gradient is not None}


def _line(failure: Exception) -> str:
    return " ".join(f"{type(failure).__name__}: {failure}".split())[:200]
