"""The audit report: the one artefact that every reporter is a pure function of."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sparsity_audit.schema.base import Criterion, Document, Strict
from sparsity_audit.schema.config import AuditConfig, Split
from sparsity_audit.schema.gate import EXCUSED, BaselineInfo, Standing, Waiver
from sparsity_audit.schema.gradient_report import GradientInfo
from sparsity_audit.schema.plan import PruningPlan
from sparsity_audit.schema.rule import Rule, RuleId, Scope, Severity
from sparsity_audit.schema.spec import TrainingSettings
from sparsity_audit.schema.study_report import ClaimResult, MissingRun, RunFacts, StudyRowFacts

Outcome = Literal["passed", "failed", "inconclusive", "skipped", "error"]
Unit = Literal["fraction", "count", "ratio"]
EvidenceValue = bool | int | float | str | list[int] | list[float] | list[str] | None


class ToolInfo(Strict):
    """What made the report."""

    version: str
    python: str
    platform: str
    torch: str | None
    """None where the audit did not need torch."""
    device: str = "cpu"
    threads: int | None = None


class ArchitectureInfo(Strict):
    """Whose weights these are, and how that was found out."""

    name: str
    """``zoo:resnet20``, ``torchvision:vgg16_bn``, ``python:pkg.module:factory``."""
    how: Literal["metadata", "option", "detected"]
    twins: list[str] = Field(default_factory=list)
    """Networks with the same tensor names and shapes; some differ in function."""
    classes: int | None = None


class NormalisationInfo(Strict):
    """How pixels were scaled before the model saw them: x = (pixel / pixel_scale − mean) / std."""

    mean: list[float]
    std: list[float]
    pixel_scale: float
    source: Literal["option", "metadata", "architecture", "corpus"]


class CorpusInfo(Strict):
    """The images that statistics come from."""

    name: str
    split: Split
    images: int
    """Images seen."""
    available: int
    """Images in the split."""
    seed: int | None
    """Seed of the subsample; None where every image was seen."""
    sha256: str


class ErrorInfo(Strict):
    """Classification error, 0–1."""

    split: Split
    images: int
    top1: float
    top5: float | None
    """None with five classes or fewer."""
    classes: int


class AblationInfo(Strict):
    """What became of the error when the dead filters' outputs were set to zero after the nonlinearity."""

    criterion: Criterion
    """Which filters were zeroed."""
    images: int
    top1_before: float
    top1_after: float
    changed_predictions: int
    """Images whose first answer became another."""
    top1_scale_zeroed: float
    """Error with γ of the filters that are inactive by scale set to 0, and β kept."""
    changed_scale_zeroed: int


class SkippedLayer(Strict):
    """A feature layer, or a part of the model, that was not audited, and why."""

    layer: str
    reason: str


class Coverage(Strict):
    """What share of the feature layers had both criteria, scale and activation, decided."""

    fraction: float | None
    """None where activations were not measured, or there is no feature layer at all."""
    selectivity_fraction: float | None
    audited: list[str]
    skipped: list[SkippedLayer]


class Lost(Strict):
    """What dead filters take with them: output and input sides, counted once."""

    filters: int
    params: int | None
    macs: int | None
    held_back: int | None
    """Parameters reading a channel that only some of its producers leave dead: they stay."""


class LayerReport(Strict):
    """One feature layer: all filters of one convolution call. Index lists number its output channels."""

    key: str
    norm: str | None
    """Parameter path of the normalisation that scales these filters."""
    nonlinearity: str | None
    filters: int
    scale: list[int] | None
    """Inactive by scale; None where no normalisation with γ belongs to the layer."""
    activation: list[int] | None
    """Inactive by activation; None without data."""
    constant: list[int] | None
    """Constant, not zero, on the corpus; None without data."""
    constant_candidates: list[int] | None
    """γ inactive and β > 0: constant after a ReLU, as far as the weights alone can tell."""
    params: int | None
    macs: int | None
    lost: dict[Criterion, Lost]
    selectivity: float | None
    """Mean over the filters that are active on the corpus."""
    universality: list[float] | None
    universality_bound: list[float] | None = None
    """How far off ``universality`` may be at most, for each filter; 0 where it is exact."""
    firing_rate: list[float] | None
    gamma: list[float | None] | None
    beta: list[float | None] | None
    maximum: list[float | None] | None
    """Largest activation over corpus and plane."""
    minimum: list[float | None] | None
    nonfinite_images: int | None
    """Images on which its worst filter had a NaN or an infinity in the plane."""


