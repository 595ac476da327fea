"""Corpus: one split of a data set, decoded, as it was stored."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from sparsity_audit.errors import DataError
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

    @classmethod
    def from_arrays(
        cls,
        images: Pixels,
        labels: npt.ArrayLike,
        *,
        class_names: Sequence[str] | None = None,
        normalisation: Normalisation | None = None,
        pixel_scale: float = 255.0,
        name: str = "arrays",
        split: Split = "train",
    ) -> Corpus:
        """Return a corpus of images in memory.

        Args:
            images: uint8 [N, H, W, C].
            labels: integers [N].
            class_names: in label order; the labels' numbers where left out.
            normalisation: what the model was trained with; the images' own mean and deviation where left out.

        Raises:
            DataError: arrays of another kind or shape, or none at all.
        """
        numbers = np.asarray(labels, dtype=np.int64)
        if images.dtype != np.uint8 or images.ndim != 4 or numbers.shape != images.shape[:1]:
            raise DataError(
                f"corpus {name!r}: needs uint8 images [N, H, W, C] and N labels, not {images.dtype} "
                f"{list(images.shape)} and {list(numbers.shape)}"
            )
        if not len(numbers):
            raise DataError(f"corpus {name!r}: holds no images")
        if normalisation is None:
            scaled = images.reshape(-1, images.shape[3]) / pixel_scale
            std = np.maximum(scaled.std(axis=0), 1e-6)
            normalisation = Normalisation(mean=scaled.mean(axis=0).tolist(), std=std.tolist())
        names = class_names or [str(number) for number in range(int(numbers.max()) + 1)]
        digest = corpus_digest(images, numbers)
        return cls(name, split, images, numbers, tuple(names), normalisation, pixel_scale, digest, len(numbers))

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
