"""The two splits that a spec trains on and tests with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sparsity_audit.data.corpus import Corpus
from sparsity_audit.data.digits import SPLIT_SEED, TEST_SIZE
from sparsity_audit.data.load import load_corpus
from sparsity_audit.errors import DataError
from sparsity_audit.schema.config import Split
from sparsity_audit.schema.report import NormalisationInfo
from sparsity_audit.schema.spec import DataSpec
from sparsity_audit.stats.collect import Normaliser

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much is done, and how much there is."""


@dataclass(frozen=True)
class Augmentation:
    """What is done to a training image at random."""

    flip: bool
    crop: int | None
    """Pixels of a square at a random place; None: the whole image."""


def training_corpora(data: DataSpec, root: Path | None, progress: Progress | None = None) -> tuple[Corpus, Corpus]:
    """Return the training and the test split as the network is shown them, but for what is done at random.

    Photographs are resized, and the central square of that size is kept: training cuts its crops from it (Sec. 4).

    Raises:
        DataError: absent or bad data, or a split that the data set does not have.
    """
    _check_split(data)

    def load(split: Split, crop: int | None) -> Corpus:
        def tell(done: int, total: int) -> None:
            if progress is not None:
                progress(f"decoding {data.name} {split}", done, total)

        return load_corpus(data.name, split, root, resize=data.resize, crop=crop, progress=tell)

    train, test = load("train", data.resize), load("test", data.crop or data.resize)
    if train.class_names != test.class_names:
        raise DataError(
            f"{data.name}: the training split has {len(train.class_names)} classes and the test split "
            f"{len(test.class_names)}, or others; give both the same folders"
        )
    return train, test


def augmentation(data: DataSpec) -> Augmentation:
    """Return what is done to training images at random."""
    return Augmentation(flip=data.flip, crop=data.crop)


def normaliser(corpus: Corpus, device: str) -> Normaliser:
    """Return what scales pixels by the corpus's own mean and deviation."""
    own = corpus.normalisation
    info = NormalisationInfo(mean=own.mean, std=own.std, pixel_scale=corpus.pixel_scale, source="corpus")
    return Normaliser(info, device)


def _check_split(data: DataSpec) -> None:
    if data.name != "digits":
        if data.test_size is not None:
            raise DataError(f"data.test_size: {data.name} has a test split of its own; leave test_size out")
        return
    if data.test_size not in (None, TEST_SIZE) or data.split_seed != SPLIT_SEED:
        raise DataError(
            f"data.test_size, data.split_seed: the split of the digits is fixed: {TEST_SIZE} test images drawn with "
            f"seed {SPLIT_SEED}; give these or leave them out"
        )
