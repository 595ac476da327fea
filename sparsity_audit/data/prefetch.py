"""Decoding ahead of the consumer: in threads, in order, never more than a few batches.

Pillow releases the GIL while it decodes and resizes, so threads suffice and nothing is copied between processes.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np

from sparsity_audit.data.corpus import Pixels
from sparsity_audit.data.view import Encoded, Fault, View, decode_into
from sparsity_audit.errors import DataError

AHEAD = 2
"""Batches decoded, or being decoded, beyond the one that the consumer was given."""
_PART = 8
"""Images a thread takes at once: few, so that all threads work on the batch that is waited for."""

Found = tuple[int, Fault]
"""Offset in the batch, and what is wrong there."""


@dataclass(eq=False)
class _Batch:
    images: Pixels
    parts: list[Future[list[Found]]]

    def wait(self) -> tuple[Pixels, list[Found]]:
        return self.images, [found for part in self.parts for found in part.result()]


def workers_here() -> int:
    """Return how many threads decode by default: as many as there are cores for this process."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def decoded_batches(
    encoded: Iterator[Encoded],
    count: int,
    shape: tuple[int, int, int],
    view: View,
    batch_size: int,
    *,
    workers: int | None = None,
) -> Generator[tuple[Pixels, list[Found]]]:
    """Yield (uint8 [B, H, W, C], faults) in order; the last batch may be shorter.

    At most ``AHEAD`` batches are decoded beyond the one yielded. Leaving the iterator early ends the threads.

    Args:
        encoded: the images; advanced by one thread, which is not the caller's.
        count: images in ``encoded``.
        shape: height, width and channels of each.
        workers: decoding threads; as many as there are cores by default.

    Raises:
        DataError: what ``encoded`` raises.
    """
    reader = ThreadPoolExecutor(1, "sparsity-audit-read")
    decoders = ThreadPoolExecutor(workers or workers_here(), "sparsity-audit-decode")

    def begin(start: int) -> _Batch:
        images = np.zeros((min(batch_size, count - start), *shape), dtype=np.uint8)
        reading = reader.submit(_read, encoded, len(images))
        offsets = range(0, len(images), _PART)
        return _Batch(images, [decoders.submit(_decode_part, images, reading, offset, view) for offset in offsets])

    starts, pending = iter(range(0, count, batch_size)), deque[_Batch]()
    try:
        pending.extend(begin(start) for start in islice(starts, AHEAD + 1))
        while pending:
            # Not bound to a name: this generator must not keep alive a batch that its consumer let go.
            yield pending.popleft().wait()
            pending.extend(begin(start) for start in islice(starts, 1))
    finally:
        reader.shutdown(cancel_futures=True)
        decoders.shutdown(cancel_futures=True)


def _read(encoded: Iterator[Encoded], count: int) -> list[Encoded]:
    batch = list(islice(encoded, count))
    if len(batch) < count:
        raise DataError("the data set holds fewer images than when it was opened; leave its files alone meanwhile")
    return batch


def _decode_part(images: Pixels, reading: Future[list[Encoded]], start: int, view: View) -> list[Found]:
    found = []
    for offset, encoded in enumerate(reading.result()[start : start + _PART], start):
        fault = decode_into(images[offset], encoded, view)
        if fault is not None:
            found.append((offset, fault))
    return found
