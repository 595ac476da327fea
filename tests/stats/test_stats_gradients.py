"""Gradients on γ and β in training mode: against backward() written out, and nothing of the model changed."""

from __future__ import annotations

import copy
from collections.abc import Generator
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparsity_audit.data.corpus import Corpus, LazyImages, Pixels
from sparsity_audit.graph.feature_graph import FeatureLayer, build_graph
from sparsity_audit.schema.report import NormalisationInfo
from sparsity_audit.stats.collect import Normaliser
from sparsity_audit.stats.gradients import NoGradientsError, drawn_batches, measure_gradients

INFO = NormalisationInfo(mean=[0.5], std=[0.25], pixel_scale=255.0, source="corpus")
KEYS = ["0", "4"]


def network(*, dropout: float = 0.0) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(dropout)),
        *(nn.Conv2d(4, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(96, 3)),
    ).eval()


def corpus_of(images: int = 30) -> Corpus:
    chance = np.random.default_rng(0)
    pixels = chance.integers(0, 256, (images, 6, 6, 1), dtype=np.uint8)
    return Corpus.from_arrays(pixels, np.arange(images) % 3)


def layers_of(model: nn.Module) -> tuple[FeatureLayer, ...]:
    return build_graph(model, (1, 6, 6)).layers


@pytest.fixture(scope="module")
def layers() -> tuple[FeatureLayer, ...]:
    return layers_of(network())


def measured(model: nn.Module, layers: Any, corpus: Corpus | None = None, **given: Any) -> Any:
    given = {"batch_size": 8, "batches": 5, **given}
    return measure_gradients(model, layers, corpus or corpus_of(), Normaliser(INFO, "cpu"), **given)


def test_same_as_backward_in_training_mode(layers: Any) -> None:
    corpus, model = corpus_of(), network()
    oracle = copy.deepcopy(model).train()
    expected: dict[str, list[Tensor]] = {"1.weight": [], "1.bias": [], "5.weight": [], "5.bias": []}
    for pixels, labels in drawn_batches(corpus, 8, 5, 3):
        images = (torch.from_numpy(pixels).float() / 255 - 0.5).permute(0, 3, 1, 2) / 0.25
        oracle.zero_grad()
        F.cross_entropy(oracle(images), torch.from_numpy(labels)).backward()  # type: ignore[no-untyped-call]
        for path, rows in expected.items():
            gradient = oracle.get_parameter(path).grad
            assert gradient is not None
            rows.append(gradient.clone())
    found = measured(model, layers, corpus, seed=3)
    assert (found.batches, found.batch_size, list(found.gamma)) == (5, 8, KEYS)
    for key, norm in zip(KEYS, ("1", "5"), strict=True):
        assert np.allclose(found.gamma[key], torch.stack(expected[f"{norm}.weight"]), atol=1e-6)
        assert np.allclose(found.beta[key], torch.stack(expected[f"{norm}.bias"]), atol=1e-6)
    assert np.abs(found.gamma["0"]).max() > 1e-3


def test_nothing_of_the_model_is_changed(layers: Any) -> None:
    model = network(dropout=0.5)
    model[1].train()  # type: ignore[index]  # a mixture of modes
    for number, parameter in enumerate(model.parameters()):
        parameter.requires_grad_(number % 2 == 0)
    first = next(model.parameters())
    first.grad = torch.ones_like(first)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [part.training for part in model.modules()]
    torch.manual_seed(11)
    chance = torch.get_rng_state()
    measured(model, layers)
    assert torch.equal(torch.get_rng_state(), chance)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [part.training for part in model.modules()] == modes
    assert [parameter.requires_grad for parameter in model.parameters()] == [i % 2 == 0 for i in range(8)]
    assert first.grad is not None
    assert torch.equal(first.grad, torch.ones_like(first))
    assert all(parameter.grad is None for parameter in list(model.parameters())[1:])


def test_a_filter_that_never_fires_has_gradients_of_exactly_zero(layers: Any) -> None:
    model = network()
    with torch.no_grad():
        model[1].bias[2] = -1e3  # type: ignore[index]
    found = measured(model, layers)
    assert (found.gamma["0"][:, 2] == 0).all()
    assert (found.beta["0"][:, 2] == 0).all()
    assert (found.gamma["0"][:, :2] != 0).all()


