"""What the calls share that make several slim networks of one model: a family, and the comparators."""

from __future__ import annotations

import copy
import datetime
import time
from dataclasses import asdict, replace
from typing import Any

from sparsity_audit.engine.corpora import corpus_info
from sparsity_audit.engine.session import tool_info
from sparsity_audit.errors import UsageError
from sparsity_audit.pruning.structure import CutOptions
from sparsity_audit.schema.prune_report import LatencyFigures, TestFigures
from sparsity_audit.schema.slim_tables import TuningSettings
from sparsity_audit.slimming.finetune import batch_norms, tune
from sparsity_audit.slimming.latency import measure_latency
from sparsity_audit.slimming.original import Original
from sparsity_audit.slimming.scattering import Policy, scatter_policy
from sparsity_audit.slimming.slim import Slim

BATCHES = (1, 8)
"""Images at once in the timings."""
SECONDS = 15.0
"""For the timings of one network."""


def tested_figures(original: Original, option: str) -> TestFigures:
    """Return what the original answers on the test split.

    Raises:
        UsageError: nothing that it can be tested on.
    """
    if original.tested is None:
        raise UsageError(f"{option} compares errors: it needs labelled test images of the model's classes: give --data")
    return original.tested.figures()


def cut_options(original: Original, min_width: int, round_to: int, scatter: Policy) -> CutOptions:
    """Return what is wanted of cuts."""
    may = scatter_policy(scatter, original.modules)
    return CutOptions(min_width=min_width, round_to=round_to, worth=original.worth, may_scatter=may)


def searching(options: CutOptions, scatter: Policy) -> CutOptions:
    """Return the options with nothing to measure: what is looked for is a number of filters, in many steps."""
    return replace(options, may_scatter=lambda _layer, _gone: scatter == "always")


def check_tuning(original: Original, settings: TuningSettings) -> None:
    """Find out before the work whether slim networks of a model can be tuned.

    Raises:
        UsageError: no training images, or no statistics to take anew.
    """
    if original.corpus is None or original.corpus.split != "train":
        raise UsageError("tuning takes training images: give --split train")
    if settings.bn_images and not batch_norms(original.module):
        raise UsageError("--bn-reestimate: the network has no batch norm with running statistics")


def tuned(original: Original, slim: Slim, settings: TuningSettings, name: str) -> tuple[Slim, TestFigures]:
    """Return a slim network after its tuning, and what it answers on the test split then.

    Raises:
        UsageError, TrainingError: see ``finetune.tune``.
    """
    corpus, device = original.corpus, original.config.device
    assert corpus is not None

    def tell(done: int, total: int) -> None:
        if original.progress is not None:
            original.progress(f"fine-tuning {name}", done, total)

    module = tune(slim.module, corpus, original.normalisation, settings, device=device, progress=tell)
    tested = original.try_on_test(module, f"{name}, tuned")
    assert tested is not None
    return replace(slim, module=module, exact=copy.deepcopy(module).double()), tested.figures(original.tested)


def timed(original: Original, slim: Slim) -> list[LatencyFigures]:
    """Return the timings of a slim network beside the original."""
    captured = original.graph.captured
    batches = BATCHES if captured.batch is None else (captured.batch,)
    rows = measure_latency(original.module, slim.module, captured.input_shape, batches, seconds_budget=SECONDS)
    return [LatencyFigures.model_validate(asdict(row)) for row in rows]


def facts(original: Original, before: TestFigures, started: datetime.datetime, clock: float) -> dict[str, Any]:
    """Return what reports of several slim networks say of the model and its images.

    Args:
        started, clock: when the work began, as a date and as ``time.perf_counter()``.
    """
    assert original.subject.architecture is not None
    return {
        "tool": tool_info(original.config.device),
        "started": started.isoformat(timespec="seconds"),
        "duration_seconds": round(time.perf_counter() - clock, 3),
        "path": original.subject.path,
        "sha256": original.subject.checkpoint.sha256,
        "architecture": original.subject.architecture,
        "corpus": None if original.corpus is None else corpus_info(original.corpus),
        "normalisation": original.normalisation,
        "filters": original.graph.filters,
        "params": original.size[0],
        "macs": original.size[1],
        "before": before,
    }
