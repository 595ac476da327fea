"""What was found out about a model before any rule is applied, and small helpers shared by both ways there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sparsity_audit.schema.report import Coverage, LayerReport, NormReport, Totals
from sparsity_audit.thresholds import GAMMA_THRESHOLD

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Findings:
    """The parts of a model report that are measured, not judged."""

    layers: list[LayerReport]
    norms: list[NormReport]
    totals: Totals
    coverage: Coverage
    notes: list[str]


def gamma_inactive(gamma: Floats) -> NDArray[np.bool_]:
    """Tell which features are inactive by scale, |γ| < 1e-3 (Sec. 2.1); NaN is not inactive."""
    with np.errstate(invalid="ignore"):
        small: NDArray[np.bool_] = np.abs(gamma) < GAMMA_THRESHOLD
    return small


def constant_candidates(gamma: Floats | None, beta: Floats | None) -> list[int] | None:
    """Return the features that are inactive by scale with β > 0: after a ReLU they are constants, not zeros."""
    if gamma is None or beta is None:
        return None
    return [int(i) for i in np.flatnonzero(gamma_inactive(gamma) & (beta > 0))]


def finite_list(values: Floats | None) -> list[float | None] | None:
    """Return an array as JSON can hold it: NaN and infinities become None."""
    if values is None:
        return None
    return [float(value) if np.isfinite(value) else None for value in values]
