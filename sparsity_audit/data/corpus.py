"""Corpus: one split of a data set, decoded, as it was stored."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from sparsity_audit.schema.config import Split
from sparsity_audit.schema.spec import Normalisation

Pixels = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Corpus:
    """Images and labels of one split, never augmented; both arrays may be read-only."""

    name: str
    """``digits``, ``cifar10`` or ``cifar100``, whatever folder the images came from."""
    split: Split
    images: Pixels
    """uint8 [N, H, W, C]; a memory map where the images come from the cache."""
    labels: Labels
    """int64 [N]; indices into ``class_names``."""
    class_names: tuple[str, ...]
    normalisation: Normalisation
    """Mean and deviation per channel of the data set's training split, on the 0–1 scale."""
    pixel_scale: float
    """The pixel value that stands for 1.0."""
    sha256: str
    """``corpus_digest`` of the images and labels held here: after ``sample``, of the sample."""
    available: int
    """Images in the whole split; more than ``len(self)`` after ``sample``."""
    seed: int | None = None
    """Seed of the sample; None where the whole split is held."""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width of one image."""
        _, height, width, channels = self.images.shape
        return channels, height, width

    def sample(self, limit: int | None, seed: int) -> Corpus:
        """Return ``limit`` images drawn without replacement, in their stored order; self where that is all.

        A larger limit with the same seed holds every image of a smaller one, so more images only add evidence.

        Raises:
            ValueError: ``limit`` is below 1.
        """
        if limit is None or limit >= len(self):
            return self
        if limit < 1:
            raise ValueError(f"a sample needs at least 1 image, not {limit}")
        # RandomState: the only generator of numpy whose stream is frozen across versions (NEP 19).
        order = np.random.RandomState(seed % 2**32).permutation(len(self))
        indices = np.sort(order[:limit])
        images, labels = self.images[indices], self.labels[indices]
        return replace(self, images=images, labels=labels, sha256=corpus_digest(images, labels), seed=seed)

    def batches(self, batch_size: int) -> Iterator[tuple[Pixels, Labels]]:
        """Yield (uint8 [B, H, W, C], int64 [B]) in stored order, as views; the last one may be shorter."""
        for start in range(0, len(self), batch_size):
            yield self.images[start : start + batch_size], self.labels[start : start + batch_size]


def corpus_digest(images: Pixels, labels: Labels) -> str:
    """Return the sha256 of a set of labelled images, whatever their order and container.

    Each image's label and pixels are hashed, and the sorted hashes are hashed again: the Hugging Face and the
    torchvision layouts of CIFAR hold the same images in different orders.

    Args:
        images: uint8 [N, H, W, C].
        labels: int64 [N].
    """
    each = sorted(
        hashlib.sha256(int(label).to_bytes(8, "little", signed=True) + image.tobytes()).digest()
        for image, label in zip(images, labels, strict=True)
    )
    shape = "x".join(str(size) for size in images.shape)
    return hashlib.sha256(shape.encode() + b"".join(each)).hexdigest()
