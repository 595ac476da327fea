"""Made images, and what a training is shown of them."""

from __future__ import annotations

import itertools
from collections.abc import Generator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sparsity_audit.data.corpus import Corpus, LazyImages, Pixels
from sparsity_audit.schema.spec import Normalisation
from sparsity_audit.training.batches import TrainingImages
from sparsity_audit.training.corpora import Augmentation

PLAIN = Augmentation(flip=False, crop=None)
AUGMENTATIONS = [PLAIN, Augmentation(flip=True, crop=None), Augmentation(flip=True, crop=4)]


def pixels_of(count: int, height: int = 6, width: int = 6, channels: int = 3) -> Pixels:
    """Return images that no two of which are alike, nor any like its mirror image."""
    images = np.random.default_rng(count).integers(0, 256, (count, height, width, channels), dtype=np.uint8)
    images[:, 0, 0, 0], images[:, 0, -1, 0] = 0, 255
    return images


def corpus_of(images: Pixels | LazyImages, **changes: Any) -> Corpus:
    """Return a corpus that is shown as it is: values are pixels, and a label tells which image it is."""
    count, channels = images.shape[0], images.shape[3]
    settings = {"normalisation": Normalisation(mean=[0.0] * channels, std=[1.0] * channels), "pixel_scale": 1.0}
    return Corpus(
        name="made",
        split="train",
        images=images,
        labels=np.arange(count, dtype=np.int64),
        class_names=tuple(str(number) for number in range(count)),
        sha256="",
        available=count,
        **{**settings, **changes},
    )


def shown(corpus: Corpus, augmentation: Augmentation = PLAIN, batch: int = 4, seed: int = 0) -> TrainingImages:
    return TrainingImages(corpus, augmentation, batch, seed, "cpu")


def taken(images: TrainingImages, start: int, count: int) -> list[tuple[Tensor, Tensor]]:
    return list(itertools.islice(images.batches(start), count))


def epoch(images: TrainingImages, number: int = 0) -> tuple[npt.NDArray[np.int64], Tensor]:
    """Return the labels [N] and images [N, C, H, W] of an epoch in the order shown."""
    batches = taken(images, number * images.steps_per_epoch, images.steps_per_epoch)
    return torch.cat([labels for _, labels in batches]).numpy(), torch.cat([batch for batch, _ in batches])


def assert_same(left: list[tuple[Tensor, Tensor]], right: list[tuple[Tensor, Tensor]]) -> None:
    assert len(left) == len(right)
    for (images, labels), (others, other_labels) in zip(left, right, strict=True):
        assert torch.equal(images, others)
        assert torch.equal(labels, other_labels)


class Fake(LazyImages):
    """Images that are an array after all, and notes on what was asked for."""

    def __init__(self, images: Pixels, asked: list[npt.NDArray[np.int64]] | None = None) -> None:
        self.images = images
        self.asked: list[npt.NDArray[np.int64]] = [] if asked is None else asked

    @property
    def shape(self) -> tuple[int, int, int, int]:
        count, height, width, channels = self.images.shape
        return count, height, width, channels

    def batches(self, batch_size: int) -> Generator[Pixels]:
        for start in range(0, len(self.images), batch_size):
            yield self.images[start : start + batch_size]

    def take(self, indices: npt.NDArray[np.int64]) -> Fake:
        assert (np.diff(indices) > 0).all()  # as LazyImages demands
        self.asked.append(indices)
        return Fake(self.images[indices], self.asked)

    def digest(self) -> str:
        return ""
