"""A network on the labelled test split: error, loss, and which answers are others than the original's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from sparsity_audit.graph.parameters import tensors_in
from sparsity_audit.schema.prune_report import TestFigures
from sparsity_audit.stats.collect import Normaliser, Progress

if TYPE_CHECKING:
    from sparsity_audit.data.corpus import Corpus

Run = Callable[[Tensor], object]


@dataclass(frozen=True)
class Tested:
    """What a network answered, and how that holds up."""

    answers: NDArray[np.int64]
    wrong: int
    loss: float

    @property
    def error(self) -> float:
        """Top-1, 0–1."""
        return self.wrong / len(self.answers)

    def figures(self, original: Tested | None = None) -> TestFigures:
        """Return it for a report, with the answers that changed."""
        changed = 0 if original is None else int((self.answers != original.answers).sum())
        return TestFigures(images=len(self.answers), error=self.error, loss=self.loss, changed=changed)


@torch.inference_mode()
def answers_of(
    run: Run, corpus: Corpus, normalise: Normaliser, batch_size: int, progress: Progress | None = None
) -> Tested | None:
    """Run a network over a labelled corpus; None where it gives no logits [images, classes] for these labels.

    Args:
        run: takes images [batch, channels, height, width]; its first tensor is taken for the logits.
        batch_size: that of a network which fixes its own has to be given.
    """
    answers: list[NDArray[np.int64]] = []
    wrong, loss, done = 0, 0.0, 0
    for pixels, labels in corpus.batches(batch_size):
        logits = next(iter(tensors_in(run(normalise(pixels)))), None)
        if logits is None or logits.dim() != 2 or len(logits) != len(labels) or int(labels.max()) >= logits.shape[1]:
            return None
        wanted = torch.from_numpy(labels).to(logits.device)
        loss += float(F.cross_entropy(logits.double(), wanted, reduction="sum"))
        answers.append(logits.argmax(dim=1).cpu().numpy())
        wrong += int((answers[-1] != labels).sum())
        done += len(labels)
        if progress is not None:
            progress(done, len(corpus))
    return Tested(np.concatenate(answers), wrong, loss / done)