def test_the_same_seed_gives_the_same_gradients_with_dropout_too(layers: Any) -> None:
    model = network(dropout=0.5)
    first = measured(model, layers, seed=1)
    torch.rand(3)
    again, other = measured(model, layers, seed=1), measured(model, layers, seed=2)
    assert np.array_equal(first.gamma["4"], again.gamma["4"])
    assert not np.array_equal(first.gamma["4"], other.gamma["4"])


def test_gradients_under_no_grad_and_with_all_parameters_frozen(layers: Any) -> None:
    model = network().requires_grad_(False)
    with torch.no_grad():
        found = measured(model, layers)
    assert np.array_equal(found.gamma["0"], measured(network(), layers).gamma["0"])


def test_batches_are_epochs_without_their_short_end() -> None:
    corpus = corpus_of(30)
    drawn = list(drawn_batches(corpus, 8, 7, 0))
    assert [len(labels) for _, labels in drawn] == [8] * 7
    numbered = {corpus.images[i].tobytes(): i for i in range(30)}  # type: ignore[index]
    seen = [[numbered[image.tobytes()] for image in pixels] for pixels, _ in drawn]
    assert len({i for batch in seen[:3] for i in batch}) == 24  # 30 // 8 = 3 batches, no image twice
    assert len({i for batch in seen[3:6] for i in batch}) == 24
    assert seen[:3] != seen[3:6]
    for batch, (_, labels) in zip(seen, drawn, strict=True):
        assert labels.tolist() == [i % 3 for i in batch]


class Lazy(LazyImages):
    """Images that are 'decoded' by copying."""

    def __init__(self, pixels: Pixels) -> None:
        self.pixels = pixels

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return self.pixels.shape

    def batches(self, batch_size: int) -> Generator[Pixels]:
        for start in range(0, len(self.pixels), batch_size):
            yield self.pixels[start : start + batch_size].copy()

    def take(self, indices: Any) -> Lazy:
        return Lazy(self.pixels[indices])

    def digest(self) -> str:
        return "lazy"


def test_images_decoded_on_the_way_give_the_same_batches() -> None:
    corpus = corpus_of()
    lazy = Corpus(**{**vars(corpus), "images": Lazy(corpus.images)})  # type: ignore[arg-type]
    for (pixels, labels), (others, their) in zip(
        drawn_batches(corpus, 8, 5, 0), drawn_batches(lazy, 8, 5, 0), strict=True
    ):
        assert np.array_equal(pixels, others)
        assert np.array_equal(labels, their)


class FailsInTraining(nn.Module):
    def __init__(self, how: str) -> None:
        super().__init__()
        self.inner, self.how = network(), how

    def forward(self, images: Tensor) -> Any:
        logits = self.inner(images)
        if not self.training:
            return logits
        if self.how == "raises":
            raise ValueError("no training\nhere")
        return (logits, logits)


@pytest.mark.parametrize(
    ("how", "reason"), [("raises", "fails in training mode: ValueError: no training here"), ("pair", "not .batch, cla")]
)
def test_a_model_without_gradients_says_why(how: str, reason: str) -> None:
    model = FailsInTraining(how).eval()
    with pytest.raises(NoGradientsError, match=reason):
        measured(model, layers_of(model))
    assert not model.training


def test_too_few_images_for_a_batch_and_labels_beyond_the_classes(layers: Any) -> None:
    with pytest.raises(NoGradientsError, match="30 images are fewer than one training batch of 31"):
        measured(network(), layers, batch_size=31)
    pixels = np.zeros((10, 6, 6, 1), np.uint8)
    with pytest.raises(NoGradientsError, match="of this corpus"):
        measured(network(), layers, Corpus.from_arrays(pixels, np.arange(10)))


def test_gradients_that_are_not_numbers(layers: Any) -> None:
    model = network()
    with torch.no_grad():
        model[0].weight[0] = torch.nan  # type: ignore[index]
    with pytest.raises(NoGradientsError, match="NaN or infinite"):
        measured(model, layers)


def test_layers_without_a_scale_have_no_gradients() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)).eval()
    with pytest.raises(NoGradientsError, match="no normalisation"):
        measured(model, layers_of(model))


def test_progress_counts_batches(layers: Any) -> None:
    told: list[tuple[int, int]] = []
    measured(network(), layers, batches=3, progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]
