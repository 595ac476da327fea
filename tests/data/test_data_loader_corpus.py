"""``Corpus.from_loader``: what a loader yields, held as it is, and what it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from sparsity_audit.data.corpus import Corpus, corpus_digest
from sparsity_audit.errors import DataError


def batch(count: int, *, size: int = 4, labels: Any = None) -> tuple[Any, Any]:
    images = torch.arange(count * 2 * size * size, dtype=torch.float32).reshape(count, 2, size, size)
    return images, torch.arange(count) if labels is None else labels


def test_batches_are_joined_in_order_channels_last() -> None:
    corpus = Corpus.from_loader([batch(3), batch(2)])
    expected = np.concatenate([np.moveaxis(batch(n)[0].numpy(), 1, 3) for n in (3, 2)])
    np.testing.assert_array_equal(corpus.images, expected)
    assert corpus.labels.tolist() == [0, 1, 2, 0, 1]
    assert (corpus.shape, len(corpus), corpus.available) == ((2, 4, 4), 5, 5)
    assert (corpus.class_names, corpus.ready) == (("0", "1", "2"), True)
    assert corpus.sha256 == corpus_digest(expected, corpus.labels)
    assert corpus.sample(2, 0).ready


def test_generators_lists_and_other_floats() -> None:
    def batches() -> Iterator[Any]:
        yield [batch(2)[0].double().requires_grad_(), [5, 7]]
        yield batch(2)[0].half().numpy(), (1, 0)

    corpus = Corpus.from_loader(batches(), class_names=["a"] * 8, name="mine")
    assert corpus.labels.tolist() == [5, 7, 1, 0]
    assert (corpus.images.dtype, len(corpus.class_names), corpus.name) == (np.float32, 8, "mine")  # type: ignore[union-attr]


def test_stored_pixels_are_not_ready() -> None:
    assert not Corpus.from_arrays(np.zeros((2, 4, 4, 1), np.uint8), [0, 1]).ready


images = batch(2)[0]


@pytest.mark.parametrize(
    ("loader", "part"),
    [
        ([], "no batch"),
        ([batch(0)], "no images"),
        ([batch(2), batch(2, size=5)], "several sizes"),
        ([images], "images and labels"),
        ([(images, torch.arange(2), "more")], "images and labels"),
        ([{"image": images, "label": [0, 1]}], "not dict"),
        ([(images.to(torch.uint8), [0, 1])], "not uint8"),
        ([(images[0], 1)], "not float32"),
        ([(images, [0, 1, 2])], r"int64 \[3\]"),
        ([(images, [0.5, 1.5])], "integer labels"),
        ([(images, torch.eye(2))], "integer labels"),
        ([(images, [0, -1])], "negative"),
        ([(images, [[0], [1, 2]])], "no array of numbers"),
        ([(images.bfloat16(), [0, 1])], "no array of numbers"),
        (7, "int yields no batches"),
    ],
)
def test_refused_in_one_line(loader: Any, part: str) -> None:
    with pytest.raises(DataError, match=part) as told:
        Corpus.from_loader(loader)
    assert "\n" not in str(told.value)
    assert "corpus 'loader'" in str(told.value)
