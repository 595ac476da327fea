"""The embedded corpus: scikit-learn's 1,797 handwritten digits, 8×8, grey values 0 to 16."""

from __future__ import annotations

import numpy as np

from sparsity_audit.data.corpus import Corpus, corpus_digest
from sparsity_audit.schema.config import Split
from sparsity_audit.schema.spec import Normalisation

TEST_SIZE = 397
SPLIT_SEED = 0
PIXEL_SCALE = 16.0
NORMALISATION = Normalisation(mean=[0.30532366071428574], std=[0.37602959923595713])
"""Of the 1,400 training images; a test computes it again."""


def load_digits_corpus(split: Split) -> Corpus:
    """Return the digits in stored order: 1,400 to train on, or 397 to test with.

    The set has no split of its own; this one is stratified by label and drawn with ``SPLIT_SEED``.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    train, test = train_test_split(
        np.arange(len(bunch.target)), test_size=TEST_SIZE, random_state=SPLIT_SEED, stratify=bunch.target
    )
    chosen = np.sort(train if split == "train" else test)
    images = bunch.images[chosen].astype(np.uint8)[..., np.newaxis]
    labels = bunch.target[chosen].astype(np.int64)
    return Corpus(
        name="digits",
        split=split,
        images=images,
        labels=labels,
        class_names=tuple(str(name) for name in bunch.target_names),
        normalisation=NORMALISATION,
        pixel_scale=PIXEL_SCALE,
        sha256=corpus_digest(images, labels),
        available=len(labels),
    )
