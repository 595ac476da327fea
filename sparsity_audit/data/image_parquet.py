"""Any data set of images as Hugging Face writes it: parquet shards with an image and a label column."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sparsity_audit.data.corpus import Labels
from sparsity_audit.data.listing import Indices, Listing
from sparsity_audit.data.parquet import complete_shards, names_beside, opened, split_shards
from sparsity_audit.data.view import Encoded
from sparsity_audit.errors import DataError
from sparsity_audit.schema.config import Split

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

SPLIT_NAMES: dict[Split, tuple[str, ...]] = {"train": ("train",), "test": ("test", "validation", "valid", "val")}
IMAGE_NAMES = ("image", "img")
LABEL_NAMES = ("label", "labels", "fine_label")
_ROWS_AT_ONCE = 64
"""So few that their encoded bytes stay small beside a decoded batch."""


@dataclass(frozen=True)
class Columns:
    """The columns that count, and the label's names where the schema tells them."""

    image: str
    label: str
    names: tuple[str, ...] | None


@dataclass(frozen=True, eq=False)
class ParquetListing(Listing):
    """The rows of a split's shards."""

    files: tuple[Path, ...]
    starts: tuple[int, ...]
    """Index of each shard's first row in the split; one more at the end: the rows in all."""
    image_column: str

    def encoded(self, indices: Indices) -> Iterator[Encoded]:
        """Yield the images' bytes, row groups without a wanted row unread."""
        for file, start, end in zip(self.files, self.starts, self.starts[1:], strict=False):
            wanted = indices[(indices >= start) & (indices < end)] - start
            if len(wanted):
                with opened(file) as parquet:
                    yield from _rows(parquet, self.image_column, wanted)

    def where(self, index: int) -> str:
        """Return the row and its file."""
        shard = self._shard(index)
        return f"row {index - self.starts[shard]} (from 0) of {self.files[shard]}"

    def identity(self, index: int) -> str:
        """Return the file's name and size, and the row in it."""
        shard = self._shard(index)
        return f"{self.files[shard].name} {self.files[shard].stat().st_size} {index - self.starts[shard]}"

    def stamp(self) -> str:
        """Return a digest of the shards' places, sizes and times."""
        stats = [(str(file.resolve()), file.stat()) for file in self.files]
        facts = [(path, status.st_size, status.st_mtime_ns) for path, status in stats]
        return hashlib.sha256(repr((facts, self.class_names)).encode()).hexdigest()

    def _shard(self, index: int) -> int:
        return int(np.searchsorted(self.starts, index, side="right")) - 1


def parquet_listing(path: Path, split: Split) -> tuple[ParquetListing, bool]:
    """List one split of a parquet file, or of a folder of ``SPLIT-*.parquet`` shards (or of one ``data/`` in it).

    The test split is ``test``, or ``validation`` where that has no labels or is absent.

    Returns:
        The listing, and whether there are splits; one file, or shards without a split's name, serve as both.

    Raises:
        DataError: nothing of the kind, columns missing or of other types, labels out of range.
    """
    if path.is_file():
        return _listed((path,), path.parent), False
    folder = path / "data" if (path / "data").is_dir() and not any(path.glob("*.parquet")) else path
    present = [name for names in SPLIT_NAMES.values() for name in names if split_shards(folder, name)]
    if not present:
        files = tuple(file for file in sorted(folder.glob("*.parquet")) if not file.name.startswith("."))
        if not files:
            raise DataError(f"{folder} holds no parquet files; name the folder of the data set's shards")
        return _listed(files, path), False
    usable = [name for name in SPLIT_NAMES[split] if name in present]
    if not usable:
        raise DataError(f"{folder} has no {split} split (splits there: {', '.join(present)})")
    choice = next((name for name in usable[:-1] if _is_labelled(complete_shards(folder, name))), usable[-1])
    return _listed(complete_shards(folder, choice), path), True


def _is_labelled(files: Sequence[Path]) -> bool:
    """Tell a split for a leaderboard, whose labels are all -1."""
    with opened(files[0]) as parquet:
        labels = _labels(parquet, _columns(files[0], parquet.schema_arrow).label)
        return not len(labels) or int(labels.max()) >= 0


