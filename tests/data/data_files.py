"""Makers of images and shards in the real formats."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

CIFAR10_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def pixels(count: int, seed: int = 0, size: tuple[int, int] = (32, 32)) -> np.ndarray:
    """Return random uint8 [count, H, W, 3]."""
    return np.random.default_rng(seed).integers(0, 256, (count, *size, 3), dtype=np.uint8)


def encoded(image: np.ndarray, kind: str = "PNG") -> bytes:
    """Return one image as lossless PNG or WebP."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, **({"lossless": True, "exact": True} if kind == "WEBP" else {}))
    return buffer.getvalue()


def write_parquet(
    file: Path,
    images: Sequence[bytes | None],
    labels: Sequence[int | None],
    *,
    image_column: str = "img",
    label_column: str = "label",
    names: Sequence[str] | None = None,
    row_group_size: int = 4,
) -> Path:
    """Write a shard as the ``datasets`` library does."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"bytes": image, "path": f"{index}.png"} for index, image in enumerate(images)]
    struct = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({image_column: pa.array(rows, struct), label_column: pa.array(labels, pa.int64())})
    if names is not None:
        features = {label_column: {"names": list(names), "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, file, row_group_size=row_group_size)
    return file
