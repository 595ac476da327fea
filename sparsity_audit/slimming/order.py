"""Which filters to take out first: cost saved per error added, the objectives of ``--objective``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparsity_audit.errors import UsageError
from sparsity_audit.measures.ledger import Ledger, total_lost

if TYPE_CHECKING:
    from sparsity_audit.graph.feature_graph import FeatureLayer

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
Objective = Literal["params", "macs", "latency"]


class Candidate(NamedTuple):
    """A filter that could go: the key of its layer, and its number there."""

    layer: str
    number: int


@dataclass(frozen=True)
class FilterCost:
    """What each filter of a layer takes with it when it goes alone, [filters].

    That is its own kernels, and in every convolution that reads its channel the slice for it, where no other filter
    produces that channel. Biases, norms and linear layers are not counted, as in the ledger.
    """

    params: Counts
    macs: Counts
    """For one image."""


def filter_costs(ledger: Ledger) -> dict[str, FilterCost]:
    """Return the costs of single filters by layer key: for each what ``Ledger.lost`` says of it alone.

    Those of several filters don't simply add up: what two of them share (a kernel of one that reads the other) is in
    both, and a residual channel is lost only with the last of its producers. The ledger has the total of a set.
    """
    filters = sum(call.filters for call in ledger.calls)
    params, macs = np.zeros(filters, np.int64), np.zeros(filters, np.int64)
    for calls in _by_weight(ledger.calls):
        if len(calls) == 1:
            elements = _elements(calls[0], filters)
            params += elements
            macs += elements * calls[0].positions
        else:
            _add_shared(calls, params, macs)
    return {call.key: FilterCost(params[call.span], macs[call.span]) for call in ledger.calls}


def savings(
    candidates: Sequence[Candidate],
    costs: Mapping[str, FilterCost],
    objective: Objective,
    seconds: Mapping[str, float] | None = None,
) -> Floats:
    """Return what each candidate saves, [candidates]: parameters, MACs or seconds.

    Args:
        costs: by layer key.
        seconds: measured for one filter of a layer, by layer key; asked for by the objective ``latency`` alone.

    Raises:
        UsageError: latency is the objective, and that of a candidate's layer was not measured.
    """
    if objective == "latency":
        measured = seconds or {}
        missing = next((candidate.layer for candidate in candidates if candidate.layer not in measured), None)
        if missing is not None:
            raise UsageError(f"objective latency: no seconds measured for a filter of {missing}; use params or macs")
        return np.array([measured[candidate.layer] for candidate in candidates], np.float64)
    chosen = {key: cost.params if objective == "params" else cost.macs for key, cost in costs.items()}
    return np.array([chosen[layer][number] for layer, number in candidates], np.float64)


def harms(candidates: Sequence[Candidate], scores: Mapping[str, Floats | None]) -> Floats:
    """Return each candidate's score, [candidates]; NaN where its layer has none."""
    found = (scores[layer] for layer, _ in candidates)
    return np.array(
        [math.nan if s is None else s[number] for s, (_, number) in zip(found, candidates, strict=True)], np.float64
    )


def ordered(candidates: Sequence[Candidate], harm: Floats, saving: Floats) -> list[Candidate]:
    """Return the candidates, the best to take out first: those that save most for the harm they do.

    What does no harm (0 or less) comes first, what saves most before the others; what does unknown harm (NaN) last.
    Where two are alike, the earlier stays before the later.

    Args:
        harm: [candidates] error added by each, in any unit.
        saving: [candidates] cost saved by each, in any unit; below 0 where taking it out costs.
    """
    harmless, unknown = harm <= 0, np.isnan(harm)
    with np.errstate(over="ignore"):  # a harm next to nothing: as good as none
        gain = np.divide(saving, harm, out=saving.astype(np.float64), where=~harmless & ~unknown)
    group = np.where(harmless, 0, np.where(unknown, 2, 1))
    return [candidates[place] for place in np.lexsort((-gain, group))]  # a stable sort


def _elements(call: FeatureLayer, filters: int) -> Counts:
    """Return how many weight elements of a call are lost with each filter of the graph alone, [filters]."""
    kernel = math.prod(call.weight_shape[2:])
    elements = np.zeros(filters, np.int64)
    elements[call.span] = len(call.reads) // call.groups * kernel
    np.add.at(elements, _sole_producers(call), call.filters // call.groups * kernel)
    return elements


def _sole_producers(call: FeatureLayer) -> list[int]:
    """Return the filters that a channel comes from alone, once for each such channel that a call reads."""
    alone = (min(producers) for producers in call.reads if len(producers) == 1)
    return [producer for producer in alone if producer >= 0]


def _by_weight(calls: Sequence[FeatureLayer]) -> list[tuple[FeatureLayer, ...]]:
    """Return the calls, those that share a weight together; a weight computed while the model runs is one call's."""
    found: dict[str | FeatureLayer, list[FeatureLayer]] = {}
    for call in calls:
        found.setdefault(call if call.weight is None else call.weight, []).append(call)
    return [tuple(sharing) for sharing in found.values()]


def _add_shared(calls: tuple[FeatureLayer, ...], params: Counts, macs: Counts) -> None:
    """Add what is lost of a weight that several calls share: only what all of them can do without.

    A filter that some call has nothing to do with takes nothing along, which leaves few to ask the ledger about.
    """
    touched = [{*range(call.first, call.first + call.filters), *_sole_producers(call)} for call in calls]
    ledger = Ledger(calls)
    dead = np.zeros(len(params), bool)
    for number in sorted(set.intersection(*touched)):
        dead[number] = True
        lost = total_lost(ledger.lost(dead))
        dead[number] = False
        params[number] += lost.params or 0
        macs[number] += lost.macs or 0
