"""Training images on their device, and the order, flips and crops that a seed gives them.

Order and augmentation of an epoch follow from seed and epoch alone, so a resumed run continues in the middle of an
epoch as if it had never stopped, on any device.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from sparsity_audit.data.corpus import Corpus, LazyImages, Pixels
from sparsity_audit.errors import DataError
from sparsity_audit.specs.budget import steps_per_epoch
from sparsity_audit.training.corpora import Augmentation, normaliser

WINDOW = 16
"""Batches decoded at once, ahead of the training, where images are decoded on the way."""


class TrainingImages:
    """Batches of a training split, shuffled and augmented: normalised float32 images and int64 labels.

    Raises:
        DataError: a single image in all.
    """

    def __init__(self, corpus: Corpus, augmentation: Augmentation, batch_size: int, seed: int, device: str) -> None:
        self.corpus = corpus
        self.augmentation = augmentation
        self.batch_size = batch_size
        self.seed = seed
        self.device = device
        self.steps_per_epoch = steps_per_epoch(len(corpus), batch_size)
        if not self.steps_per_epoch:
            raise DataError(f"{corpus.name}: training needs at least 2 images, for batch norm cannot normalise one")
        self._labels = torch.from_numpy(corpus.labels).to(device)
        self._normalise = normaliser(corpus, device)
        self._images: Tensor | None = None
        if not isinstance(corpus.images, LazyImages):
            # Copied: torch takes no read-only memory map, and every image will be needed.
            self._images = torch.from_numpy(np.array(corpus.images)).to(device)

    def batches(self, step: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (images [B, C, H, W] in channels_last, labels [B]) without end, from a step, counted from 0, on."""
        epoch, first = divmod(step, self.steps_per_epoch)
        while True:
            yield from self._epoch(epoch, first)
            epoch, first = epoch + 1, 0

    def _epoch(self, epoch: int, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(_mixed(self.seed, epoch))
        order = torch.randperm(len(self.corpus), generator=generator)
        flips = torch.rand(len(order), generator=generator) < 0.5
        corners = self._corners(generator)
        size = self.batch_size
        starts = range(first * size, self.steps_per_epoch * size, size)
        on_host = order
        order, flips, corners = (part.to(self.device) for part in (order, flips, corners))
        # Cut where the images lie: one copy to the device an epoch, since each would make the host wait.
        wanted = on_host if self._images is None else order
        chosen = [wanted[start : start + size] for start in starts]
        for start, pixels in zip(starts, self._pixels(chosen), strict=True):
            span = slice(start, start + size)
            shown = self._augmented(pixels, flips[span], corners[span])
            yield self._normalise.scaled(shown), self._labels[order[span]]

    def _corners(self, generator: torch.Generator) -> Tensor:
        """Return [images, 2]: the upper left corner of each image's crop; zeros where nothing is cropped."""
        _, height, width = self.corpus.shape
        crop = self.augmentation.crop
        if crop is None:
            return torch.zeros(len(self.corpus), 2, dtype=torch.int64)
        room = torch.tensor([height - crop + 1, width - crop + 1])
        return (torch.rand(len(self.corpus), 2, generator=generator, dtype=torch.float64) * room).long()

    def _augmented(self, pixels: Tensor, flips: Tensor, corners: Tensor) -> Tensor:
        """Return uint8 [B, H, W, C] cropped and flipped, without asking the device for anything."""
        crop = self.augmentation.crop
        if crop is not None and pixels.shape[1:3] != (crop, crop):
            along = torch.arange(crop, device=pixels.device)
            rows = (corners[:, :1] + along)[:, :, None]
            columns = (corners[:, 1:] + along)[:, None, :]
            pixels = pixels[torch.arange(len(pixels), device=pixels.device)[:, None, None], rows, columns]
        if self.augmentation.flip:
            pixels = torch.where(flips[:, None, None, None], pixels.flip(2), pixels)
        return pixels

    def _pixels(self, chosen: list[Tensor]) -> Iterator[Tensor]:
        """Yield uint8 [B, H, W, C] on the device for each batch of indices, which lie where the images do."""
        if self._images is not None:
            for indices in chosen:
                yield self._images.index_select(0, indices)
            return
        windows = [chosen[start : start + WINDOW] for start in range(0, len(chosen), WINDOW)]
        with ThreadPoolExecutor(1) as decoder:  # the next window while the network works on this one
            ahead = decoder.submit(self._decoded, windows[0]) if windows else None
            for number, window in enumerate(windows, start=1):
                assert ahead is not None
                decoded = ahead.result()
                if number < len(windows):
                    ahead = decoder.submit(self._decoded, windows[number])
                for pixels in torch.split(decoded, [len(indices) for indices in window]):
                    yield pixels.to(self.device)

    def _decoded(self, window: list[Tensor]) -> Tensor:
        """Return uint8 [images of the window, H, W, C] in the window's order."""
        lazy = self.corpus.images
        assert isinstance(lazy, LazyImages)
        wanted = torch.cat(window).numpy()
        ranks = np.argsort(wanted)
        found: list[Pixels] = list(lazy.take(wanted[ranks]).batches(self.batch_size))
        pixels = np.empty((len(wanted), *lazy.shape[1:]), np.uint8)
        pixels[ranks] = np.concatenate(found)
        return torch.from_numpy(pixels)


def _mixed(seed: int, epoch: int) -> int:
    """Return a seed for one epoch of one run; neighbours have nothing in common."""
    return int.from_bytes(hashlib.sha256(f"order/{seed}/{epoch}".encode()).digest()[:8], "little") >> 1
