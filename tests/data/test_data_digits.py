"""The embedded digits."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits

from sparsity_audit.data.load import load_corpus


def test_the_two_splits_are_all_the_digits_and_share_none():
    train, test = load_corpus("digits", "train"), load_corpus("digits", "test")
    assert (len(train), len(test)) == (1400, 397)
    assert (train.shape, train.images.dtype, train.labels.dtype) == ((1, 8, 8), np.uint8, np.int64)
    original = load_digits()
    labelled = [
        (image.astype(int).tobytes(), label) for image, label in zip(original.images, original.target, strict=True)
    ]
    both = [
        (image.astype(int).tobytes(), label)
        for corpus in (train, test)
        for image, label in zip(corpus.images[..., 0], corpus.labels, strict=True)
    ]
    assert sorted(both) == sorted(labelled)


def test_splits_are_stratified():
    train, test = load_corpus("digits", "train"), load_corpus("digits", "test")
    shares = np.bincount(test.labels) / (np.bincount(train.labels) + np.bincount(test.labels))
    np.testing.assert_allclose(shares, 397 / 1797, atol=0.004)


def test_normalisation_is_the_training_splits_on_both():
    train, test = load_corpus("digits", "train"), load_corpus("digits", "test")
    scaled = train.images.astype(np.float64) / 16
    assert train.normalisation == test.normalisation
    assert train.normalisation.mean == pytest.approx([scaled.mean()], abs=1e-12)
    assert train.normalisation.std == pytest.approx([scaled.std()], abs=1e-12)
    assert (train.pixel_scale, train.images.max()) == (16.0, 16)


def test_the_split_is_the_one_the_zoo_was_trained_on():
    # Another split would put training images into the test split of every digits model ever published.
    assert load_corpus("digits", "train").sha256.startswith("0b216691e7e264e6")
    assert load_corpus("digits", "test").sha256.startswith("507860f417cdca2a")


def test_names_and_size():
    test = load_corpus("digits", "test")
    assert test.class_names == tuple("0123456789")
    assert (test.name, test.split, test.available, test.seed) == ("digits", "test", 397, None)
