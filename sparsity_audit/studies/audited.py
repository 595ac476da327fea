"""What the audit of a run's model adds to its record: activations, the capacity ledger, the ablation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from sparsity_audit.checkpoints.checkpoint import read_checkpoint
from sparsity_audit.errors import CheckpointError
from sparsity_audit.schema.base import Criterion
from sparsity_audit.schema.report import AuditReport, ModelReport
from sparsity_audit.schema.validating import first_problem

Floats = NDArray[np.float64]


def read_audit(path: Path, model: Path) -> ModelReport | None:
    """Return what a run's audit says of its model; None where it was not audited.

    Where the weights lie beside it, they must be those that were audited.

    Raises:
        CheckpointError: not a report of one model on its training split, of other weights, or damaged; one line.
    """
    try:
        report = AuditReport.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as failure:
        raise CheckpointError(f"{path}: cannot be read ({failure.strerror})") from None
    except ValidationError as failure:
        raise CheckpointError(
            f"{path}: not an audit report ({first_problem(failure)}); audit the model again"
        ) from None
    if len(report.models) != 1:
        raise CheckpointError(f"{path}: a report of {len(report.models)} models; audit this run's model alone")
    (audit,) = report.models
    if audit.corpus is None or audit.corpus.split != "train":
        raise CheckpointError(f"{path}: not an audit on the training split; leave --split at train")
    if model.is_file() and read_checkpoint(model).sha256 != audit.sha256:
        raise CheckpointError(f"{path}: an audit of other weights than {model.name}; audit the model again")
    return audit


def share(part: int | None, whole: int | None) -> float | None:
    """Return ``part`` / ``whole``; None where one is unknown, or there is nothing to take a share of."""
    return None if part is None or not whole else part / whole


def shares(audit: ModelReport | None, criterion: Criterion) -> float | None:
    """Return the share of all filters that are dead by a criterion; None where that was not measured."""
    if audit is None or criterion not in audit.totals.lost:
        return None
    return share(audit.totals.lost[criterion].filters, audit.totals.filters)


def mean_selectivity(audit: ModelReport | None) -> float | None:
    """Return the mean selectivity of all filters that are active on the corpus (Sec. 2.3), 0–1."""
    layers = audit.layers if audit is not None else []
    known = [
        (layer.selectivity, layer.filters - len(layer.activation))
        for layer in layers
        if layer.selectivity is not None and layer.activation is not None
    ]
    active = sum(filters for _, filters in known)
    return sum(selectivity * filters for selectivity, filters in known) / active if active else None


def capacity_lost(audit: ModelReport | None) -> float | None:
    """Return the share of convolution parameters that go with the filters inactive by scale (Table 2), 0–1."""
    if audit is None or "scale" not in audit.totals.lost:
        return None
    return share(audit.totals.lost["scale"].params, audit.totals.params)


def pruned_error(audit: ModelReport | None) -> float | None:
    """Return the test error with γ of the filters inactive by scale set to 0 (Table 2's 'Pruned Test Err.'), 0–1."""
    if audit is None or audit.error is None:
        return None
    if audit.ablation is not None:
        return audit.ablation.top1_scale_zeroed
    lost = audit.totals.lost.get("scale")
    return audit.error.top1 if lost is not None and not lost.filters else None  # nothing there to zero
