"""The fixture ``audit_model``: on a loader of normalised digits it finds what the ordinary path finds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from audit_folder import AuditFolder
from torch.utils.data import DataLoader, TensorDataset

from sparsity_audit import Corpus, PruneOptions, audit, prune_model
from sparsity_audit.checkpoints.checkpoint import read_checkpoint
from sparsity_audit.data.load import load_corpus
from sparsity_audit.errors import SparsityAuditError, UsageError
from sparsity_audit.models.load import load_model
from sparsity_audit.schema.report import AuditReport

MODEL = Path(__file__).parents[2] / "zoo" / "checkpoints" / "digits-adam-l2.safetensors"


@pytest.fixture(scope="module")
def digits() -> Corpus:
    return load_corpus("digits", "train").sample(250, 0)


@pytest.fixture(scope="module")
def loader(digits: Corpus) -> DataLoader:  # type: ignore[type-arg]
    """Batches of 100, 100 and 50, normalised by hand as the model's file says."""
    raw = np.asarray(digits.images).astype(np.float64) / digits.pixel_scale
    images = (raw - np.array(digits.normalisation.mean)) / np.array(digits.normalisation.std)
    floats = torch.from_numpy(images.transpose(0, 3, 1, 2).astype(np.float32))
    return DataLoader(TensorDataset(floats, torch.from_numpy(np.array(digits.labels))), batch_size=100)


@pytest.fixture
def module() -> torch.nn.Module:
    return load_model(read_checkpoint(MODEL), None, trust_code=False).module


def found(report: AuditReport) -> tuple[object, ...]:
    model = report.models[0]
    dead = [(layer.key, layer.scale, layer.activation, layer.constant) for layer in model.layers]
    assert model.error is not None
    return dead, model.error.top1, model.error.images, [result.outcome for result in model.results]


@pytest.fixture(scope="module")
def on_loader(loader: DataLoader, audit_model: Callable[..., AuditReport]) -> AuditReport:  # type: ignore[type-arg]
    return audit_model(MODEL, loader, select=["SA1", "SA2"])


def test_a_loader_gives_what_the_corpus_gives(on_loader: AuditReport, digits: Corpus) -> None:
    ordinary = audit(MODEL, digits, select=["SA1", "SA2"])
    assert found(on_loader) == found(ordinary)
    filters = sum(len(layer.scale or []) for layer in on_loader.models[0].layers)
    assert filters == 65
    for mine, theirs in zip(on_loader.models[0].layers, ordinary.models[0].layers, strict=True):
        np.testing.assert_allclose(mine.maximum, theirs.maximum, rtol=1e-4, atol=1e-5)
    said = on_loader.models[0].normalisation
    assert said is not None
    assert (said.mean, said.std, said.pixel_scale) == ([0.0], [1.0], 1.0)


def test_floats_prove_nothing_for_all_images(on_loader: AuditReport, digits: Corpus) -> None:
    proven = audit(MODEL, digits, select=["SA101"]).models[0].plan
    mine = on_loader.models[0].plan
    assert proven is not None
    assert mine is not None
    assert any(layer.classes["lossless"] for layer in proven.layers)
    assert not any(layer.classes["lossless"] for layer in mine.layers)
    assert [layer.removed for layer in mine.layers] == [layer.removed for layer in proven.layers]


def test_a_module_is_left_as_it_is(
    audit_model: Callable[..., AuditReport],
    module: torch.nn.Module,
    loader: DataLoader,  # type: ignore[type-arg]
) -> None:
    module.train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    report = audit_model(module, loader, select=["SA101"])
    assert all(part.training for part in module.modules())
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    assert report.exit_code == 1
    assert [line[:6] for line in report.failures()] == ["SA101["] * len(report.failures())
    assert any("error: " in line for line in report.failures())


def test_a_normalisation_on_top_is_refused(
    audit_model: Callable[..., AuditReport],
    loader: DataLoader,  # type: ignore[type-arg]
) -> None:
    with pytest.raises(UsageError, match="normalised already"):
        audit_model(MODEL, loader, mean=[0.5], std=[0.5])


def test_pruning_needs_a_known_range(module: torch.nn.Module, loader: DataLoader) -> None:  # type: ignore[type-arg]
    with pytest.raises(SparsityAuditError, match="no known range") as told:
        prune_model(module, Corpus.from_loader(loader), options=PruneOptions())
    assert "\n" not in str(told.value)


def test_a_generator_will_do(audit_model: Callable[..., AuditReport], loader: DataLoader) -> None:  # type: ignore[type-arg]
    def batches() -> Iterator[object]:
        yield from loader

    assert (
        found(audit_model(MODEL, batches(), select=["SA101"]))[1:3]
        == found(audit_model(MODEL, loader, select=["SA101"]))[1:3]
    )


def test_in_a_session_without_audit_files(folder: AuditFolder) -> None:
    folder.pytester.makepyfile(
        "from sparsity_audit import Corpus\n\n"
        "def test_refused(audit_model):\n"
        "    import pytest\n    from sparsity_audit.errors import DataError\n"
        "    with pytest.raises(DataError, match='no batch'):\n        audit_model('absent.safetensors', [])\n"
    )
    result = folder.run()
    result.assert_outcomes(passed=1)
    assert "= sparsity-audit =" not in result.stdout.str()
    assert "audit_model" in folder.run("--fixtures").stdout.str()
