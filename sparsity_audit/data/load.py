"""From what the user names to a corpus."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

from sparsity_audit.data import photographs
from sparsity_audit.data.cache import decoded
from sparsity_audit.data.cifar import CIFARS, PIXEL_SCALE, parquet_source
from sparsity_audit.data.corpus import Corpus
from sparsity_audit.data.image_corpus import STREAM_ABOVE, Request
from sparsity_audit.data.parquet import find_parquet, has_shards
from sparsity_audit.data.source import Progress, Source
from sparsity_audit.data.torchvision_layout import download, find_layout, layout_source, unpack
from sparsity_audit.data.view import View
from sparsity_audit.errors import DataError, UsageError, did_you_mean
from sparsity_audit.schema.config import Split


def known_corpora() -> tuple[str, ...]:
    """Return the names that ``load_corpus`` knows."""
    return ("digits", *CIFARS, *photographs.NAMES)


def load_corpus(
    name_or_path: str,
    split: Split,
    root: Path | None = None,
    *,
    resize: int | None = None,
    crop: int | None = None,
    limit: int | None = None,
    seed: int = 0,
    stream_above: int = STREAM_ABOVE,
    progress: Progress | None = None,
) -> Corpus:
    """Return one split of a data set.

    Args:
        name_or_path: one of ``known_corpora()``; ``imagefolder:PATH`` or ``parquet:PATH``; or a folder with CIFAR as
            Hugging Face parquet files or in torchvision's layout (which of the two CIFARs it is, the files tell),
            or with TinyImageNet.
        split: ``train`` or ``test``.
        root: where a data set named by name is looked for; else the environment's ``SPARSITY_AUDIT_DATA``, else
            the user's data folder. A CIFAR that is not there is downloaded to it.
        resize: pixels of the shorter side afterwards, for photographs only; 256 for ``imagenet`` by default.
        crop: pixels of a central square, likewise; 224 for ``imagenet`` by default.
        limit: images drawn with ``seed``, as ``Corpus.sample`` draws them; of photographs no others are decoded.
        stream_above: bytes of decoded photographs above which they are decoded on every pass instead of cached.
        progress: told (images decoded, images in all) where the cache does not have the images yet.

    Raises:
        DataError: unknown, absent and offline, or bad data.
        UsageError: sizes that cannot be, or that do not apply.
    """
    request = Request(split, View(resize, crop), limit, seed, stream_above, progress)
    request.view.check()
    try:
        corpus = _photographs(name_or_path, root, request)
        if corpus is not None:
            return corpus
        if request.view != View():
            raise UsageError(f"--resize and --crop do not apply to {name_or_path}; parquet:PATH takes them")
        return _small(name_or_path, split, root, progress).sample(limit, seed)
    except OSError as error:  # such as a folder that may not be listed
        raise DataError(f"data set {name_or_path} cannot be looked up ({error}); name another folder") from None


def _photographs(name_or_path: str, root: Path | None, request: Request) -> Corpus | None:
    """Return a corpus that ``photographs`` knows; None for the others."""
    if name_or_path in photographs.NAMES:
        return photographs.by_name(name_or_path, _data_root(root)[0], request)
    named = photographs.path_of(name_or_path)
    if named is not None:
        return photographs.by_path(*named, request)
    if name_or_path in known_corpora():
        return None
    return photographs.by_folder(photographs.user_path(name_or_path), request)


def _small(name_or_path: str, split: Split, root: Path | None, progress: Progress | None) -> Corpus:
    """Return the digits or a CIFAR, decoded."""
    if name_or_path == "digits":
        from sparsity_audit.data.digits import load_digits_corpus

        return load_digits_corpus(split)
    source = _by_name(name_or_path, split, root) if name_or_path in CIFARS else _by_path(name_or_path, split)
    arrays = decoded(source, progress)
    return Corpus(
        name=source.name,
        split=split,
        images=arrays.images,
        labels=arrays.labels,
        class_names=arrays.class_names,
        normalisation=CIFARS[source.name].normalisation,
        pixel_scale=PIXEL_SCALE,
        sha256=arrays.sha256,
        available=len(arrays.labels),
    )


def _by_name(name: str, split: Split, given: Path | None) -> Source:
    root, is_default = _data_root(given)
    if not root.is_dir() and not is_default:
        raise DataError(f"no data folder {root} (--data-root, SPARSITY_AUDIT_DATA); create it to download {name} there")
    own = root / name
    if own.is_dir():
        source = _in_folder(own, split, name)
        if source is not None and source.name != name:
            raise DataError(f"{own} holds {CIFARS[source.name].title}, not {CIFARS[name].title}")
        if source is not None:
            return source
    if root.is_dir() and has_shards(root):
        source = parquet_source(root, split, name)
        if source.name == name:
            return source
    folder = find_layout(name, root) or _unpacked(name, root) or _downloaded(name, root)
    return layout_source(name, folder, split)


def _by_path(text: str, split: Split) -> Source:
    folder = photographs.user_path(text)
    if folder.is_file():
        raise DataError(f"{folder} is a file; name the folder that holds the data set's files")
    if not folder.is_dir():
        if any(separator and separator in text for separator in (os.sep, os.altsep)):
            raise DataError(f"no such folder: {folder} (or name one of: {', '.join(known_corpora())})")
        raise DataError(f"unknown data set {text!r}{did_you_mean(text.lower(), known_corpora())}, and no such folder")
    source = _in_folder(folder, split, None)
    if source is None:
        layouts = " or ".join(cifar.layout for cifar in CIFARS.values())
        raise DataError(
            f"{folder} holds no data set: neither train-*.parquet, test-*.parquet nor {layouts}; "
            "imagefolder:PATH and parquet:PATH read others"
        )
    return source


def _in_folder(folder: Path, split: Split, expected: str | None) -> Source | None:
    """Return the data set that ``folder`` holds in either layout, packed or not; None where it holds none."""
    parquet = find_parquet(folder)
    if parquet is not None:
        return parquet_source(parquet, split, expected)
    names = [expected] if expected else list(CIFARS)
    found = [(name, place) for name in names if (place := find_layout(name, folder) or _unpacked(name, folder))]
    if len(found) > 1:
        raise DataError(f"{folder} holds several data sets; name the folder of one: {found[0][1]} or {found[1][1]}")
    return layout_source(*found[0], split) if found else None


def _data_root(given: Path | None) -> tuple[Path, bool]:
    """Return the folder of the data sets, and whether nobody named it."""
    named = given or os.environ.get("SPARSITY_AUDIT_DATA")
    if named:
        return Path(named).expanduser(), False
    return Path(platformdirs.user_data_dir("sparsity-audit")) / "datasets", True


def _unpacked(name: str, folder: Path) -> Path | None:
    archive = folder / CIFARS[name].archive
    return unpack(name, archive) if archive.is_file() else None


def _downloaded(name: str, root: Path) -> Path:
    try:
        return download(name, root)
    except DataError as error:
        cifar = CIFARS[name]
        looked = f"{name}/, train-*.parquet, {cifar.layout}/, {cifar.archive}"
        raise DataError(
            f"{cifar.title} is not in {root} (looked for {looked}) and cannot be downloaded ({error}): connect to "
            "a network, or name the folder that holds it with --data-root or SPARSITY_AUDIT_DATA"
        ) from None
