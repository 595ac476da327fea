"""Encoded images to pixels: everything that is wrong is counted before it is reported."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from sparsity_audit.data.corpus import Labels, Pixels
from sparsity_audit.data.parquet import Rows, Table, read_rows
from sparsity_audit.errors import DataError

FORMATS = ("PNG", "WEBP")
"""The lossless ones. Naming them halves Pillow's time on small images (it asks no other plugin)."""


@dataclass
class Faults:
    """What is wrong with images: for each kind how many, and where the first one is."""

    total: int
    """Images looked at."""
    counts: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)

    def add(self, kind: str, where: str, detail: str) -> None:
        """Count one fault; ``kind`` continues the sentence "n of m …"."""
        self.counts[kind] += 1
        self.first.setdefault(kind, f"{where}: {detail}")

    def check(self, remedy: str) -> None:
        """Raise a DataError that names every kind found, if any was."""
        parts = [
            f"{count} of {self.total} {kind}, the first in {self.first[kind]}" for kind, count in self.counts.items()
        ]
        if parts:
            raise DataError(f"{'; '.join(parts)}; {remedy}")


def decode_table(table: Table, shape: tuple[int, int, int], classes: int) -> Iterator[tuple[Pixels, Labels]]:
    """Yield (uint8 [b, H, W, 3], int64 [b]) in the table's order, decoded one after the other.

    Threads don't help: on two cores 10,000 WebP images of 32×32 took 0.52 to 0.53 s in one, two and four threads
    (medians of seven). Little of the time of an image this small is the codec's, which alone releases the GIL.

    Args:
        table: the shards to read.
        shape: height, width and channels that every image must have.
        classes: labels must be 0 … ``classes`` − 1.

    Raises:
        DataError: after the last row, where images were corrupt or of another size, or labels out of range.
    """
    faults = Faults(table.rows)
    for rows in read_rows(table):
        images = np.zeros((len(rows.images), *shape), dtype=np.uint8)
        for offset, encoded in enumerate(rows.images):
            _decode_into(images[offset], encoded, rows, offset, faults)
        for wrong in np.flatnonzero((rows.labels < 0) | (rows.labels >= classes)):
            faults.add(f"labels are not in 0–{classes - 1}", rows.where(int(wrong)), str(rows.labels[wrong]))
        yield images, rows.labels
    faults.check("download the data set again")


def _decode_into(target: Pixels, encoded: bytes | None, rows: Rows, offset: int, faults: Faults) -> None:
    """Decode one image into ``target`` (uint8 [H, W, 3]), or count it as faulty."""
    from PIL import Image

    height, width, _ = target.shape
    try:
        if encoded is None:
            raise ValueError("no bytes")
        with Image.open(io.BytesIO(encoded), formats=FORMATS) as image:
            if image.size != (width, height):
                found = f"{image.size[0]}×{image.size[1]}"
                faults.add(f"images are not {width}×{height}", rows.where(offset), found)
                return
            target[:] = np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    except Exception as error:  # the codecs raise OSError, SyntaxError, struct.error, …: all mean a corrupt image
        unreadable = type(error).__name__ == "UnidentifiedImageError"  # its own text is an object's address
        faults.add("images are corrupt", rows.where(offset), "neither PNG nor WebP" if unreadable else str(error))
