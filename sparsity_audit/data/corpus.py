"""Corpus: one split of a data set, decoded, as it was stored."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sparsity_audit.errors import DataError
from sparsity_audit.schema.config import Split
from sparsity_audit.schema.spec import Normalisation

Pixels = npt.NDArray[np.uint8]
Inputs = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


class LazyImages(ABC):
    """Images that are decoded when a pass asks for them: what a corpus too large for an array holds."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int, int, int]:
        """Images, height, width, channels."""

    @abstractmethod
    def batches(self, batch_size: int) -> Generator[Pixels]:
        """Yield uint8 [B, H, W, C] in stored order; see ``Corpus.batches``."""

    @abstractmethod
    def take(self, indices: npt.NDArray[np.int64]) -> LazyImages:
        """Return the images at ``indices``, which rise, without decoding one."""

    @abstractmethod
    def digest(self) -> str:
        """Return what stands for ``corpus_digest`` without decoding: names, sizes and labels, hashed."""


@dataclass(frozen=True, eq=False)
class Corpus:
    """Images and labels of one split, never augmented; arrays may be read-only."""

    name: str
    """Such as ``digits`` or ``cifar10``, whatever folder the images came from; else the folder's kind and name."""
    split: Split
    images: Pixels | Inputs | LazyImages
    """uint8 [N, H, W, C]; a memory map where the images come from the cache. Float32 where they are what the model is
    given, already normalised, as a loader yields them."""
    labels: Labels
    """int64 [N]; indices into ``class_names``."""
    class_names: tuple[str, ...]
    normalisation: Normalisation
    """Mean and deviation per channel of the data set's training split, on the 0–1 scale."""
    pixel_scale: float
    """The pixel value that stands for 1.0."""
    sha256: str
    """``corpus_digest`` of what is held here, after ``sample`` of the sample; or ``LazyImages.digest``."""
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

    @classmethod
    def from_loader(
        cls, loader: Iterable[Any], *, class_names: Sequence[str] | None = None, name: str = "loader"
    ) -> Corpus:
        """Return what a loader yields, once through, as the model is given it: it is held in memory.

        Args:
            loader: yields (images, labels): floats [B, C, H, W], normalised, and integers [B]; a torch DataLoader.
            class_names: in label order; the labels' numbers where left out.

        Raises:
            DataError: batches of another form, images of several sizes, or no batch at all.
        """
        images, labels = [], []
        for batch in _batches(loader, name):
            if not isinstance(batch, tuple | list) or len(batch) != 2:
                raise DataError(f"corpus {name!r}: a batch should be images and labels, not {type(batch).__name__}")
            pictures, numbers = (_array(part, name) for part in batch)
            fits = pictures.dtype.kind == "f" and pictures.ndim == 4 and numbers.dtype.kind in "iu"
            if not fits or numbers.shape != pictures.shape[:1]:
                raise DataError(
                    f"corpus {name!r}: needs floats [B, C, H, W] and B integer labels, not {pictures.dtype} "
                    f"{list(pictures.shape)} and {numbers.dtype} {list(numbers.shape)}"
                )
            images.append(pictures.transpose(0, 2, 3, 1).astype(np.float32))
            labels.append(numbers.astype(np.int64))
        sizes = {batch.shape[1:] for batch in images}
        if len(sizes) != 1:
            raise DataError(f"corpus {name!r}: {'images of several sizes' if sizes else 'the loader yields no batch'}")
        everything, numbers = np.concatenate(images), np.concatenate(labels)
        if not len(numbers) or numbers.min() < 0:
            raise DataError(f"corpus {name!r}: {'holds no images' if not len(numbers) else 'a label is negative'}")
        names = class_names or [str(number) for number in range(int(numbers.max()) + 1)]
        channels = everything.shape[3]
        as_is = Normalisation(mean=[0.0] * channels, std=[1.0] * channels)
        digest = corpus_digest(everything, numbers)
        return cls(name, "train", everything, numbers, tuple(names), as_is, 1.0, digest, len(numbers))

    @property
    def ready(self) -> bool:
        """Whether the images are what the model is given, so that no normalisation is due and no range is known."""
        return isinstance(self.images, np.ndarray) and self.images.dtype == np.float32

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
        indices = drawn(len(self), limit, seed)
        if indices is None:
            return self
        labels = self.labels[indices]
        if isinstance(self.images, LazyImages):
            taken = self.images.take(indices)
            return replace(self, images=taken, labels=labels, sha256=taken.digest(), seed=seed)
        images = self.images[indices]
        return replace(self, images=images, labels=labels, sha256=corpus_digest(images, labels), seed=seed)

    def batches(self, batch_size: int) -> Iterator[tuple[Pixels | Inputs, Labels]]:
        """Yield (uint8 or float32 [B, H, W, C], int64 [B]) in stored order, views of an array; the last may be shorter.

        Raises:
            DataError: images that are decoded on the way, and bad.
        """
        starts = range(0, len(self), batch_size)
        if isinstance(self.images, LazyImages):
            with closing(self.images.batches(batch_size)) as decoded:
                for start in starts:  # no name for the images: a batch that the consumer let go must be free
                    yield next(decoded), self.labels[start : start + batch_size]
            return
        for start in starts:
            yield self.images[start : start + batch_size], self.labels[start : start + batch_size]


def _batches(loader: Iterable[Any], name: str) -> Iterator[Any]:
    try:
        return iter(loader)
    except TypeError:
        raise DataError(f"corpus {name!r}: a {type(loader).__name__} yields no batches; give a DataLoader") from None


def _array(part: Any, name: str) -> npt.NDArray[Any]:
    """Return one half of a batch as an array, wherever its tensor lies and whether or not it has a gradient."""
    try:
        return np.asarray(part.detach().cpu() if hasattr(part, "detach") else part)
    except (TypeError, ValueError) as failure:  # bfloat16, lists of unequal length
        reason = str(failure).partition("\n")[0]
        raise DataError(f"corpus {name!r}: a batch is no array of numbers ({reason}); make it float32") from None


def drawn(count: int, limit: int | None, seed: int) -> npt.NDArray[np.int64] | None:
    """Return ``limit`` of ``count`` indices, drawn without replacement and sorted; None where that is all.

    Raises:
        ValueError: ``limit`` is below 1.
    """
    if limit is None or limit >= count:
        return None
    if limit < 1:
        raise ValueError(f"a sample needs at least 1 image, not {limit}")
    # RandomState: the only generator of numpy whose stream is frozen across versions (NEP 19).
    order = np.random.RandomState(seed % 2**32).permutation(count)
    return np.sort(order[:limit])


def corpus_digest(images: Pixels | Inputs, labels: Labels) -> str:
    """Return the sha256 of a set of labelled images, whatever their order and container.

    Each image's label and pixels are hashed, and the sorted hashes are hashed again: the Hugging Face and the
    torchvision layouts of CIFAR hold the same images in different orders.

    Args:
        images: uint8 or float32 [N, H, W, C].
        labels: int64 [N].
    """
    each = sorted(
        hashlib.sha256(int(label).to_bytes(8, "little", signed=True) + image.tobytes()).digest()
        for image, label in zip(images, labels, strict=True)
    )
    shape = "x".join(str(size) for size in images.shape)
    return hashlib.sha256(shape.encode() + b"".join(each)).hexdigest()
