"""The pass over the corpus: one forward of every image, statistics of every filter, the error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparsity_audit.data.corpus import Corpus
from sparsity_audit.graph.instrument import Observed
from sparsity_audit.schema.report import NormalisationInfo
from sparsity_audit.stats.feature_stats import FeatureStats

Progress = Callable[[int, int], None]
"""Called with images done and images in all."""


@dataclass
class ErrorCount:
    """Wrong answers over a labelled corpus."""

    images: int = 0
    wrong1: int = 0
    wrong5: int = 0
    classes: int = 0
    answers: list[NDArray[np.int64]] = field(default_factory=list, compare=False)
    """First answers [batch] of every batch, in order."""

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Add a batch: logits [batch, classes], labels [batch]. NaN logits are wrong answers."""
        self.images += len(labels)
        self.classes = logits.shape[1]
        self.answers.append(logits.argmax(dim=1).cpu().numpy())
        wanted = logits.gather(1, labels[:, None])
        # The rank of the wanted class, ties against it: a constant answer must not look right. NaN is
        # neither above nor below anything, so "not below" counts it against the answer too.
        not_below = (~(logits < wanted)).sum(dim=1)
        self.wrong1 += int((not_below > 1).sum())
        self.wrong5 += int((not_below > 5).sum())


class Normaliser:
    """Turns stored pixels into what the model was trained on: x = (pixel / pixel_scale − mean) / std."""

    def __init__(self, info: NormalisationInfo, device: str) -> None:
        mean = torch.tensor(info.mean, dtype=torch.float64)
        std = torch.tensor(info.std, dtype=torch.float64)
        self.factor = (1.0 / (info.pixel_scale * std)).float().to(device)
        self.offset = (mean / std).float().to(device)
        self.device = device

    def __call__(self, pixels: np.ndarray) -> Tensor:
        """Return float32 [batch, channels, height, width] of uint8 [batch, height, width, channels]."""
        raw = torch.from_numpy(np.array(pixels)).to(self.device)  # copied: torch takes no read-only map
        return self.scaled(raw).contiguous()

    def scaled(self, pixels: Tensor) -> Tensor:
        """Return float32 [batch, channels, height, width] in channels_last of uint8 [batch, height, width, channels].

        Both lie on the device, which is asked for nothing.
        """
        return (pixels.float() * self.factor - self.offset).permute(0, 3, 1, 2)


@torch.inference_mode()
def collect_stats(
    observed: Observed,
    corpus: Corpus,
    normalise: Normaliser,
    fires: NDArray[np.bool_],
    *,
    batch_size: int,
    pooled_budget: int,
    progress: Progress | None = None,
) -> tuple[FeatureStats, ErrorCount | None]:
    """Run the corpus through an observed model once.

    Returns:
        The statistics of all filters, and the error on the same images (None where the model's output is
        not [batch, classes] or the labels don't fit it). ``fires`` tells of which filters universality is
        defined.
    """
    stats = FeatureStats(fires, pooled_budget)
    error: ErrorCount | None = ErrorCount()
    for pixels, labels in corpus.batches(observed.batch or batch_size):
        logits, extrema = observed(normalise(pixels))
        high, low = extrema.cpu().numpy()
        stats.update(high, low)
        error = _add(error, logits, labels)
        if progress is not None:
            progress(stats.images, len(corpus))
    return stats, error


@torch.inference_mode()
def measure_error(
    observed: Observed,
    corpus: Corpus,
    normalise: Normaliser,
    *,
    batch_size: int,
    progress: Progress | None = None,
) -> ErrorCount | None:
    """Return the model's error on a labelled corpus; None where its output is not [batch, classes]."""
    error: ErrorCount | None = ErrorCount()
    for pixels, labels in corpus.batches(observed.batch or batch_size):
        error = _add(error, observed(normalise(pixels))[0], labels)
        if error is None:
            return None
        if progress is not None:
            progress(error.images, len(corpus))
    return error


def _add(error: ErrorCount | None, logits: Tensor | None, labels: np.ndarray) -> ErrorCount | None:
    if error is None or logits is None or logits.dim() != 2 or int(labels.max()) >= logits.shape[1]:
        return None
    error.update(logits, torch.from_numpy(labels).to(logits.device))
    return error
