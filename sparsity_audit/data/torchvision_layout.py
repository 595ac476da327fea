"""torchvision's layout of CIFAR: the authors' pickles, opened only after torchvision checked their md5.

The layout is pickled dictionaries, which run code when opened. ``torchvision.datasets.CIFAR10`` first compares
every file with the md5 of the published one; that is why these pickles, and no others, are acceptable.
"""

from __future__ import annotations

import socket
import tarfile
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np

from sparsity_audit.data.cifar import CIFARS, IMAGE_SHAPE
from sparsity_audit.data.corpus import Labels, Pixels
from sparsity_audit.data.source import Decoding, Source
from sparsity_audit.errors import DataError
from sparsity_audit.schema.config import Split

_CHUNK = 1000
_TIMEOUT_SECONDS = 20.0


def find_layout(name: str, folder: Path) -> Path | None:
    """Return the folder with the data set's pickles: ``folder`` itself, whatever its name, or the one in it."""
    cifar = CIFARS[name]
    for place in (folder, folder / cifar.layout):
        if place.is_dir() and (place.name == cifar.layout or (place / cifar.mark).is_file()):
            return place.resolve()
    return None


def layout_source(name: str, folder: Path, split: Split) -> Source:
    """Return the split of the data set whose pickles ``folder`` holds; nothing is opened yet."""
    files = tuple(path for path in sorted(folder.iterdir()) if path.is_file())
    return Source(name, split, files, lambda: _read(name, folder, split))


def unpack(name: str, archive: Path) -> Path:
    """Unpack the authors' archive beside itself, whole or not at all, and return the folder.

    Raises:
        DataError: the archive is not the published one, or there is no room or right to write.
    """
    from torchvision.datasets.utils import check_integrity, extract_archive

    if not check_integrity(archive, _dataset_class(name).tgz_md5):
        raise DataError(f"{archive} is not the published archive (md5 differs); delete it and download it again")
    layout = CIFARS[name].layout
    try:
        with _beside(archive.parent) as work:
            extract_archive(str(archive), str(work))
            return (work / layout).rename(archive.parent / layout)
    except (OSError, tarfile.TarError) as error:
        raise DataError(f"{archive} cannot be unpacked beside itself ({error}); unpack it elsewhere") from None


def download(name: str, root: Path) -> Path:
    """Download and unpack the data set into ``root``, whole or not at all, and return its folder.

    Raises:
        DataError: there is no network, or ``root`` cannot be written; the text is the reason alone.
    """
    layout = CIFARS[name].layout
    before = socket.getdefaulttimeout()
    try:
        socket.setdefaulttimeout(_TIMEOUT_SECONDS)  # urllib's own is to wait for ever
        root.mkdir(parents=True, exist_ok=True)
        with _beside(root) as work:
            _dataset_class(name)(root=str(work), download=True)
            return (work / layout).rename(root / layout)
    except (OSError, HTTPException, RuntimeError, tarfile.TarError) as error:
        raise DataError(" ".join(str(error).split())) from None
    finally:
        socket.setdefaulttimeout(before)


@contextmanager
def _beside(root: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=root, prefix=".unpacking-") as work, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy deprecates what the old pickles of numpy arrays say
        yield Path(work)


def _dataset_class(name: str) -> Any:
    from torchvision import datasets

    return {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]


def _read(name: str, folder: Path, split: Split) -> Decoding:
    published = _dataset_class(name)
    here = type(published.__name__, (published,), {"base_folder": folder.name})
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = here(root=str(folder.parent), train=split == "train")
    except (RuntimeError, OSError) as error:
        raise DataError(_what_differs(published, folder) or f"{folder} cannot be read ({error})") from None
    images, labels = dataset.data, np.asarray(dataset.targets, dtype=np.int64)
    return Decoding(len(labels), IMAGE_SHAPE, tuple(dataset.classes), _chunks(images, labels))


def _what_differs(published: Any, folder: Path) -> str | None:
    from torchvision.datasets.utils import check_integrity

    meta = (published.meta["filename"], published.meta["md5"])
    files = [*published.train_list, *published.test_list, meta]
    absent = [name for name, _ in files if not (folder / name).is_file()]
    if absent:
        return f"{folder} lacks {', '.join(absent)}; delete the folder and download the data set again"
    differing = [name for name, md5 in files if not check_integrity(folder / name, md5)]
    if differing:
        what = ", ".join(differing)
        return f"{folder}: {what} differ(s) from the published file (md5), so no pickle is opened; download it again"
    return None


def _chunks(images: Pixels, labels: Labels) -> Iterator[tuple[Pixels, Labels]]:
    for start in range(0, len(labels), _CHUNK):
        yield images[start : start + _CHUNK], labels[start : start + _CHUNK]
