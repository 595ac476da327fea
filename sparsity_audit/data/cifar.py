"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009): their facts, and what tells one from the other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sparsity_audit.data.decode import decode_table
from sparsity_audit.data.parquet import Table, open_table
from sparsity_audit.data.source import Decoding, Source
from sparsity_audit.errors import DataError
from sparsity_audit.schema.config import Split
from sparsity_audit.schema.spec import Normalisation

IMAGE_SHAPE = (32, 32, 3)
PIXEL_SCALE = 255.0


@dataclass(frozen=True)
class Cifar:
    """What is known of one of the two data sets."""

    title: str
    class_names: tuple[str, ...]
    normalisation: Normalisation
    """As published, to four digits; those of the training split."""
    layout: str
    """Folder of torchvision's layout, which is the one of the authors' archive."""
    mark: str
    """A file that tells a renamed folder of that layout."""
    archive: str


_CIFAR10_NAMES = "airplane automobile bird cat deer dog frog horse ship truck"
_CIFAR100_NAMES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant
flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree
motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate
poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider
squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle
wardrobe whale willow_tree wolf woman worm
"""

CIFARS = {
    "cifar10": Cifar(
        title="CIFAR-10",
        class_names=tuple(_CIFAR10_NAMES.split()),
        normalisation=Normalisation(mean=[0.4914, 0.4822, 0.4465], std=[0.2470, 0.2435, 0.2616]),
        layout="cifar-10-batches-py",
        mark="batches.meta",
        archive="cifar-10-python.tar.gz",
    ),
    "cifar100": Cifar(
        title="CIFAR-100",
        class_names=tuple(_CIFAR100_NAMES.split()),
        normalisation=Normalisation(mean=[0.5071, 0.4865, 0.4409], std=[0.2673, 0.2564, 0.2762]),
        layout="cifar-100-python",
        mark="meta",
        archive="cifar-100-python.tar.gz",
    ),
}


def parquet_source(folder: Path, split: Split, expected: str | None) -> Source:
    """Return the split of the CIFAR whose shards ``folder`` holds.

    Args:
        folder: holds ``train-*.parquet`` and ``test-*.parquet``.
        split: the one to read.
        expected: ``cifar10`` or ``cifar100``, believed where the files themselves don't tell.

    Raises:
        DataError: the shards cannot be read, or hold another data set.
    """
    table = open_table(folder, split)
    name = _identify(folder, table, expected)
    names = table.class_names or CIFARS[name].class_names

    def decode() -> Decoding:
        return Decoding(table.rows, IMAGE_SHAPE, names, decode_table(table, IMAGE_SHAPE, len(names)))

    beside = folder / "classes.txt"
    return Source(name, split, (*table.files, *([beside] if beside.is_file() else [])), decode)


def _identify(folder: Path, table: Table, expected: str | None) -> str:
    """Tell the data set by its class names; without names by the label column, then by what was asked for."""
    names = table.class_names
    if names is None:
        return "cifar100" if table.label_column == "fine_label" else expected or "cifar10"
    name = next((key for key, cifar in CIFARS.items() if len(cifar.class_names) == len(names)), None)
    if name is None:
        raise DataError(f"{folder} names {len(names)} classes, but CIFAR-10 has 10 and CIFAR-100 has 100")
    # SVHN and others have ten classes too. Most names must agree, in label order: spellings differ (plane, car).
    known = CIFARS[name].class_names
    differing = [(own, theirs) for own, theirs in zip(known, names, strict=True) if own != theirs.lower()]
    if len(differing) * 2 > len(known):
        own, theirs = differing[0]
        title = CIFARS[name].title
        raise DataError(f"{folder} is not {title}: it names a class {theirs!r} where {title} has {own!r}")
    return name
