"""The pass over a corpus: normalisation, statistics, classification error."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparsity_audit.data.corpus import Corpus, corpus_digest
from sparsity_audit.graph.feature_graph import build_graph
from sparsity_audit.graph.instrument import observe
from sparsity_audit.schema.report import NormalisationInfo
from sparsity_audit.schema.spec import Normalisation
from sparsity_audit.stats.collect import ErrorCount, Normaliser, collect_stats, measure_error

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)


class Net(nn.Module):
    def __init__(self, classes: int = 7) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6)
        self.linear = nn.Linear(6, classes)

    def features(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.features(x).mean((2, 3)))


class NoLogits(Net):
    def forward(self, x: Tensor) -> Tensor:
        return self.features(x)


def corpus(count: int = 23, classes: int = 7) -> Corpus:
    generator = np.random.default_rng(5)
    images = generator.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    labels = generator.integers(0, classes, count)
    return Corpus(
        name="made-up",
        split="test",
        images=images,
        labels=labels,
        class_names=tuple(map(str, range(classes))),
        normalisation=Normalisation(mean=MEAN, std=STD),
        pixel_scale=255.0,
        sha256=corpus_digest(images, labels),
        available=count,
    )


def normaliser() -> Normaliser:
    return Normaliser(NormalisationInfo(mean=list(MEAN), std=list(STD), pixel_scale=255.0, source="corpus"), "cpu")


def plain(images: np.ndarray) -> Tensor:
    scaled = (images / 255.0 - np.array(MEAN)) / np.array(STD)
    return torch.tensor(scaled.transpose(0, 3, 1, 2), dtype=torch.float32)


def test_normalisation_is_per_channel_and_leaves_the_corpus_alone() -> None:
    data = corpus()
    data.images.setflags(write=False)
    torch.testing.assert_close(normaliser()(data.images), plain(data.images), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("batch_size", [5, 23, 100])
def test_one_pass_gives_statistics_and_error(batch_size: int) -> None:
    torch.manual_seed(0)
    net, data = Net().eval(), corpus()
    net.bn.bias.data[:2] = -50
    told: list[tuple[int, int]] = []
    observed = observe(build_graph(net, data.shape))
    stats, error = collect_stats(
        observed,
        data,
        normaliser(),
        np.ones(6, bool),
        batch_size=batch_size,
        pooled_budget=2**20,
        progress=lambda done, total: told.append((done, total)),
    )
    with torch.no_grad():
        planes = net.features(plain(data.images)).flatten(2).numpy()
        order = net(plain(data.images)).argsort(1, descending=True).numpy()
    assert told[-1] == (23, 23)
    assert np.flatnonzero(stats.inactive()).tolist() == [0, 1]
    np.testing.assert_allclose(stats.maximum, planes.max((0, 2)), rtol=1e-4, atol=1e-6)
    assert error is not None
    assert (error.images, error.classes) == (23, 7)
    assert error.wrong1 == int((order[:, 0] != data.labels).sum())
    assert error.wrong5 == int((order[:, :5] != data.labels[:, None]).all(1).sum())
    again = measure_error(observed, data, normaliser(), batch_size=batch_size)
    assert again == error


def test_no_error_where_the_output_is_not_one_logit_per_class() -> None:
    data = corpus()
    for net in (NoLogits(), Net(classes=3)):
        observed = observe(build_graph(net, data.shape))
        stats, error = collect_stats(observed, data, normaliser(), np.ones(6, bool), batch_size=8, pooled_budget=2**20)
        assert (stats.images, error) == (23, None)
        assert measure_error(observed, data, normaliser(), batch_size=8) is None


def test_ties_and_nan_are_wrong_answers() -> None:
    count = ErrorCount()
    logits = torch.tensor(
        [[1.0, 1.0, 1.0, 1.0, 1.0, 1.0], [0, 1, 0, 0, 0, 0], [np.nan, 2, 0, 0, 0, 0], [0, 9, 2, 3, 4, 5]]
    )
    count.update(logits, torch.tensor([0, 1, 1, 2]))
    assert (count.images, count.wrong1, count.wrong5) == (4, 3, 1)
    count.update(torch.full((2, 6), np.nan), torch.tensor([0, 5]))
    assert (count.images, count.wrong1, count.wrong5) == (6, 5, 3)
