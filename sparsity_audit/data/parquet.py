"""Hugging Face parquet folders: finding the shards of a split, checking them, reading them in bounded memory."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sparsity_audit.data.corpus import Labels
from sparsity_audit.errors import DataError
from sparsity_audit.schema.config import Split

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

IMAGE_COLUMNS = ("img", "image")
LABEL_COLUMNS = ("fine_label", "label")
"""In order of preference: CIFAR-100 may also carry ``coarse_label``, which is never what is classified."""

ROWS_AT_ONCE = 1000


@dataclass(frozen=True)
class Table:
    """The shards of one split, opened once: their columns are there and have the right types."""

    files: tuple[Path, ...]
    image_column: str
    label_column: str
    rows: int
    class_names: tuple[str, ...] | None
    """In label order; None where neither ``classes.txt`` nor the schema tells them."""


@dataclass(frozen=True)
class Rows:
    """Some consecutive rows of a shard."""

    file: Path
    first: int
    """Index of the first one in ``file``, counted from 0."""
    images: list[bytes | None]
    """Encoded; None where a row has no bytes."""
    labels: Labels
    """int64 [b]; -1 where a row has no label."""

    def where(self, offset: int) -> str:
        """Return the words that name one of the rows to the user."""
        return f"row {self.first + offset} (from 0) of {self.file}"


def has_shards(folder: Path) -> bool:
    """Return whether the folder itself holds the parquet files of any split."""
    return any(split_shards(folder, split) for split in ("train", "test"))


def find_parquet(folder: Path) -> Path | None:
    """Return the folder with the shards: ``folder``, or the one folder in it that has some (``plain_text/``).

    Raises:
        DataError: several folders in ``folder`` have some.
    """
    if has_shards(folder):
        return folder
    inside = [child for child in sorted(folder.iterdir()) if child.is_dir() and has_shards(child)]
    if len(inside) > 1:
        names = ", ".join(child.name for child in inside)
        raise DataError(f"{folder} holds several data sets ({names}); name the folder of one of them")
    return inside[0] if inside else None


def open_table(folder: Path, split: Split) -> Table:
    """Check every shard's header and columns without reading a row.

    Raises:
        DataError: the split is absent or incomplete, empty, not parquet, or lacks the columns needed.
    """
    files = complete_shards(folder, split)
    schemas, rows = [], 0
    for file in files:
        with opened(file) as parquet:
            schemas.append(parquet.schema_arrow)
            rows += parquet.metadata.num_rows
    columns = [_columns(file, schema) for file, schema in zip(files, schemas, strict=True)]
    for file, found in zip(files, columns, strict=True):
        if found != columns[0]:
            raise DataError(f"{file} has other columns ({', '.join(found)}) than {files[0].name}")
    if rows == 0:
        raise DataError(f"{folder}: the {split} split is empty (0 rows in {len(files)} file(s)); download it again")
    image, label = columns[0]
    names = names_beside(folder) or _names_in_schema(schemas[0], label)
    return Table(files, image, label, rows, names)


def read_rows(table: Table) -> Iterator[Rows]:
    """Yield the rows of all shards in order, at most ``ROWS_AT_ONCE`` at a time.

    Raises:
        DataError: a shard is damaged behind its header.
    """
    import pyarrow.compute as pc

    for file in table.files:
        first = 0
        with opened(file) as parquet:
            columns = [table.image_column, table.label_column]
            for batch in parquet.iter_batches(batch_size=ROWS_AT_ONCE, columns=columns):
                images = pc.struct_field(batch.column(table.image_column), "bytes").to_pylist()
                # Nulls and what int64 cannot hold come out negative, and so out of range.
                labels = batch.column(table.label_column).cast("int64", safe=False).fill_null(-1)
                yield Rows(file, first, images, labels.to_numpy(zero_copy_only=False))
                first += len(images)


def split_shards(folder: Path, split: str) -> list[Path]:
    """Return the files ``split-*.parquet``, sorted."""
    return [path for path in sorted(folder.glob(f"{split}-*.parquet")) if path.is_file()]


def complete_shards(folder: Path, split: str) -> tuple[Path, ...]:
    """Return the split's shards in order; half of a data set must not pass for the whole."""
    files = split_shards(folder, split)
    if not files:
        others = ", ".join(path.name for path in sorted(folder.glob("*.parquet"))) or "none"
        raise DataError(f"{folder} has no {split} split: no {split}-*.parquet (parquet files there: {others})")
    numbered = [re.search(r"-(\d+)-of-(\d+)\.parquet$", file.name) for file in files]
    counts = {int(match[2]) for match in numbered if match}
    if len(counts) > 1:
        raise DataError(f"{folder} mixes {split} shards of different sets: {', '.join(file.name for file in files)}")
    if counts:
        present = {int(match[1]) for match in numbered if match}
        absent = [str(index) for index in range(counts.pop()) if index not in present]
        if absent:
            raise DataError(f"{folder} lacks shard(s) {', '.join(absent)} of {split} ({files[0].name}); fetch them")
    return tuple(files)


