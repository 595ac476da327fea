"""Decoded images on disk: read once, memory-mapped ever after.

An entry is a folder ``corpora/<name>-<split>-<key>`` with ``images.npy``, ``labels.npy`` and ``meta.json``; the
key says from which files, of which size and time, it was decoded. The cache may always be deleted, and nothing
depends on it being writable. Measured for the 50,000 WebP images of CIFAR-10: 4.1 s to decode, hash and write,
0.2 s to map and hash again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import platformdirs

from sparsity_audit.data.corpus import Labels, Pixels, corpus_digest
from sparsity_audit.data.source import Decoding, Progress, Source

FORMAT_VERSION = 1
"""Part of every key: a new format never reads an old entry."""


@dataclass(frozen=True, eq=False)
class Arrays:
    """A decoded split; ``images`` is a memory map where the cache could be written."""

    images: Pixels
    labels: Labels
    class_names: tuple[str, ...]
    sha256: str


def cache_folder() -> Path:
    """Return the folder of the decoded corpora, which need not exist yet."""
    root = os.environ.get("SPARSITY_AUDIT_CACHE") or platformdirs.user_cache_dir("sparsity-audit")
    return Path(root).expanduser() / "corpora"


def decoded(source: Source, progress: Progress | None = None) -> Arrays:
    """Return the decoded split, from the cache where it is there and sound.

    A damaged entry is rebuilt; where the cache cannot be written the images are decoded into memory.

    Raises:
        DataError: the source's data are bad.
    """
    entry = cache_folder() / _entry_name(source)
    found = _read(entry)
    if found is not None:
        return found
    try:
        built = _build(entry, source, progress)
    except OSError:  # of the cache alone: what the source raises is a DataError
        built = None
    return built or _in_memory(source.decode(), progress)


def _entry_name(source: Source) -> str:
    stats = [(str(path.resolve()), path.stat()) for path in source.files]
    identity = [FORMAT_VERSION, *((path, stat.st_size, stat.st_mtime_ns) for path, stat in stats)]
    identity += [source.variant] if source.variant else []
    key = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:24]
    return f"{source.name}-{source.split}-{key}"


def _read(entry: Path) -> Arrays | None:
    """Return the entry where it is whole, None where it is absent or damaged.

    The digest is computed anew, so the report never names images that were not the ones measured.
    """
    try:
        meta = json.loads((entry / "meta.json").read_text(encoding="utf-8"))
        images = np.lib.format.open_memmap(entry / "images.npy", mode="r")
        labels = np.array(np.lib.format.open_memmap(entry / "labels.npy", mode="r"))
        class_names, sha256 = tuple(meta["class_names"]), meta["sha256"]
        intact = images.dtype == np.uint8 and labels.dtype == np.int64 and corpus_digest(images, labels) == sha256
    except (OSError, EOFError, ValueError, KeyError, TypeError):
        return None
    return Arrays(images, labels, class_names, sha256) if intact else None


def _build(entry: Path, source: Source, progress: Progress | None) -> Arrays | None:
    """Decode into a folder of this process's own, then move it into place whole."""
    entry.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=entry.parent, prefix=".build-"))
    try:
        _write(work, source.decode(), progress)
        _publish(work, entry)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return _read(entry)


def _write(folder: Path, decoding: Decoding, progress: Progress | None) -> None:
    labels: list[Labels] = []
    header = {"descr": "|u1", "fortran_order": False, "shape": (decoding.total, *decoding.shape)}
    # Written as a stream: a full disk is an OSError here, but kills the process when hit through a memory map.
    with (folder / "images.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for chunk in _reported(decoding, progress):
            file.write(chunk[0].tobytes())
            labels.append(chunk[1])
    joined = np.concatenate(labels)
    np.save(folder / "labels.npy", joined, allow_pickle=False)
    images = np.lib.format.open_memmap(folder / "images.npy", mode="r")
    meta = {"sha256": corpus_digest(images, joined), "class_names": decoding.class_names}
    (folder / "meta.json").write_text(json.dumps(meta, ensure_ascii=False), encoding="utf-8")


def _publish(work: Path, entry: Path) -> None:
    try:
        work.rename(entry)
    except OSError:
        if _read(entry) is not None:  # another process was faster: its entry is as good
            return
        # A folder that holds something cannot be replaced: move the damaged one aside, into what gets deleted.
        aside = Path(tempfile.mkdtemp(dir=entry.parent, prefix=".build-"))
        try:
            entry.rename(aside / "damaged")
            work.rename(entry)
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def _in_memory(decoding: Decoding, progress: Progress | None) -> Arrays:
    images = np.empty((decoding.total, *decoding.shape), dtype=np.uint8)
    labels = np.empty(decoding.total, dtype=np.int64)
    done = 0
    for chunk in _reported(decoding, progress):
        end = done + len(chunk[1])
        images[done:end], labels[done:end] = chunk
        done = end
    return Arrays(images, labels, decoding.class_names, corpus_digest(images, labels))


def _reported(decoding: Decoding, progress: Progress | None) -> Iterator[tuple[Pixels, Labels]]:
    done = 0
    for images, labels in decoding.chunks:
        yield images, labels
        done += len(labels)
        if progress is not None:
            progress(done, decoding.total)
