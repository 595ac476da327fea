"""Facts of models trained elsewhere: weights alone, and what a manifest says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from shipped_model import MODEL, gammas

from sparsity_audit.checkpoints.safetensors_io import write_safetensors
from sparsity_audit.errors import CheckpointError
from sparsity_audit.schema.spec import TrainingSettings
from sparsity_audit.studies.elsewhere import manifest_facts
from sparsity_audit.studies.manifest import ManifestModel


def elsewhere(path: Path, steps: int | None = 10_000, **training) -> ManifestModel:
    return ManifestModel("theirs", path, 3, TrainingSettings.model_validate(training), 0.07, "mine", steps)


def test_a_model_from_elsewhere_tells_of_scale_by_its_weights():
    sgd = {"name": "sgd", "lr": 0.1, "momentum": 0.9}
    facts = manifest_facts(elsewhere(MODEL, optimizer=sgd, regularizer={"kind": "l2", "strength": 1e-3}))
    dead = sum(int((np.abs(gamma) < 1e-3).sum()) for gamma, _ in gammas().values())
    assert facts.by_scale == dead / 232  # the norm of the head, which no convolution feeds, does not count
    assert [layer.key for layer in facts.layers] == list(gammas())
    gamma, beta = gammas()["c7.conv"]
    active = np.abs(gamma) >= 1e-3
    assert facts.layers[-1].mean_gamma == pytest.approx(gamma[active].mean(), rel=1e-5)
    assert facts.layers[-1].mean_beta == pytest.approx(beta[active].mean(), rel=1e-4)
    assert (facts.name, facts.seed, facts.error, facts.group) == ("theirs", 3, 0.07, "mine")
    assert facts.spec is facts.digest is facts.by_activation is None
    assert facts.decay_budget == pytest.approx(1e-3 * 0.1 / (1 - 0.9) * 10_000)
    assert facts.rate_sum == pytest.approx(1000)


@pytest.mark.parametrize(
    ("settings", "budget", "rates"),
    [
        ({"optimizer": {"name": "adam", "lr": 1e-3}, "regularizer": {"kind": "wd", "strength": 1e-3}}, 10.0, 10.0),
        ({"optimizer": {"name": "adam", "lr": 1e-3}, "regularizer": {"kind": "l2", "strength": 1e-3}}, None, 10.0),
        ({"optimizer": {"name": "sgd", "lr": 0.1}, "regularizer": {"kind": "l2", "strength": 1e-3}}, 1.0, 1000.0),
        ({"regularizer": {"kind": "wd", "strength": 1e-3}}, 10.0, None),
        ({"optimizer": {"name": "sgd", "lr": 0.1}}, None, 1000.0),
        ({"steps": None, "regularizer": {"kind": "wd", "strength": 1e-3}}, None, None),
    ],
)
def test_budgets_of_models_from_elsewhere_are_those_of_a_constant_rate(settings, budget, rates):
    facts = manifest_facts(elsewhere(MODEL, **settings))
    assert facts.decay_budget == (None if budget is None else pytest.approx(budget))
    assert facts.rate_sum == (None if rates is None else pytest.approx(rates))


def test_norms_without_a_convolution_count_where_nothing_else_does(tmp_path):
    gamma = np.array([1e-5, 1, 1, 1], np.float32)
    norm = {"odd.weight": gamma, "odd.bias": gamma, "odd.running_mean": gamma, "odd.running_var": gamma}
    kernel = {"somewhere.weight": np.ones((5, 3, 3, 3), np.float32)}
    write_safetensors(tmp_path / "m.safetensors", {**kernel, **norm})
    assert manifest_facts(elsewhere(tmp_path / "m.safetensors")).by_scale == 0.25
    (tmp_path / "bad.safetensors").write_bytes(b"no")
    with pytest.raises(CheckpointError, match=r"bad\.safetensors"):
        manifest_facts(elsewhere(tmp_path / "bad.safetensors"))
