"""The real CIFARs."""

from __future__ import annotations

import numpy as np
import pytest

from sparsity_audit.data.load import load_corpus

pytestmark = pytest.mark.shared


@pytest.fixture(autouse=True)
def _shared_cache(shared_cache, monkeypatch):
    monkeypatch.setenv("SPARSITY_AUDIT_CACHE", str(shared_cache))


@pytest.mark.parametrize(("name", "classes"), [("cifar10", 10), ("cifar100", 100)])
def test_test_split(shared, name, classes):
    corpus = load_corpus(name, "test", shared / "data")
    assert (len(corpus), corpus.shape, corpus.available) == (10_000, (3, 32, 32), 10_000)
    np.testing.assert_array_equal(np.bincount(corpus.labels), np.full(classes, 10_000 // classes))
    assert corpus.class_names == tuple((shared / "data" / name / "classes.txt").read_text().split())
    again = load_corpus(str(shared / "data" / name), "test")
    assert isinstance(again.images, np.memmap)
    assert again.sha256 == corpus.sha256


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_hard_coded_names_are_the_real_ones(shared, name):
    from sparsity_audit.data.cifar import CIFARS

    assert CIFARS[name].class_names == tuple((shared / "data" / name / "classes.txt").read_text().split())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_training_split_has_the_published_means_and_deviations(shared, name):
    corpus = load_corpus(name, "train", shared / "data")
    assert len(corpus) == 50_000
    counts = np.stack([np.bincount(corpus.images[..., channel].ravel(), minlength=256) for channel in range(3)])
    scale = np.arange(256) / 255
    mean = counts @ scale / counts.sum(axis=1)
    std = np.sqrt(counts @ scale**2 / counts.sum(axis=1) - mean**2)
    assert mean.round(4).tolist() == corpus.normalisation.mean
    assert std.round(4).tolist() == corpus.normalisation.std


def test_memory_of_a_pass_is_that_of_a_batch(shared):
    corpus = load_corpus("cifar10", "test", shared / "data")
    sizes = [images.nbytes for images, _ in corpus.batches(128)]
    assert max(sizes) == 128 * 32 * 32 * 3
    assert sum(sizes) == corpus.images.nbytes


def test_samples_repeat(shared):
    corpus = load_corpus("cifar10", "test", shared / "data")
    assert corpus.sample(500, seed=7).sha256 == corpus.sample(500, seed=7).sha256
    assert corpus.sample(500, seed=7).sha256 != corpus.sample(500, seed=8).sha256
