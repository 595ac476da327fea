"""Images as files: class folders, with or without a folder for each split."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sparsity_audit.data.listing import Indices, Listing
from sparsity_audit.data.view import Encoded
from sparsity_audit.errors import DataError
from sparsity_audit.schema.config import Split

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff")
SPLIT_FOLDERS: dict[Split, tuple[str, ...]] = {"train": ("train",), "test": ("test", "val", "valid", "validation")}
"""Names that a split's folder may have, the first one found counts."""


class File(NamedTuple):
    """One image file."""

    name: str
    """Relative to the split's folder, with ``/``."""
    label: int
    size: int
    changed: int
    """Nanoseconds."""


@dataclass(frozen=True, eq=False)
class FolderListing(Listing):
    """Image files below one folder."""

    root: Path
    files: tuple[File, ...]

    @classmethod
    def of(cls, root: Path, files: Sequence[File], class_names: Iterable[str]) -> FolderListing:
        """Return the listing of ``files``, in their order."""
        labels = np.array([file.label for file in files], dtype=np.int64)
        return cls(labels, tuple(class_names), root, tuple(files))

    def encoded(self, indices: Indices) -> Iterator[Encoded]:
        """Yield the files themselves: the threads that decode them read them too."""
        return (self.root / self.files[index].name for index in indices)

    def where(self, index: int) -> str:
        """Return the file's path."""
        return str(self.root / self.files[index].name)

    def identity(self, index: int) -> str:
        """Return the file's relative name and size."""
        return f"{self.files[index].name} {self.files[index].size}"

    def stamp(self) -> str:
        """Return a digest of place, names, labels, sizes and times."""
        digest = hashlib.sha256(repr((str(self.root.resolve()), self.class_names)).encode())
        for file in self.files:
            digest.update(repr(tuple(file)).encode("utf-8", "surrogateescape"))
        return digest.hexdigest()


def folder_listing(folder: Path, split: Split) -> tuple[FolderListing, bool]:
    """List one split of a folder of class folders, the files of a class in all folders below its own.

    Returns:
        The listing, and whether the folder has splits; one that has none serves as both. Labels are the ranks of
        the sorted class folders' names, as in torchvision's ``ImageFolder``. Hidden files, and files of other
        kinds than images, are passed over.

    Raises:
        DataError: no class folders, a class without images, the split is absent, or its classes are not those of
            the training split.
    """
    inside = _folders(folder)
    found = {kind: [name for name in names if name in inside] for kind, names in SPLIT_FOLDERS.items()}
    if not any(found.values()):
        return class_listing(folder, inside), False
    if not found[split]:
        wanted = " or ".join(f"{name}/" for name in SPLIT_FOLDERS[split])
        raise DataError(f"{folder} has no {split} split: no folder {wanted} (folders there: {', '.join(inside)})")
    place = folder / found[split][0]
    classes = _folders(folder / "train") if found["train"] else _folders(place)
    return class_listing(place, classes), True


def class_listing(folder: Path, classes: Sequence[str], class_names: Sequence[str] | None = None) -> FolderListing:
    """List the images of ``folder`` by class folder; a label is a place in ``classes``.

    Raises:
        DataError: the folder's class folders are not ``classes``, or one holds no image.
    """
    present = _folders(folder)
    if not present:
        raise DataError(f"{folder} holds no class folders; it should have a folder of images for each class")
    _check_classes(folder, present, classes)
    files, empty = list[File](), list[str]()
    for label, name in enumerate(classes):
        before = len(files)
        files += _images(folder, name, label)
        if len(files) == before:
            empty.append(name)
    if empty:
        raise DataError(f"{folder}: {len(empty)} of {len(classes)} class folders hold no image: {empty[0]}, …")
    return FolderListing.of(folder, files, class_names or classes)


def stat_file(root: Path, name: str, label: int) -> File:
    """Return what is listed of one file.

    Raises:
        OSError: it is not there.
    """
    status = (root / name).stat()
    return File(name, label, status.st_size, status.st_mtime_ns)


def _check_classes(folder: Path, present: Sequence[str], classes: Sequence[str]) -> None:
    absent, extra = sorted(set(classes) - set(present)), sorted(set(present) - set(classes))
    if absent or extra:
        parts = [f"lacks {absent[0]}"] if absent else []
        parts += [f"has {extra[0]} besides"] if extra else []
        raise DataError(
            f"{folder} has {len(present)} class folders where {len(classes)} are expected: it {' and '.join(parts)}; "
            "give every split the same classes"
        )


def _folders(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))


def _images(root: Path, below: str, label: int) -> Iterator[File]:
    """Yield the images in a folder and below it, sorted by name; ``below`` is relative to ``root``."""
    with os.scandir(root / below) as found:
        entries = sorted((entry for entry in found if not entry.name.startswith(".")), key=lambda entry: entry.name)
    for entry in entries:
        name = f"{below}/{entry.name}"
        if entry.is_dir(follow_symlinks=False):
            yield from _images(root, name, label)
        elif entry.name.lower().endswith(SUFFIXES) and entry.is_file():
            status = entry.stat()
            yield File(name, label, status.st_size, status.st_mtime_ns)
