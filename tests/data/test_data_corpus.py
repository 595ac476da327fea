"""Corpus: sampling, batches, and a digest that neither order nor container changes."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from sparsity_audit.data.corpus import Corpus, corpus_digest
from sparsity_audit.schema.spec import Normalisation


def a_corpus(count: int = 25) -> Corpus:
    images = np.random.default_rng(3).integers(0, 256, (count, 4, 5, 3), dtype=np.uint8)
    images[:, 0, 0, 0] = np.arange(count)  # every image says which one it is
    labels = np.arange(count, dtype=np.int64) % 7
    grey = Normalisation(mean=[0.5] * 3, std=[0.5] * 3)
    names = tuple("abcdefg")
    return Corpus("cifar10", "train", images, labels, names, grey, 255.0, corpus_digest(images, labels), count)


def test_shape_is_channels_height_width():
    assert a_corpus().shape == (3, 4, 5)


def test_sample_is_sorted_without_replacement_and_keeps_labels_with_their_images():
    whole = a_corpus()
    sample = whole.sample(10, seed=4)
    chosen = sample.images[:, 0, 0, 0]
    assert len(sample) == 10
    assert (np.diff(chosen.astype(int)) > 0).all()
    np.testing.assert_array_equal(sample.images, whole.images[chosen])
    np.testing.assert_array_equal(sample.labels, whole.labels[chosen])
    assert (sample.available, sample.seed, sample.name) == (25, 4, "cifar10")


def test_sample_is_decided_by_its_seed():
    whole = a_corpus()
    assert whole.sample(10, seed=0).sha256 == whole.sample(10, seed=0).sha256
    assert whole.sample(10, seed=0).sha256 != whole.sample(10, seed=1).sha256
    # The stream is frozen by numpy: the same images on every machine, in every version.
    np.testing.assert_array_equal(whole.sample(5, seed=0).images[:, 0, 0, 0], [2, 5, 11, 16, 19])


def test_a_larger_sample_holds_the_smaller_one():
    whole = a_corpus()
    small, large = (set(whole.sample(limit, seed=9).images[:, 0, 0, 0]) for limit in (6, 12))
    assert small < large


@pytest.mark.parametrize("limit", [None, 25, 26])
def test_sample_of_everything_is_the_corpus_itself(limit):
    whole = a_corpus()
    assert whole.sample(limit, seed=0) is whole
    assert whole.seed is None


def test_sample_takes_any_integer_seed_but_no_empty_sample():
    assert len(a_corpus().sample(3, seed=-1)) == 3
    assert len(a_corpus().sample(3, seed=2**40)) == 3
    with pytest.raises(ValueError, match="at least 1 image"):
        a_corpus().sample(0, seed=0)


@pytest.mark.parametrize("size", [1, 7, 25, 100])
def test_batches_are_views_that_together_are_the_corpus(size):
    whole = a_corpus()
    batches = list(whole.batches(size))
    assert all(len(images) == len(labels) <= size for images, labels in batches)
    assert all(np.shares_memory(images, whole.images) for images, _ in batches)
    np.testing.assert_array_equal(np.concatenate([images for images, _ in batches]), whole.images)
    np.testing.assert_array_equal(np.concatenate([labels for _, labels in batches]), whole.labels)


def test_digest_ignores_order_and_memory_layout_but_nothing_else():
    whole = a_corpus()
    order = np.random.default_rng(0).permutation(len(whole))
    planes = np.ascontiguousarray(whole.images.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1)  # as torchvision's is
    assert corpus_digest(whole.images[order], whole.labels[order]) == whole.sha256
    assert corpus_digest(planes, whole.labels) == whole.sha256
    assert corpus_digest(whole.images, whole.labels[order]) != whole.sha256
    assert corpus_digest(whole.images[1:], whole.labels[1:]) != whole.sha256
    assert corpus_digest(whole.images.reshape(-1, 5, 4, 3), whole.labels) != whole.sha256
    brighter = whole.images.copy()
    brighter[7, 1, 1, 1] ^= 1
    assert corpus_digest(brighter, whole.labels) != whole.sha256


def test_digest_is_what_its_docstring_says():
    images = np.array([[[[2]]], [[[1]]]], dtype=np.uint8)
    each = sorted(
        hashlib.sha256(bytes([label] + [0] * 7) + bytes([pixel])).digest() for label, pixel in [(5, 2), (6, 1)]
    )
    expected = hashlib.sha256(b"2x1x1x1" + each[0] + each[1]).hexdigest()
    assert corpus_digest(images, np.array([5, 6])) == expected
