"""Whether a model answers the same without its dead filters: the paper's own check of its thresholds (Sec. 2.1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from sparsity_audit.graph.ablate import Filters, silence, without_scale
from sparsity_audit.graph.instrument import Observed
from sparsity_audit.stats.collect import Progress

if TYPE_CHECKING:
    from sparsity_audit.data.corpus import Corpus
    from sparsity_audit.stats.passes import CorpusPass, Measured

Answers = NDArray[np.int64]
Told = Callable[[str], Progress | None]


@dataclass(frozen=True)
class Ablation:
    """Errors (0–1) and changed first answers on a labelled corpus, for two ways to take filters out."""

    error_silenced: float
    changed_silenced: int
    error_scale_zeroed: float
    changed_scale_zeroed: int


def ablate(
    run: CorpusPass, measured: Measured, corpus: Corpus, dead: Filters, dead_by_scale: Filters, told: Told
) -> Ablation:
    """Run the labelled ``corpus`` without the dead filters, and with γ = 0 where it is inactive.

    Args:
        measured: what the same run gave with all filters, its error on the same corpus included.
    """
    assert measured.error is not None
    before = np.concatenate(measured.error.answers)
    programs = {
        "dead filters silenced": silence(run.graph, dead, measured.layout, run.device),
        "γ set to 0": without_scale(run.graph, dead_by_scale, measured.layout, run.device),
    }
    silenced, zeroed = (
        _answers(program, run, corpus, told(f"{corpus.name} {corpus.split}: {name}"))
        for name, program in programs.items()
    )
    return Ablation(
        error_silenced=float((silenced != corpus.labels).mean()),
        changed_silenced=int((silenced != before).sum()),
        error_scale_zeroed=float((zeroed != corpus.labels).mean()),
        changed_scale_zeroed=int((zeroed != before).sum()),
    )


@torch.inference_mode()
def _answers(program: Observed, run: CorpusPass, corpus: Corpus, progress: Progress | None) -> Answers:
    found: list[Answers] = []
    done = 0
    for pixels, _ in corpus.batches(program.batch or run.batch_size):
        logits = program(run.normalise(pixels))[0]
        assert logits is not None
        found.append(logits.argmax(dim=1).cpu().numpy())
        done += len(pixels)
        if progress is not None:
            progress(done, len(corpus))
    return np.concatenate(found)
