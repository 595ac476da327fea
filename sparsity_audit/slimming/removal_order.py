"""All filters of a network in the order in which they can go, dead ones first; and what a number of them saves."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr

from sparsity_audit.measures.ledger import Ledger, total_lost
from sparsity_audit.pruning.classify import DeadFilter, activation_of
from sparsity_audit.pruning.holds import Holds
from sparsity_audit.pruning.structure import CutOptions, plan_cut
from sparsity_audit.slimming.fates import fates
from sparsity_audit.slimming.order import Candidate, Floats, Objective
from sparsity_audit.slimming.ordering import in_order
from sparsity_audit.slimming.original import Original
from sparsity_audit.slimming.planning import CLASSES


class Removal(NamedTuple):
    """A filter that can go, and how it is held then."""

    layer: str
    filter: DeadFilter
    alive: bool
    """It is in no class of dead filters, and goes as if it were small."""

    @property
    def place(self) -> Candidate:
        """Where it is."""
        return Candidate(self.layer, self.filter.index)


class Size(NamedTuple):
    """Of a slim network, as the ledger has it."""

    removed: int
    params: int
    macs: int
    narrow: frozenset[str]
    """Layers that have lost filters and are as narrow as layers may be."""


def removal_order(original: Original, gamma_threshold: float, objective: Objective | None) -> list[Removal]:
    """Return the filters, the first to go first: lossless ones, silent ones, then small and living ones together.

    The last are in the order of ``ordering.in_order``: by |γ|, or by the cost that is saved for the error added.
    Living filters without γ and β, finite both, are left out: nothing is known to hold them at. See ``typical`` for
    what the others are held at.

    Raises:
        UsageError: an objective without labelled images.
    """
    dead = [Removal(key, each, alive=False) for key, found in original.dead(gamma_threshold).items() for each in found]
    apart = {removal.place for removal in dead if removal.filter.kind != "small" or not _weighed(original, removal)}
    known = {removal.place: removal for removal in [*_living(original), *dead]}  # dead ones take the places of living
    rest = [removal for place, removal in known.items() if place not in apart]
    ranked = in_order(original, [(removal.place, removal.filter.held) for removal in rest], objective)
    first = sorted(
        (removal for removal in dead if removal.place in apart), key=lambda removal: CLASSES.index(removal.filter.kind)
    )
    return [*first, *(known[place] for place, _ in ranked)]


def holds_from(removals: Iterable[Removal]) -> Holds:
    """Return the values that filters are held at, by layer and filter."""
    holds: dict[str, dict[int, float]] = {}
    for layer, each, _ in removals:
        holds.setdefault(layer, {})[each.index] = each.held
    return holds


def planned_size(original: Original, holds: Holds, options: CutOptions) -> Size:
    """Return what a cut would leave, without carrying it out."""
    layers = original.graph.layers
    found = fates(original.graph, original.classes, plan_cut(original.graph, original.classes, holds, options))
    gone = np.zeros(original.graph.filters, bool)
    narrow = set()
    least = -(-max(options.min_width, 1) // options.round_to) * options.round_to
    for layer in layers:
        removed = found[layer.key].removed
        gone[[layer.first + i for i in removed]] = True
        if removed and layer.filters - len(removed) <= least:
            narrow.add(layer.key)
    lost = total_lost(Ledger(layers).lost(gone))
    params, macs = original.size
    return Size(int(gone.sum()), params - (lost.params or 0), macs - (lost.macs or 0), frozenset(narrow))


def _weighed(original: Original, removal: Removal) -> bool:
    return removal.filter.index in original.worth.get(removal.layer, {})


def _living(original: Original) -> list[Removal]:
    """Return every filter that has γ and β, held at what it is on average."""
    calls = {layer.key: layer for layer in original.graph.layers}
    found: list[Removal] = []
    for layer in original.report.layers:
        if layer.gamma is None or layer.beta is None:
            continue
        gamma, beta = np.array(layer.gamma, np.float64), np.array(layer.beta, np.float64)
        held = typical(gamma, beta) if layer.nonlinearity == "relu" else beta
        after: Sequence[float] = activation_of(calls[layer.key])(held).tolist()
        for i in np.flatnonzero(np.isfinite(gamma) & np.isfinite(beta)).tolist():
            leaves = after[i] if math.isfinite(after[i]) else None
            found.append(Removal(layer.key, DeadFilter(i, "small", float(held[i]), leaves), alive=True))
    return found


def typical(gamma: Floats, beta: Floats) -> Floats:
    """Return the mean of max(γ x̂ + β, 0) for a standard normal x̂, [filters]: what a filter is after its ReLU.

    The small class holds at β, the limit of this for γ → 0 and β > 0. For a filter that is alive β misses what it
    gives on average: of a BasicNet on CIFAR-10 with half of its filters removed, 74 % of the answers were wrong with β
    in their place and 32 % with this, 17 % before.
    """
    width = np.maximum(np.abs(gamma), np.finfo(np.float64).tiny)
    ratio = np.clip(beta / width, -40.0, 40.0)  # beyond that nothing changes in float64 but that squares overflow
    density = np.exp(-(ratio**2) / 2) / math.sqrt(2 * math.pi)
    mean: Floats = beta * ndtr(ratio) + width * density
    return np.maximum(mean, 0.0)
