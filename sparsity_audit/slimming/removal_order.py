"""All filters of a network in the order in which they can go, dead ones first; and what a number of them saves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from sparsity_audit.measures.ledger import Ledger, total_lost
from sparsity_audit.pruning.classify import DeadFilter, activation_of
from sparsity_audit.pruning.holds import Holds
from sparsity_audit.pruning.structure import CutOptions, plan_cut
from sparsity_audit.slimming.fates import fates
from sparsity_audit.slimming.order import Candidate, Objective
from sparsity_audit.slimming.ordering import in_order
from sparsity_audit.slimming.original import Original
from sparsity_audit.slimming.planning import CLASSES


class Removal(NamedTuple):
    """A filter that can go, and how it is held then."""

    layer: str
    filter: DeadFilter
    alive: bool
    """It is in no class of dead filters: held at β as if it were small, γ zeroed and β kept."""

    @property
    def place(self) -> Candidate:
        """Where it is."""
        return Candidate(self.layer, self.filter.index)


class Size(NamedTuple):
    """Of a slim network, as the ledger has it."""

    removed: int
    params: int
    macs: int


def removal_order(original: Original, gamma_threshold: float, objective: Objective | None) -> list[Removal]:
    """Return the filters, the first to go first: lossless ones, silent ones, then small and living ones together.

    The last are in the order of ``ordering.in_order``: by |γ|, or by the cost that is saved for the error added.
    Living filters without γ and β, finite both, are left out: nothing is known to hold them at.

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
    for layer in layers:
        gone[[layer.first + i for i in found[layer.key].removed]] = True
    lost = total_lost(Ledger(layers).lost(gone))
    params, macs = original.size
    return Size(int(gone.sum()), params - (lost.params or 0), macs - (lost.macs or 0))


def _weighed(original: Original, removal: Removal) -> bool:
    return removal.filter.index in original.worth.get(removal.layer, {})


def _living(original: Original) -> list[Removal]:
    """Return every filter that has γ and β, held at β."""
    calls = {layer.key: layer for layer in original.graph.layers}
    found: list[Removal] = []
    for layer in original.report.layers:
        if layer.gamma is None or layer.beta is None:
            continue
        beta = np.array(layer.beta, np.float64)
        after: Sequence[float] = activation_of(calls[layer.key])(beta).tolist()
        for i, (scale, shift, leaves) in enumerate(zip(layer.gamma, beta.tolist(), after, strict=True)):
            if scale is not None and np.isfinite(scale) and np.isfinite(shift):
                held = DeadFilter(i, "small", shift, leaves if np.isfinite(leaves) else None)
                found.append(Removal(layer.key, held, alive=True))
    return found
