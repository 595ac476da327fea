"""Gradients in an audit: measured where a rule asks for them, on the training split, or the reason why not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from sparsity_audit.data.corpus import Corpus
from sparsity_audit.engine.audit import audit
from sparsity_audit.schema.report import AuditReport

TRAINING = {
    "optimizer": {"name": "adam", "lr": 1e-3},
    "regularizer": {"kind": "l2", "strength": 1e-6},
    "batch_size": 16,
}


def network(*, mixing: bool = False) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(216, 2))
    with torch.no_grad():
        model[1].weight[:3] = torch.tensor([0.0, 0.3, 0.5])
        model[1].bias[1] = -1e3  # alive by scale, and never fires
    return nn.Sequential(model, nn.BatchNorm1d(2, track_running_stats=False)) if mixing else model


def corpus(split: Any = "train") -> Corpus:
    chance = np.random.default_rng(0)
    pixels = chance.integers(0, 256, (64, 8, 8, 1), dtype=np.uint8)
    return Corpus.from_arrays(pixels, np.arange(64) % 2, split=split)


def audited(model: nn.Module | None = None, data: Corpus | None = None, **settings: Any) -> AuditReport:
    return audit(
        model or network(), data or corpus(), **{"select": ["SA311", "SA312"], "training": TRAINING, **settings}
    )


def test_gradients_where_a_rule_asks_for_them() -> None:
    report = audited()
    info = report.models[0].gradients
    assert info is not None
    assert (info.batch_size, info.batches, info.reason, [layer.layer for layer in info.layers]) == (16, 50, None, ["0"])
    assert info.layers[0].zero_share[1] == 1.0
    assert max(info.layers[0].zero_share[2:]) == 0.0
    assert [(told.regularizer, told.batch_size, told.steps) for told in info.predictions] == [
        *(("l2", 16, 5000), ("wd", 16, 5000), ("l2", 8, 5000), ("l2", 32, 5000)),
    ]
    assert all(0 not in told.dead["0"] for told in info.predictions)  # dead already
    dominance, deaths = report.models[0].results
    assert (dominance.rule, dominance.value, dominance.evidence["indices"]) == ("SA311", 1 / 5, [1])
    assert (deaths.rule, deaths.outcome) == ("SA312", "passed")
    # Nothing but the regulariser: Adam under L2 takes it from 0.3 at about lr a step, λ = 1e-6 in e-folds never.
    assert deaths.evidence["indices"] == [1]
    assert deaths.evidence["under_wd"] == []
    assert AuditReport.model_validate_json(report.to_json()) == report


def test_no_rule_no_gradients() -> None:
    assert audited(select=["SA101"]).models[0].gradients is None


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"training": None}, "training.regularizer"),
        ({"training": {"regularizer": TRAINING["regularizer"]}}, "training.batch_size"),
        ({"data": corpus("test")}, "leave --split at train"),
        ({"limit": 10}, "10 images are fewer than one training batch of 16"),
        ({"model": network(mixing=True)}, "other images of the batch"),
    ],
)
def test_the_reason_where_there_are_none(given: dict[str, Any], reason: str) -> None:
    found = audited(**given).models[0].results[0]
    assert (found.rule, found.outcome) == ("SA311", "skipped")
    assert reason in str(found.reason)


def test_without_an_optimizer_the_future_is_unknown() -> None:
    report = audited(training={key: value for key, value in TRAINING.items() if key != "optimizer"})
    dominance, deaths = report.models[0].results
    assert dominance.value == 1 / 5
    assert "training.optimizer" in str(deaths.reason)