@contextmanager
def opened(file: Path) -> Iterator[pq.ParquetFile]:
    """Open a shard; whatever pyarrow finds wrong in it, then or while it is read, is a DataError."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        reason = _not_parquet(file)
        if reason:
            raise DataError(f"{file} {reason}")
        with pq.ParquetFile(file) as parquet:
            yield parquet
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{file} cannot be read as parquet ({reason}); download it again") from None


def _not_parquet(file: Path) -> str | None:
    """Return what the file is instead, and what to do, from its first and last bytes."""
    with file.open("rb") as stream:
        head = stream.read(64).lstrip().lower()
        size = stream.seek(0, 2)
        stream.seek(max(0, size - 4))
        tail = stream.read(4)
    if size == 0:
        return "is empty (0 bytes); download it again"
    if head.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "is an HTML page, not parquet: the answer of a failed download; download it again"
    if head.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the data; fetch it with git lfs pull"
    if not head.startswith(b"par1"):
        return "is not a parquet file; name a folder with the data set's own files"
    return None if tail == b"PAR1" else f"is cut short after {size} bytes; download it again"


def _columns(file: Path, schema: pa.Schema) -> tuple[str, str]:
    """Return the names of the image and the label column."""
    import pyarrow.types as types

    image = next((name for name in IMAGE_COLUMNS if name in schema.names), None)
    label = next((name for name in LABEL_COLUMNS if name in schema.names), None)
    if image is None or label is None:
        lacks = " or ".join(IMAGE_COLUMNS if image is None else LABEL_COLUMNS)
        raise DataError(f"{file} has no column {lacks} (columns there: {', '.join(schema.names) or 'none'})")
    kind = schema.field(image).type
    at = kind.get_field_index("bytes") if types.is_struct(kind) else -1
    if at < 0 or not (types.is_binary(kind.field(at).type) or types.is_large_binary(kind.field(at).type)):
        raise DataError(f"{file}: column {image} is {kind}, not a struct whose field 'bytes' holds encoded images")
    if not types.is_integer(schema.field(label).type):
        raise DataError(f"{file}: column {label} is {schema.field(label).type}, not integer class labels")
    return image, label


def names_beside(folder: Path) -> tuple[str, ...] | None:
    """Return the lines of ``classes.txt``; None where there is none.

    Raises:
        DataError: it is no text.
    """
    file = folder / "classes.txt"
    if not file.is_file():
        return None
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} cannot be read as text ({error}); it should have one class name a line") from None
    return tuple(line.strip() for line in lines if line.strip())


def _names_in_schema(schema: pa.Schema, label: str) -> tuple[str, ...] | None:
    """Return the ClassLabel names the ``datasets`` library leaves in the schema, where it did."""
    try:
        names = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"][label]["names"]
    except (KeyError, TypeError, ValueError):
        return None
    return tuple(str(name) for name in names) if isinstance(names, list) else None
