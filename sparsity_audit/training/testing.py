"""The finished model on a whole split: mean loss and error, as the paper's tables list them."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from sparsity_audit.data.corpus import Corpus
from sparsity_audit.schema.record import SplitResult
from sparsity_audit.stats.collect import ErrorCount, Progress
from sparsity_audit.training.corpora import normaliser

BATCH = 200


@torch.no_grad()
def split_result(model: nn.Module, corpus: Corpus, device: str, progress: Progress | None = None) -> SplitResult:
    """Return loss and error over every image of a split, in evaluation mode and without augmentation.

    The model's training mode is the caller's business: pass it in evaluation mode.
    """
    normalise = normaliser(corpus, device)
    errors, loss = ErrorCount(), torch.zeros((), dtype=torch.float64)
    for pixels, labels in corpus.batches(BATCH):
        wanted = torch.from_numpy(labels).to(device)
        logits = model(normalise(pixels).to(memory_format=torch.channels_last))
        loss += F.cross_entropy(logits.double(), wanted, reduction="sum").cpu()
        errors.update(logits, wanted)
        if progress is not None:
            progress(errors.images, len(corpus))
    mean = float(loss) / errors.images
    return SplitResult(
        images=errors.images,
        loss=mean if math.isfinite(mean) else None,
        error=errors.wrong1 / errors.images,
        top5_error=errors.wrong5 / errors.images if errors.classes > 5 else None,
    )
