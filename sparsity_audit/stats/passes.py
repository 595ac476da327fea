"""One pass of the fused program over a corpus, and a second of the unfused one where rounding could decide."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparsity_audit.graph.fast import FusedPass, observe_fused
from sparsity_audit.graph.feature_graph import FeatureGraph
from sparsity_audit.graph.instrument import observe
from sparsity_audit.stats.collect import ErrorCount, Normaliser, Progress, collect_stats, measure_error
from sparsity_audit.stats.feature_stats import FeatureStats

if TYPE_CHECKING:
    from sparsity_audit.data.corpus import Corpus

Bools = NDArray[np.bool_]
Told = Callable[[str], Progress | None]
"""Gives the progress callback for a piece of work, by its name."""

TRIAL_IMAGES = 50
LAYOUTS = (torch.channels_last, torch.contiguous_format)


@dataclass(frozen=True)
class Measured:
    """What a corpus did to a model."""

    stats: FeatureStats
    error: ErrorCount | None
    redone: int
    """Filters within rounding of a threshold, which the unfused program decided."""
    layout: torch.memory_format
    """The memory layout that was the fastest."""


@dataclass(frozen=True)
class CorpusPass:
    """How a model is run over images: its graph, the scaling of pixels, and the sizes.

    Attributes:
        batch_size: images at a time, unless the model fixes its own.
        pooled_budget: bytes that plane maxima may take before universality comes from a sketch.
    """

    graph: FeatureGraph
    normalise: Normaliser
    batch_size: int
    device: str
    pooled_budget: int

    def measure(self, corpus: Corpus, test: Corpus | None, told: Told) -> Measured:
        """Return the statistics of ``corpus`` and the error on ``test`` (from the same pass where it is the same)."""
        fused = self._fastest(corpus)
        stats, error = collect_stats(
            fused,
            corpus,
            self.normalise,
            self.graph.fires,
            batch_size=self.batch_size,
            pooled_budget=self.pooled_budget,
            progress=told(f"{corpus.name} {corpus.split}: statistics"),
        )
        undecided = fused.undecided(stats.maximum.astype(np.float64), stats.minimum.astype(np.float64))
        if undecided.any():
            self._decide(stats, undecided, corpus, told)
        if error is None or test is None:
            error = None
        elif test is not corpus:
            fused.observing(on=False)
            progress = told(f"{test.name} {test.split}: error")
            error = measure_error(fused, test, self.normalise, batch_size=self.batch_size, progress=progress)
        return Measured(stats, error, int(undecided.sum()), fused.layout)

    def _fastest(self, corpus: Corpus) -> FusedPass:
        """Return the fused program in the memory layout that is faster on a few of the corpus's own images."""
        pixels = next(iter(corpus.batches(self.graph.captured.batch or min(self.batch_size, TRIAL_IMAGES))))[0]
        images = self.normalise(pixels)
        programs = [observe_fused(self.graph, layout, self.device) for layout in LAYOUTS]
        fastest = min(programs, key=lambda program: _seconds(program, images))
        fastest.forget()
        return fastest

    def _decide(self, stats: FeatureStats, undecided: Bools, corpus: Corpus, told: Told) -> None:
        """Replace what the fused pass says of the undecided filters by what the unfused program does to them."""
        layers = [layer for layer in self.graph.layers if undecided[layer.span].any()]
        columns = np.concatenate([np.arange(layer.first, layer.first + layer.filters) for layer in layers])
        exact, _ = collect_stats(
            observe(self.graph, self.device, layers),
            corpus,
            self.normalise,
            np.zeros(len(columns), bool),  # extrema decide; universality stays what it is
            batch_size=self.batch_size,
            pooled_budget=0,
            progress=told(f"{corpus.name} {corpus.split}: {int(undecided.sum())} filters near a threshold"),
        )
        chosen = undecided[columns]
        for name in ("maximum", "minimum", "fired", "nonfinite"):
            getattr(stats, name)[columns[chosen]] = getattr(exact, name)[chosen]


@torch.inference_mode()
def _seconds(program: FusedPass, images: Tensor) -> float:
    """Return the shorter of two timed runs, after one to warm up."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        program(images)
        if images.is_cuda:
            torch.cuda.synchronize(images.device)
        times.append(time.perf_counter() - start)
    return min(times[1:])
