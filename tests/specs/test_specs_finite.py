"""What no training can have: numbers that are not finite, and settings that would be ignored."""

from __future__ import annotations

import pytest

from sparsity_audit.errors import ConfigError
from sparsity_audit.specs.load import load_spec


@pytest.mark.parametrize(
    "change",
    [
        "optimizer.lr=inf",
        "optimizer.eps=nan",
        "regularizer.strength=inf",
        "init.gamma=nan",
        "schedule.factor=inf",
        "lr_multipliers.beta=inf",
        "network.negative_slope=nan",
    ],
)
def test_numbers_are_finite(change: str) -> None:
    with pytest.raises(ConfigError, match="finite number"):
        load_spec("digits-adam-l2", [change])


@pytest.mark.parametrize("on", ["weights", "norm"])
def test_gamma_l1_has_no_choice(on: str) -> None:
    with pytest.raises(ConfigError, match=f"on = '{on}': gamma_l1 is on γ alone; leave it out"):
        load_spec("digits-adam-l2", ["regularizer.kind=gamma_l1", f"regularizer.on={on}"])
