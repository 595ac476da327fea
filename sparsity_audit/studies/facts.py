"""What rules and claims know of a run, out of its folder: record, audit and history, as far as they are there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from sparsity_audit.errors import CheckpointError
from sparsity_audit.schema.record import ScaleCount, TrainingRecord
from sparsity_audit.schema.report import LayerReport, ModelReport
from sparsity_audit.schema.study_report import LayerFacts, RunFacts
from sparsity_audit.studies.audited import (
    Floats,
    capacity_lost,
    mean_selectivity,
    pruned_error,
    read_audit,
    share,
    shares,
)
from sparsity_audit.studies.locate import AUDIT
from sparsity_audit.thresholds import GAMMA_THRESHOLD
from sparsity_audit.training.history import History
from sparsity_audit.training.run_folder import RunFolder

T = TypeVar("T")
Note = Callable[[str], None]
"""Is told one line on what could not be used."""


def run_facts(
    folder: Path,
    record: TrainingRecord,
    *,
    name: str | None = None,
    note: Note | None = None,
    audit: ModelReport | None = None,
) -> RunFacts:
    """Return the facts of one finished run.

    The record alone gives error, losses and what is inactive by scale. ``audit.json`` adds what needs activations,
    the capacity ledger and the ablation; ``history.safetensors`` the γ and β at the end of the training. One of them
    that is damaged, or that is about another model, is left out, and ``note`` is told so.

    Args:
        name: what to call the run; as in its record where left out.
        audit: what an audit has just found; ``audit.json`` where left out.
    """
    told = note or _unheard
    audit = audit or _read(lambda: read_audit(folder / AUDIT, RunFolder(folder).model), told)
    if audit is not None and audit.corpus is not None and audit.corpus.images < audit.corpus.available:
        told(f"{folder / AUDIT}: saw {audit.corpus.images:,} of {audit.corpus.available:,} training images")
    scales = _read(lambda: _last_scales(folder, record), told) or _audited_scales(audit)
    scale = record.scale
    return RunFacts(
        name=name or record.name,
        path=str(folder),
        digest=record.digest,
        spec=record.spec,
        training=record.spec.settings(),
        seed=record.seed,
        error=_error(record, audit),
        train_loss=record.train.loss if record.train is not None else None,
        test_loss=record.test.loss if record.test is not None else None,
        by_scale=share(scale.inactive, scale.filters) if scale is not None else None,
        by_activation=shares(audit, "activation"),
        by_constant=shares(audit, "constant"),
        selectivity=mean_selectivity(audit),
        capacity_lost=capacity_lost(audit),
        pruned_error=pruned_error(audit),
        decay_budget=record.decay_budget,
        rate_sum=record.rate_sum,
        layers=_layers(scale, audit, scales),
    )


@dataclass(frozen=True)
class Scales:
    """γ and β of one layer, [filters] each."""

    gamma: Floats
    beta: Floats

    def mean_of_active(self) -> tuple[float | None, float | None]:
        """Return mean γ and mean β of the filters that are active by scale; None each where there is none."""
        active = np.abs(self.gamma) >= GAMMA_THRESHOLD
        if not active.any():
            return None, None
        return _finite(self.gamma[active].mean()), _finite(self.beta[active].mean())


def _unheard(_line: str) -> None:
    """Take a note that nobody asked for."""


def _finite(value: np.floating) -> float | None:
    return float(value) if np.isfinite(value) else None


def _read(reading: Callable[[], T], note: Note) -> T | None:
    """Return what a file of the run holds; None, and a note, where it cannot be used."""
    try:
        return reading()
    except CheckpointError as failure:
        note(str(failure))
        return None


def _last_scales(folder: Path, record: TrainingRecord) -> dict[str, Scales] | None:
    """Return γ and β by layer key at the end of the training; None where no history was kept.

    Raises:
        CheckpointError: the history cannot be read, or ends before the training did.
    """
    path = RunFolder(folder).history
    if not path.is_file():
        return None
    history = History.load(path)
    if not history.steps or history.steps[-1] != record.steps:
        reached = history.steps[-1] if history.steps else 0
        raise CheckpointError(f"{path}: ends at step {reached} of {record.steps}: γ and β at the end are not known")
    keys = [name.removeprefix("gamma/") for name in history.names if name.startswith("gamma/")]
    return {
        key: Scales(*(np.asarray(history.series(f"{which}/{key}")[-1], np.float64) for which in ("gamma", "beta")))
        for key in keys
        if f"beta/{key}" in history.names
    }


def _audited_scales(audit: ModelReport | None) -> dict[str, Scales]:
    layers = audit.layers if audit is not None else []
    return {
        layer.key: Scales(np.array(layer.gamma, np.float64), np.array(layer.beta, np.float64))
        for layer in layers
        if layer.gamma is not None and layer.beta is not None and None not in [*layer.gamma, *layer.beta]
    }


def _error(record: TrainingRecord, audit: ModelReport | None) -> float | None:
    if record.test is not None:
        return record.test.error
    return audit.error.top1 if audit is not None and audit.error is not None else None


def _layers(scale: ScaleCount | None, audit: ModelReport | None, scales: Mapping[str, Scales]) -> list[LayerFacts]:
    """Return the layers in the record's order; none where nothing tells how many filters they have."""
    audited = {layer.key: layer for layer in audit.layers} if audit is not None else {}
    counts = scale.per_layer if scale is not None else {}
    return [
        _layer(key, counts.get(key), audited.get(key), scales.get(key))
        for key in [*counts, *(key for key in audited if key not in counts)]
        if key in audited or key in scales
    ]


def _layer(key: str, inactive: int | None, audited: LayerReport | None, scales: Scales | None) -> LayerFacts:
    if inactive is None and audited is not None and audited.scale is not None:
        inactive = len(audited.scale)
    gamma, beta = scales.mean_of_active() if scales is not None else (None, None)
    silent = audited.activation if audited is not None else None
    if audited is not None:
        filters = audited.filters
    else:
        assert scales is not None
        filters = len(scales.gamma)
    return LayerFacts(
        key=key,
        filters=filters,
        inactive_by_scale=inactive,
        inactive_by_activation=None if silent is None else len(silent),
        selectivity=audited.selectivity if audited is not None else None,
        mean_gamma=gamma,
        mean_beta=beta,
    )
