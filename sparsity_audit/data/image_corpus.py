"""From listed images to a corpus: decoded once into the cache, or on every pass where that would be too large."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from sparsity_audit.data.cache import decoded
from sparsity_audit.data.corpus import Corpus, Labels, LazyImages, Pixels, drawn
from sparsity_audit.data.decode import Faults
from sparsity_audit.data.imagenet import NORMALISATION
from sparsity_audit.data.listing import Indices, Listing
from sparsity_audit.data.prefetch import Found, decoded_batches
from sparsity_audit.data.source import Decoding, Progress, Source
from sparsity_audit.data.view import Fault, View, size_of
from sparsity_audit.errors import DataError
from sparsity_audit.schema.config import Split

STREAM_ABOVE = 2 * 2**30
"""Bytes of decoded pixels above which nothing is cached: every pass decodes again, beside the network's work."""
_CHUNK = 128
"""Images decoded at once on their way into the cache."""


@dataclass(frozen=True)
class Request:
    """What of a data set is wanted, and how."""

    split: Split
    view: View
    limit: int | None = None
    seed: int = 0
    stream_above: int = STREAM_ABOVE
    progress: Progress | None = None


@dataclass(frozen=True, eq=False)
class EncodedImages(LazyImages):
    """Some of a listing's images, decoded in threads while a pass consumes them."""

    listing: Listing
    indices: Indices
    view: View
    image_shape: tuple[int, int, int]
    """Height, width, channels."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Images, height, width, channels."""
        return (len(self.indices), *self.image_shape)

    def batches(self, batch_size: int) -> Generator[Pixels]:
        """Yield uint8 [B, H, W, C], at most ``prefetch.AHEAD`` batches decoded beyond the one yielded.

        Raises:
            DataError: at the first batch with images that are corrupt or of another size.
        """
        seen = 0
        with closing(self._decoded(batch_size)) as batches:
            for images, found in batches:
                seen += len(images)
                if found:
                    faults = Faults(seen)
                    self._count(faults, found, seen - len(images))
                    faults.check(found[0][1].remedy)
                yield images
                del images  # a batch that the consumer let go must be free while the next one is waited for

    def take(self, indices: npt.NDArray[np.int64]) -> EncodedImages:
        """Return the images at ``indices``, which rise."""
        return replace(self, indices=self.indices[indices])

    def digest(self) -> str:
        """Return a digest of the view and, in order, of each image's name, file size and label; no pixels."""
        digest = hashlib.sha256(repr((self.view.resize, self.view.crop)).encode())
        for index in self.indices:
            label = int(self.listing.labels[index])
            line = json.dumps([self.listing.identity(int(index)), label])
            digest.update(line.encode() + b"\n")
        return digest.hexdigest()

    def chunks(self) -> Iterator[tuple[Pixels, Labels]]:
        """Yield images and labels for the cache; faults are counted over all of them, then raised."""
        faults, done, remedies = Faults(len(self.indices)), 0, list[str]()
        with closing(self._decoded(_CHUNK)) as batches:
            for images, found in batches:
                self._count(faults, found, done)
                remedies = list(dict.fromkeys([*remedies, *(fault.remedy for _, fault in found)]))
                end = done + len(images)
                yield images, self.listing.labels[self.indices[done:end]]
                done = end
        faults.check(", ".join(remedies))

    def _decoded(self, batch_size: int) -> Generator[tuple[Pixels, list[Found]]]:
        encoded = self.listing.encoded(self.indices)
        return decoded_batches(encoded, len(self.indices), self.image_shape, self.view, batch_size)

    def _count(self, faults: Faults, found: list[Found], first: int) -> None:
        for offset, fault in found:
            faults.add(f"images {fault.kind}", self.listing.where(int(self.indices[first + offset])), fault.detail)


def image_corpus(name: str, kind: str, listing: Listing, request: Request) -> Corpus:
    """Return the corpus of a listing, or a sample of it that was drawn before anything was decoded.

    Args:
        name: what reports call it.
        kind: what its cache entry is called.

    Raises:
        DataError: images that cannot be read or differ in size; where they are streamed, only the first readable
            one is looked at here.
    """
    count = len(listing.labels)
    sample = drawn(count, request.limit, request.seed)
    indices = np.arange(count, dtype=np.int64) if sample is None else sample
    shape = _shape(listing, indices, request.view)
    images = EncodedImages(listing, indices, request.view, shape)

    def corpus(pixels: Pixels | LazyImages, labels: Labels, sha256: str) -> Corpus:
        seed = None if sample is None else request.seed
        names = listing.class_names
        return Corpus(name, request.split, pixels, labels, names, NORMALISATION, 255.0, sha256, count, seed)

    if math.prod(images.shape) > request.stream_above:
        return corpus(images, listing.labels[indices], images.digest())
    drawn_with = None if sample is None else (request.limit, request.seed)
    variant = repr((listing.stamp(), request.view.resize, request.view.crop, drawn_with))
    arrays = decoded(Source(kind, request.split, (), _decoding(images), variant), request.progress)
    return corpus(arrays.images, arrays.labels, arrays.sha256)


def _decoding(images: EncodedImages) -> Callable[[], Decoding]:
    total = len(images.indices)
    return lambda: Decoding(total, images.image_shape, images.listing.class_names, images.chunks())


def _shape(listing: Listing, indices: Indices, view: View) -> tuple[int, int, int]:
    """Return height, width and channels as the first readable image has them."""
    if view.crop is not None:
        return view.crop, view.crop, 3
    fault: Fault | None = None
    for encoded in listing.encoded(indices):
        size = size_of(encoded)
        if not isinstance(size, Fault):
            width, height = view.shape_of(*size)
            return height, width, 3
        fault = fault or size
    detail = f"the first, {listing.where(int(indices[0]))}: {fault.detail}" if fault else "there are none"
    raise DataError(f"none of {len(indices)} images can be read; {detail}")
