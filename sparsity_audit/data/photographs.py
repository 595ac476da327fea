"""Corpora of photographs, by what names them: ``imagenet``, ``imagefolder:PATH`` and so on."""

from __future__ import annotations

import os
from pathlib import Path

from sparsity_audit.data import imagenet
from sparsity_audit.data.corpus import Corpus
from sparsity_audit.data.image_corpus import Request, image_corpus
from sparsity_audit.data.image_folder import folder_listing
from sparsity_audit.data.image_parquet import parquet_listing
from sparsity_audit.data.view import View
from sparsity_audit.errors import DataError

NAMES = tuple(imagenet.TITLES)
KINDS = ("imagefolder", "parquet")


def path_of(data: str) -> tuple[str, str] | None:
    """Return (kind, path) of ``imagefolder:PATH`` or ``parquet:PATH``; None for anything else."""
    kind, colon, path = data.partition(":")
    return (kind, path) if colon and kind in KINDS else None


def user_path(text: str) -> Path:
    """Return a path as the user wrote it.

    Raises:
        DataError: it begins with a ``~user`` who is not there.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise DataError(f"data set {text} cannot be looked up ({error}); name another folder") from None


def by_name(name: str, root: Path, request: Request) -> Corpus:
    """Return ImageNet or TinyImageNet below a data root.

    Raises:
        DataError: it is not there, or bad.
    """
    return _named(name, imagenet.find(name, root), request)


def by_folder(folder: Path, request: Request) -> Corpus | None:
    """Return TinyImageNet where ``folder`` is its archive's; None where it is something else."""
    return _named("tinyimagenet", folder, request) if imagenet.is_tiny(folder) else None


def by_path(kind: str, text: str, request: Request) -> Corpus:
    """Return what ``imagefolder:PATH`` or ``parquet:PATH`` names.

    Raises:
        DataError: it is not there, or bad.
    """
    path = user_path(text)
    if not text or not path.exists() or (kind == "imagefolder" and not path.is_dir()):
        raise DataError(f"{kind}:{text}: no such folder; write {kind}:PATH")
    list_split = folder_listing if kind == "imagefolder" else parquet_listing
    listing, has_splits = list_split(path, request.split)
    name = f"{kind}:{os.fsencode(path.resolve().name).decode('utf-8', 'replace')}"
    return image_corpus(name if has_splits else f"{name} (one split for both)", kind, listing, request)


def _named(name: str, folder: Path, request: Request) -> Corpus:
    if name == "imagenet":
        # Each size has its own default, so that --crop 160 keeps the resize.
        usual, given = imagenet.VIEW, request.view
        view = View(given.resize or usual.resize, given.crop or usual.crop)
        view.check()
        request = Request(request.split, view, request.limit, request.seed, request.stream_above, request.progress)
    return image_corpus(name, name, imagenet.listing(name, folder, request.split), request)
