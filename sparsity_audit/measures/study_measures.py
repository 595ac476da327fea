"""Measures of whole studies: what one way of training costs in dead filters, against another.

Each takes the facts of all runs and returns one measurement for each comparison that they hold: none where they hold
no such runs at all. Effects are means over the seeds that both sides have, paired by seed, with 95 % t-intervals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from sparsity_audit.measures.arms import Arm, alike, arms_of, ordered, regimes
from sparsity_audit.measures.comparable import TOLERANCE
from sparsity_audit.measures.comparisons import Comparison, at_comparable_error, ends, per_halving
from sparsity_audit.measures.quantities import BY_ACTIVATION, BY_SCALE, CAPACITY_LOST, SELECTIVITY, Quantity
from sparsity_audit.measures.registry import Measurement, measure
from sparsity_audit.schema.report import EvidenceValue
from sparsity_audit.schema.study_report import RunFacts

Dead = Literal["scale", "activation"]
Runs = Sequence[RunFacts]
INSTEAD = "SA311 and SA312"


@measure("study", needs="runs with L2 and with weight decay, equal but for λ", instead=INSTEAD)
def l2_over_weight_decay(runs: Runs, *, criterion: Dead = "scale", tolerance: float = TOLERANCE) -> list[Measurement]:
    """Share of dead filters with L2 less that with weight decay, at comparable test error (Sec. 2.2).

    One result for each set of runs that are equal but for kind and strength of the regulariser.
    """
    found = []
    for group in alike(arms_of(runs), ("regularizer.kind", "regularizer.strength")):
        l2, decay = _of_kind(group, "l2"), _of_kind(group, "wd")
        if l2 and decay:
            found.append(at_comparable_error(l2, decay, _dead(criterion), tolerance))
    return _measurements(found)


@measure("study", needs="runs equal but for the batch size, with equal numbers of steps", instead=INSTEAD)
def dead_per_halving(runs: Runs, *, criterion: Dead = "scale") -> list[Measurement]:
    """Extra share of dead filters with each halving of the batch size, at equal numbers of steps (Sec. 4.1, Table 3).

    The least-squares slope of the share on log2 of the batch size, seed by seed, with its sign turned; of selectivity
    likewise, in the evidence. One result for each set of runs that are equal but for the batch size.
    """
    found = []
    for group in alike(_regularised(runs), ("batch_size",)):
        sizes = ordered(group, "batch_size")
        if len(sizes) < 2:
            continue
        dead = per_halving(sizes, "batch_size", _dead(criterion))
        selectivity = per_halving(sizes, "batch_size", SELECTIVITY).effect
        known: dict[str, EvidenceValue] = {"selectivity": None}
        if selectivity is not None:
            known = {"selectivity": selectivity.value, "selectivity_interval": list(selectivity.interval or ())}
        found.append(replace(dead, evidence={**dead.evidence, **known}))
    return _measurements(found)


@measure("study", needs="runs with an adaptive optimizer and with SGD, equal but for λ")
def adaptive_over_sgd(runs: Runs, *, criterion: Dead = "scale", tolerance: float = TOLERANCE) -> list[Measurement]:
    """Share of dead filters under an adaptive optimizer less that under SGD, at comparable test error (Sec. 2.2).

    One result for each adaptive optimizer and each kind of regulariser that SGD was run with too.
    """
    found = []
    for group in alike(_regularised(runs), ("optimizer", "regularizer.strength")):
        sides = alike(group, ("regularizer.strength",))
        plain = [side for side in sides if _optimizer(side) == "sgd"]
        adaptive = [side for side in sides if _optimizer(side) not in ("sgd", None)]
        found += [at_comparable_error(left, right, _dead(criterion), tolerance) for left in adaptive for right in plain]
    return _measurements(found)


@measure("study", needs="runs equal but for λ")
def capacity_by_strength(runs: Runs) -> list[Measurement]:
    """Share of convolution parameters lost at the strongest λ less that at the weakest (Table 2).

    One result for each regime: an optimizer with a kind of regulariser; without any, λ is 0, which is the weakest.
    """
    return _measurements([ends(regime, CAPACITY_LOST) for regime in regimes(arms_of(runs)) if len(regime) > 1])


@measure("study", needs="runs equal but for the width of the network")
def dead_by_width(runs: Runs, *, criterion: Dead = "scale") -> list[Measurement]:
    """Share of dead filters at full width less that at a reduced one (Sec. 4.1, Table 4).

    One result for each reduced width of each set of runs that are equal but for it.
    """
    found = []
    for group in alike(_regularised(runs), ("network.width",)):
        widths = ordered(group, "network.width")
        found += [ends([narrow, widths[-1]], _dead(criterion)) for narrow in widths[:-1]]
    return _measurements(found)


def _measurements(comparisons: Sequence[Comparison]) -> list[Measurement]:
    return [comparison.measurement() for comparison in comparisons]


def _regularised(runs: Runs) -> list[Arm]:
    """Return the arms in which a regulariser acts."""
    return [arm for arm in arms_of(runs) if arm.kind != "none"]


def _of_kind(arms: Sequence[Arm], kind: str) -> list[Arm]:
    return [arm for arm in arms if arm.kind == kind]


def _optimizer(side: Sequence[Arm]) -> object:
    return side[0].settings.get("optimizer.name")


def _dead(criterion: Dead) -> Quantity:
    return BY_SCALE if criterion == "scale" else BY_ACTIVATION