class NormReport(Strict):
    """A normalisation that no convolution feeds alone: after Linear, on the input, a concatenation or a sum."""

    key: str
    position: str
    features: int
    scale: list[int] | None
    constant_candidates: list[int] | None


class Totals(Strict):
    """The bottom line of the capacity ledger."""

    layers: int
    filters: int
    paired: int | None
    """Norm features that were paired with a convolution; only where tensors alone were read."""
    params: int | None
    """Convolution parameters, biases not counted."""
    macs: int | None
    lost: dict[Criterion, Lost]


class RuleResult(Strict):
    """One rule on one layer or one model."""

    rule: RuleId
    name: str
    version: int
    scope: Scope
    layer: str | None
    outcome: Outcome
    severity: Severity | None
    """Which limit a failed rule broke."""
    value: float | None
    unit: Unit
    """What ``value`` and ``limit`` count: a share (0–1), things, or a ratio of two like quantities."""
    limit: float | None
    interval: tuple[float, float] | None
    n: int | None
    reason: str | None
    """Why the rule was skipped, inconclusive or crashed."""
    message: str
    evidence: dict[str, EvidenceValue] = Field(default_factory=dict)
    remedies: list[str] = Field(default_factory=list)
    standing: Standing | None = None
    """How a failure stands to the baseline and to waivers; None where neither says anything of it."""
    standing_reason: str | None = None
    """That in words: the baseline's value, the waiver's reason and last day."""

    @property
    def subject(self) -> str | None:
        """What it is about within its model or study: a layer, or the runs compared; None for the whole."""
        runs = self.evidence.get("runs") if self.scope == "study" else None
        if self.layer is not None or not isinstance(runs, list):
            return self.layer
        return " against ".join(str(run) for run in runs) or None

    @property
    def excused(self) -> bool:
        """Whether it failed and does not count: the baseline knows it, or it is waived."""
        return self.standing in EXCUSED


class ModelReport(Strict):
    """All that was found out about one model."""

    path: str
    sha256: str
    architecture: ArchitectureInfo | None
    training: TrainingSettings | None
    normalisation: NormalisationInfo | None
    corpus: CorpusInfo | None
    error: ErrorInfo | None
    ablation: AblationInfo | None = None
    """None where it was not tried."""
    gradients: GradientInfo | None = None
    """None where no rule asked for them."""
    coverage: Coverage
    layers: list[LayerReport]
    norms: list[NormReport]
    totals: Totals
    nonfinite_tensors: list[str]
    """Tensors of the file that hold NaN or infinity."""
    results: list[RuleResult]
    plan: PruningPlan | None
    notes: list[str] = Field(default_factory=list)


class SessionError(Strict):
    """A model that could not be audited at all."""

    path: str
    message: str


class StudyReport(Strict):
    """A comparison of runs: what each run is, and what rules and claims say of all of them together."""

    name: str
    title: str
    source: str | None
    """The paper's table that it follows; null for others."""
    runs: list[RunFacts]
    missing: list[MissingRun]
    rows: list[StudyRowFacts]
    results: list[RuleResult]
    claims: list[ClaimResult]
    notes: list[str] = Field(default_factory=list)


class AuditReport(Document):
    """One session: every model, every result."""

    tool: ToolInfo
    config: AuditConfig
    config_file: str | None
    started: str
    """ISO 8601, UTC."""
    duration_seconds: float
    exit_code: int
    models: list[ModelReport]
    studies: list[StudyReport] = Field(default_factory=list)
    errors: list[SessionError] = Field(default_factory=list)
    rules: list[Rule] = Field(default_factory=list)
    """The rules that applied, with the limits that held; empty in older reports."""
    baseline: BaselineInfo | None = None
    unused_waivers: list[Waiver] = Field(default_factory=list)
    """Waivers of the configuration that no failure needs any more."""

    def results(self) -> list[RuleResult]:
        """Return the results of all models, then of all studies, in order."""
        of_models = [result for model in self.models for result in model.results]
        return of_models + [result for study in self.studies for result in study.results]

    def count(self, outcome: Outcome, severity: Severity | None = None) -> int:
        """Return how many results ended so; ``severity`` narrows failures to one limit."""
        return sum(result.outcome == outcome and severity in (None, result.severity) for result in self.results())

    def failures(self) -> list[str]:
        """Return a line for each failure that counts: rule, layer, and what was found."""
        failed = [result for result in self.results() if result.outcome == "failed" and not result.excused]
        return [f"{found.rule}[{found.subject or 'all'}] {found.severity}: {found.message}" for found in failed]
