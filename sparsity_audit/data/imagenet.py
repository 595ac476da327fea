"""ImageNet and TinyImageNet in the layouts of their archives."""

from __future__ import annotations

from pathlib import Path

from sparsity_audit.data.image_folder import File, FolderListing, class_listing, folder_listing, stat_file
from sparsity_audit.data.view import View
from sparsity_audit.errors import DataError
from sparsity_audit.schema.config import Split
from sparsity_audit.schema.spec import Normalisation

NORMALISATION = Normalisation(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])
"""Of ImageNet's training images, as published with torchvision's models, which were trained with it; what networks
for other photographs are usually given too."""

VIEW = View(resize=256, crop=224)
"""One central crop of 224, after a resize to 256 (Sec. 4 of the paper resizes to 256×256; here the shorter side,
as torchvision's models are tested)."""

FOLDERS = {"imagenet": ("imagenet", "ILSVRC2012", "ILSVRC"), "tinyimagenet": ("tinyimagenet", "tiny-imagenet-200")}
"""Where below the data root each data set is looked for; then in the root itself."""
TITLES = {"imagenet": "ImageNet", "tinyimagenet": "TinyImageNet"}
_MARKS = {"imagenet": ("train", "val"), "tinyimagenet": ("wnids.txt",)}
_ARCHIVES = {"imagenet": "train/ and val/ with a folder for each class", "tinyimagenet": "tiny-imagenet-200.zip"}


def find(name: str, root: Path) -> Path:
    """Return the folder of the data set below a data root, or the root itself.

    Raises:
        DataError: it is in none of the places; neither data set is downloaded.
    """
    places = [*(root / folder for folder in FOLDERS[name]), root]
    for place in places:
        if any((place / mark).exists() for mark in _MARKS[name]):
            return place
    looked = ", ".join(f"{folder}/" for folder in FOLDERS[name])
    raise DataError(
        f"{TITLES[name]} is not in {root} (looked for {looked} and {_MARKS[name][0]}) and is not downloaded: put "
        f"{_ARCHIVES[name]} there, unpacked, or name its folder with --data-root or SPARSITY_AUDIT_DATA"
    )


def listing(name: str, folder: Path, split: Split) -> FolderListing:
    """List one split; the test split is what both data sets call val, whose labels are public.

    Raises:
        DataError: the folder is not as the archive, or its files disagree.
    """
    if name == "tinyimagenet":
        return _tiny(folder, split)
    return folder_listing(folder, split)[0]


def is_tiny(folder: Path) -> bool:
    """Return whether the folder is TinyImageNet as its archive unpacks."""
    return (folder / "wnids.txt").is_file() and (folder / "train").is_dir()


def _tiny(folder: Path, split: Split) -> FolderListing:
    """List TinyImageNet; labels are ranks of the sorted ids, as in torchvision's ``ImageFolder`` on train/."""
    ids = sorted(line.strip() for line in _lines(folder / "wnids.txt") if line.strip())
    words = _words(folder / "words.txt")
    names = [words.get(wnid, wnid) for wnid in ids]
    annotations = folder / "val" / "val_annotations.txt"
    if split == "train" or not annotations.is_file():  # some unpack val/ into class folders
        place = folder / ("train" if split == "train" else "val")
        if not place.is_dir():
            raise DataError(f"{folder} has no folder {place.name}/; unpack the archive again")
        return class_listing(place, ids, names)
    labels = {wnid: label for label, wnid in enumerate(ids)}
    return FolderListing.of(folder / "val" / "images", _annotated(annotations, labels), names)


def _annotated(annotations: Path, labels: dict[str, int]) -> list[File]:
    """Return the images that a file of ``name<tab>id<tab>box`` lines lists, in its order."""
    files: list[File] = []
    missing: list[str] = []
    for number, line in enumerate(_lines(annotations), 1):
        name, _, rest = line.partition("\t")
        wnid = rest.split("\t")[0].strip()
        if not line.strip():
            continue
        if wnid not in labels or not _plain(name):
            raise DataError(f"{annotations}, line {number}: not an image and a known class: {line!r}")
        try:
            files.append(stat_file(annotations.parent / "images", name, labels[wnid]))
        except OSError:
            missing.append(name)
    if missing or not files:
        what = f"{len(missing)} of {len(missing) + len(files)} images are missing"
        first = f", the first is {missing[0]}" if missing else ""
        raise DataError(f"{annotations.parent / 'images'}: {what}{first}; unpack the archive again")
    return files


def _plain(name: str) -> bool:
    return bool(name) and Path(name).name == name


def _words(file: Path) -> dict[str, str]:
    """Return the first of each id's words."""
    if not file.is_file():
        return {}
    pairs = (line.split("\t", 1) for line in _lines(file) if "\t" in line)
    return {wnid.strip(): words.split(",")[0].strip() for wnid, words in pairs}


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise DataError(f"{file} cannot be read ({reason}); unpack the archive again") from None