def _listed(files: Sequence[Path], folder: Path) -> ParquetListing:
    labels, starts, found = [], [0], []
    for file in files:
        with opened(file) as parquet:
            found.append(_columns(file, parquet.schema_arrow))
            labels.append(_labels(parquet, found[-1].label))
        starts.append(starts[-1] + len(labels[-1]))
        if (found[-1].image, found[-1].label) != (found[0].image, found[0].label):
            raise DataError(f"{file} has other image and label columns than {files[0].name}")
    joined = np.concatenate(labels)
    if not len(joined):
        raise DataError(f"{files[0]}: no rows in {len(files)} file(s); download the data set again")
    names = names_beside(folder) or found[0].names or tuple(str(number) for number in range(int(joined.max()) + 1))
    listing = ParquetListing(joined, names, tuple(files), tuple(starts), found[0].image)
    wrong = np.flatnonzero((joined < 0) | (joined >= len(names)))
    if len(wrong):
        raise DataError(
            f"{len(wrong)} of {len(joined)} labels are not in 0–{len(names) - 1}, the first in "
            f"{listing.where(int(wrong[0]))}: {joined[wrong[0]]}"
        )
    return listing


def _labels(parquet: pq.ParquetFile, column: str) -> Labels:
    labels = parquet.read(columns=[column]).column(column).cast("int64", safe=False)
    return np.asarray(labels.fill_null(-1).to_numpy(), dtype=np.int64)


def _columns(file: Path, schema: pa.Schema) -> Columns:
    """Find the columns by the ``datasets`` library's metadata, else by name, else where only one can be meant."""
    import pyarrow.types as types

    features = _features(schema)
    image = _pick(schema, _holds_images, features, "Image", IMAGE_NAMES)
    label = _pick(schema, types.is_integer, features, "ClassLabel", LABEL_NAMES)
    if image is None or label is None:
        lacks = "image column (binary, or a struct with 'bytes')" if image is None else "integer label column"
        there = ", ".join(f"{field.name}: {field.type}" for field in schema) or "none"
        raise DataError(f"{file} has no {lacks} that can be told (columns there: {there})")
    names = features.get(label, {}).get("names")
    return Columns(image, label, tuple(str(name) for name in names) if isinstance(names, list) else None)


def _pick(
    schema: pa.Schema,
    fits: Callable[[pa.DataType], bool],
    features: dict[str, dict[str, Any]],
    kind: str,
    usual: Sequence[str],
) -> str | None:
    fitting = [str(field.name) for field in schema if fits(field.type)]
    by_metadata = [name for name in fitting if features.get(name, {}).get("_type") == kind]
    by_name = [name for name in usual if name in fitting]
    for choice in (by_name if len(by_metadata) != 1 else by_metadata, fitting if len(fitting) == 1 else []):
        if choice:
            return choice[0]
    return None


def _holds_images(kind: pa.DataType) -> bool:
    import pyarrow.types as types

    if types.is_struct(kind):
        at = kind.get_field_index("bytes")
        return at >= 0 and _holds_images(kind.field(at).type)
    return bool(types.is_binary(kind) or types.is_large_binary(kind))


def _features(schema: pa.Schema) -> dict[str, dict[str, Any]]:
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return {}
    if not isinstance(features, dict):
        return {}
    return {name: feature for name, feature in features.items() if isinstance(feature, dict)}


def _rows(parquet: pq.ParquetFile, column: str, wanted: Indices) -> Iterator[Encoded]:
    """Yield the bytes in the rows ``wanted``, which rise; None where there are none."""
    import pyarrow.compute as pc
    import pyarrow.types as types

    first = 0
    for group in range(parquet.num_row_groups):
        end = first + parquet.metadata.row_group(group).num_rows
        inside = wanted[(wanted >= first) & (wanted < end)]
        if len(inside):
            for batch in parquet.iter_batches(_ROWS_AT_ONCE, row_groups=[group], columns=[column]):
                rows = inside[(inside >= first) & (inside < first + len(batch))] - first
                images = batch.column(column).take(rows)
                yield from (pc.struct_field(images, "bytes") if types.is_struct(images.type) else images).to_pylist()
                first += len(batch)
        first = end
