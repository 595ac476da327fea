"""Images a second of the zoo trainer against a plain training script, block by block in one process.

    python benchmarks/train_throughput.py [--widths 32-0.25x 64-1x] [--rounds 5]

The plain script is what a user writes by hand: a DataLoader with two workers, torchvision's transforms on PIL
images, NCHW, torch.optim.Adam as it is. Both train the same BasicNet with batches of 40 CIFAR-shaped images (random
pixels: no data set is needed) and Adam with L2. Rounds alternate, so that whatever else the machine does meets both.
"Outside" is the share of our time that is spent neither in forward, backward nor the optimizer's step.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from sparsity_audit.data.corpus import Corpus
from sparsity_audit.graph.feature_graph import build_graph
from sparsity_audit.models.registry import build_network
from sparsity_audit.specs.load import load_spec
from sparsity_audit.training.batches import TrainingImages
from sparsity_audit.training.corpora import Augmentation
from sparsity_audit.training.loop import Loop
from sparsity_audit.training.optimizers import Updater, parameter_groups
from sparsity_audit.training.tracked import tracked_layers

BATCH = 40
WIDTHS = {"32-0.25x": (32, 0.25, 150), "64-0.5x": (64, 0.5, 50), "64-1x": (64, 1.0, 20)}
"""Filters of C1, width of the others, steps of a round."""


class PlainImages(Dataset[tuple[Tensor, int]]):
    """What torchvision's CIFAR10 does with an image."""

    def __init__(self, corpus: Corpus) -> None:
        self.images, self.labels = np.asarray(corpus.images), corpus.labels
        own = corpus.normalisation
        self.transform = transforms.Compose(
            [transforms.RandomHorizontalFlip(), transforms.ToTensor(), transforms.Normalize(own.mean, own.std)]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), int(self.labels[index])


class Nothing:
    """A keeper that keeps nothing."""

    def due(self, _: int) -> bool:
        """Nothing is ever due."""
        return False

    def keep(self, _: int, *, last: bool) -> None:
        """Keep nothing."""


class Countdown:
    """Says yes when it was asked so many times."""

    def __init__(self, times: int) -> None:
        self.left = times

    def __call__(self) -> bool:
        """Return whether this was the last time."""
        self.left -= 1
        return self.left == 0


def network(width: str) -> nn.Module:
    """Return a fresh BasicNet."""
    first, factor, _ = WIDTHS[width]
    torch.manual_seed(0)
    return build_network(
        load_spec("basicnet-cifar10", [f"network.first={first}", f"network.width={factor}"]).spec.network, 3, 10
    )


def ours(width: str, corpus: Corpus, steps: int) -> Iterator[tuple[float, float]]:
    """Yield (seconds, seconds inside forward, backward and step) of one round after the other."""
    total = 10**9
    spec = load_spec("basicnet-cifar10", [f"schedule.total={total}", "schedule.milestones=[]"]).spec
    model = network(width)
    layers = tracked_layers(model, build_graph(model, (3, 32, 32)).layers)
    model = model.to(memory_format=torch.channels_last)
    updater = Updater(spec, parameter_groups(model, spec))
    images = TrainingImages(corpus, Augmentation(flip=True, crop=None), BATCH, 0, "cpu")
    loop = Loop(spec, model, updater, images, layers)
    inside = Inside(model, updater)
    done = 0
    while True:
        start, inside.seconds = time.perf_counter(), 0.0
        done = loop.run(done, Nothing(), Countdown(steps), lambda _: None)
        yield time.perf_counter() - start, inside.seconds


class Inside:
    """Adds up the time spent in a model's forward pass, in backward, and in the optimizer's step."""

    def __init__(self, model: nn.Module, updater: Updater) -> None:
        self.seconds = 0.0
        model.forward = self._timed(model.forward)  # type: ignore[method-assign]
        updater.step = self._timed(updater.step)  # type: ignore[method-assign]
        F.cross_entropy = self._timed(F.cross_entropy)
        self._backward = torch.Tensor.backward
        torch.Tensor.backward = self._timed(self._backward)  # type: ignore[method-assign]

    def _timed(self, function: Callable[..., object]) -> Callable[..., object]:
        def timed(*arguments: object, **named: object) -> object:
            start = time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                self.seconds += time.perf_counter() - start

        return timed


def plain(width: str, corpus: Corpus, steps: int) -> Iterator[float]:
    """Yield the seconds of one round after the other."""
    model = network(width).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, betas=(0.9, 0.99), weight_decay=1e-4)
    loader = DataLoader(PlainImages(corpus), BATCH, shuffle=True, num_workers=2, persistent_workers=True)

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield from loader

    endless = batches()
    while True:
        start = time.perf_counter()
        loss_sum, wrong = 0.0, 0
        for _ in range(steps):
            images, labels = next(endless)
            optimizer.zero_grad()
            logits = model(images)
            loss = F.cross_entropy(logits, labels)
            loss.backward()
            optimizer.step()
            loss_sum += loss.item()
            wrong += int((logits.argmax(1) != labels).sum())
        yield time.perf_counter() - start


def main() -> None:
    """Print a line for each width."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--widths", nargs="+", choices=WIDTHS, default=["32-0.25x", "64-1x"])
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    corpus = Corpus.from_arrays(rng.integers(0, 256, (10_000, 32, 32, 3), np.uint8), rng.integers(0, 10, 10_000))
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, batch {BATCH}, {arguments.rounds} rounds")
    for width in arguments.widths:
        steps = WIDTHS[width][2]
        mine, theirs = ours(width, corpus, steps), plain(width, corpus, steps)
        next(mine), next(theirs)  # to warm up
        rounds = [(next(mine), next(theirs)) for _ in range(arguments.rounds)]
        ratios = [other / own for (own, _), other in rounds]
        outside = statistics.median(1 - inside / own for (own, inside), _ in rounds)
        speed = statistics.median(steps * BATCH / own for (own, _), _ in rounds)
        print(
            f"{width:9} ours {speed:7.0f} images/s; ours / plain {statistics.median(ratios):.2f} "
            f"({min(ratios):.2f}-{max(ratios):.2f}); outside {outside:.1%}"
        )


if __name__ == "__main__":
    main()
