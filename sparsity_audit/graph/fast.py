"""The fused program as it is run over a corpus, and what it leaves undecided."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.fx import Node

from sparsity_audit.graph.feature_graph import FeatureGraph, FeatureLayer
from sparsity_audit.graph.fuse import ROUNDING, Fuser
from sparsity_audit.graph.instrument import Observed
from sparsity_audit.graph.observers import PlaneObserver
from sparsity_audit.thresholds import ACTIVATION_THRESHOLD, CONSTANT_TOLERANCE

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class FusedPass(Observed):
    """A fused program with its observers.

    Attributes:
        layers: feature layers with the observer of each.
        rounding: [filters] bound on how far folding may have moved an activation; 0 where nothing was folded.
        folded: the calls whose norm was folded.
    """

    layers: tuple[tuple[FeatureLayer, PlaneObserver], ...] = ()
    rounding: Floats | None = None
    folded: frozenset[Node] = frozenset()

    def observing(self, on: bool) -> None:
        """Switch the observers, so that the same program can answer at no more cost than its own."""
        for _, observer in self.layers:
            observer.on = on

    def forget(self) -> None:
        """Make the observers forget what they have seen."""
        for _, observer in self.layers:
            observer.forget()

    def undecided(self, maximum: Floats, minimum: Floats) -> Bools:
        """Tell which filters stand within rounding of a threshold, [filters].

        Args:
            maximum, minimum: [filters] extreme activations over the corpus.
        """
        peak = np.maximum(np.abs(maximum), np.abs(minimum))
        slack = self._slack(peak)
        with np.errstate(invalid="ignore"):
            active = peak - slack > ACTIVATION_THRESHOLD
            silent = np.minimum(peak, self._margin()) + slack <= ACTIVATION_THRESHOLD
            near_constancy = np.abs((maximum - minimum) - CONSTANT_TOLERANCE) <= 2 * slack
        return (slack > 0) & (~(active | silent) | (near_constancy & ~silent))

    def _slack(self, peak: Floats) -> Floats:
        """Return the bound on rounding of every filter; of one that was not folded, by its layer's largest response."""
        assert self.rounding is not None
        slack = self.rounding.copy()
        for layer, _ in self.layers:
            if layer.call not in self.folded:
                slack[layer.span] = ROUNDING * np.nanmax(peak[layer.span], initial=0.0)
        return slack

    def _margin(self) -> Floats:
        """Return the largest input of each filter's rectifier, [filters]; +inf where it has none."""
        assert self.rounding is not None
        margin = np.full(len(self.rounding), np.inf)
        for layer, observer in self.layers:
            if observer.margin is not None:
                margin[layer.span] = observer.margin.double().cpu().numpy()
        return margin


def observe_fused(graph: FeatureGraph, layout: torch.memory_format, device: str = "cpu") -> FusedPass:
    """Return the fused program of a graph, with weights of its own in ``layout``."""
    fuser = Fuser(graph, layout)
    program = fuser.run([layer.measured for layer in graph.layers]).to(device)
    rounding = np.zeros(graph.filters)
    for layer in graph.layers:
        if layer.call in fuser.rounding:
            rounding[layer.span] = fuser.rounding[layer.call].cpu().numpy()
    layers = tuple((layer, fuser.observers[layer.measured]) for layer in graph.layers)
    return FusedPass(program, graph.captured.batch, layout, layers, rounding, frozenset(fuser.rounding))
