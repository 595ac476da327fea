"""What a comparison of runs found: facts of each run, results of the study rules, outcomes of the claims."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sparsity_audit.schema.base import Fraction, Strict
from sparsity_audit.schema.spec import TrainingSettings, ZooSpec
from sparsity_audit.schema.study import PrintedValues

ClaimOutcome = Literal["reproduced", "not reproduced", "inconclusive", "not run"]


class LayerFacts(Strict):
    """One feature layer of a run."""

    key: str
    filters: int
    inactive_by_scale: int | None
    inactive_by_activation: int | None = None
    """Null where the model was not audited on data."""
    selectivity: Fraction | None = None
    """Mean over the filters that are active on the corpus."""
    mean_gamma: float | None = None
    """Of the filters that are active by scale, as ``mean_beta``; null where there is none."""
    mean_beta: float | None = None


class RunFacts(Strict):
    """What rules and claims know of one finished run; shares are 0–1."""

    name: str
    """Row or spec id, or what a manifest calls it."""
    path: str
    digest: str | None
    """Null for models trained elsewhere."""
    spec: ZooSpec | None
    """Null for models trained elsewhere."""
    training: TrainingSettings | None
    """What is known of optimizer, regulariser and batch size."""
    seed: int | None
    error: Fraction | None
    """Test error."""
    train_loss: float | None = None
    test_loss: float | None = None
    by_scale: Fraction | None
    """Share of convolution filters inactive by scale."""
    by_activation: Fraction | None = None
    by_constant: Fraction | None = None
    selectivity: Fraction | None = None
    """Mean over all filters active on the corpus."""
    capacity_lost: Fraction | None = None
    """Share of convolution parameters that go with the filters inactive by scale (Table 2's '% param pruned')."""
    pruned_error: Fraction | None = None
    """Test error with the filters inactive by scale zeroed (Table 2's 'Pruned Test Err.')."""
    decay_budget: float | None = None
    """See ``TrainingRecord.decay_budget``."""
    rate_sum: float | None = None
    group: str | None = None
    """Of models trained elsewhere: see ``ManifestEntry.group``."""
    steps: int | None = None
    """Of models trained elsewhere: see ``ManifestEntry.steps``."""
    layers: list[LayerFacts] = Field(default_factory=list)


class MissingRun(Strict):
    """A run that a study asks for and that is not there."""

    name: str
    seed: int
    digest: str
    reason: str
    """``not run``, or how it failed."""


class ClaimResult(Strict):
    """A claim of the paper, held against runs."""

    id: str
    claim: str
    """The claim in words."""
    source: str
    """Where the paper makes it."""
    outcome: ClaimOutcome
    value: float | None
    """The effect, in the unit of the claim; null where nothing could be compared."""
    interval: tuple[float, float] | None
    """95 % t-interval over seeds."""
    n: int
    """Seeds that the interval rests on."""
    reason: str | None
    """Why it is inconclusive or not run."""
    message: str
    """What was found, in words."""
    runs: list[str] = Field(default_factory=list)
    """Names of the rows compared."""


class StudyRowFacts(Strict):
    """One row of a study's table: the mean over its seeds, and what the paper printed of it."""

    id: str
    settings: str
    """One line on what was trained."""
    seeds: list[int]
    """Seeds that were run."""
    means: dict[str, float | None]
    """Means over the seeds by the names of ``RunFacts``' shares and losses."""
    deviations: dict[str, float | None]
    """Sample standard deviations; null below two seeds."""
    printed: PrintedValues | None = None
