"""What no image can exceed: bounds on what each batch norm puts out, carried there from the pixel range.

Interval arithmetic, one interval for each channel, whatever its plane: so the bounds hold for images of any size. They
are sound, and loose: each layer makes them 3 to 10 times wider, except under ReLU6. Where γ and the weights before it
went to 0 together, as under Adam with L2, they prove nearly every dead filter (784 of 791 in the public LPRNet, 63 of
65 in the digits model of the zoo); where γ stopped at 1e-4 they prove none but in the first layers (1 of 17 in
resnet20, 0 of 56 in resnet56).

Tighter ones were tried and left out. A bound on the Euclidean norm over channels at each position (Cauchy-Schwarz over
the window, operator norms of the taps) gains nothing in resnet20, and a factor of 1.3 in the last layers of resnet56,
where 1e29 is to be brought to 10. Nor is there much to gain: an ascent over images wakes 14 of the 17 and 51 of the
56, which no bound whatever can prove dead.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from sparsity_audit.data.corpus import Corpus
from sparsity_audit.errors import DataError
from sparsity_audit.graph.chain import follow
from sparsity_audit.graph.feature_graph import FeatureGraph
from sparsity_audit.pruning.bound_run import BoundRun
from sparsity_audit.pruning.intervals import Bounds, normalised
from sparsity_audit.schema.report import NormalisationInfo

FloatArray = NDArray[np.float64]

BYTE = 255.0
"""The largest pixel that a byte holds."""


@dataclass(frozen=True)
class NormBounds:
    """What a batch norm's input, once normalised, and its output can be, each [filters]; infinite where unknown.

    They bound what float32 computes, its rounding included.
    """

    least: FloatArray
    most: FloatArray
    """Of the normalised input x̂ = (x − mean) / √(variance + eps)."""
    low: FloatArray
    high: FloatArray
    """Of the output γ x̂ + β."""

    @property
    def reach(self) -> FloatArray:
        """The largest |x̂|, [filters]."""
        return np.maximum(np.abs(self.least), np.abs(self.most))


def pixel_max(corpus: Corpus) -> float:
    """Return the largest pixel that images like those of a corpus may have.

    255, unless the pixel that stands for 1.0 is less and no image exceeds it (scikit-learn's digits end at 16).

    Raises:
        DataError: images that came as floats, whose range is not known.
    """
    if corpus.ready:
        raise DataError(f"{corpus.name}: floats have no known range: give stored pixels (uint8), or a data set")
    if corpus.pixel_scale < BYTE and isinstance(corpus.images, np.ndarray):
        return corpus.pixel_scale if corpus.images.max(initial=0) <= corpus.pixel_scale else BYTE
    return BYTE


def norm_bounds(graph: FeatureGraph, normalisation: NormalisationInfo, pixels: float) -> dict[str, NormBounds]:
    """Return bounds at the batch norms with running statistics that belong to feature layers, by layer key.

    Args:
        pixels: the largest pixel, before scaling; the smallest is 0. See ``pixel_max``.
    """
    mean, std = (torch.tensor(values, dtype=torch.float64) for values in (normalisation.mean, normalisation.std))
    span = torch.tensor([[0.0], [pixels / normalisation.pixel_scale]], dtype=torch.float64).expand(2, len(mean))
    found = BoundRun(graph.captured.program).trace(normalised(Bounds(*span), mean, std))
    bounds: dict[str, NormBounds] = {}
    for layer in graph.layers:
        norm = follow(layer.call).norm
        if norm in found:
            ends = (end.numpy() for part in found[norm] for end in (part.low, part.high))
            bounds[layer.key] = NormBounds(*ends)
    return bounds
