"""Many slim networks of one model: a family by size, and the paper's comparators beside ours."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from sparsity_audit.schema.base import Document, Fraction, Strict
from sparsity_audit.schema.plan import PruningPlan
from sparsity_audit.schema.prune_report import LatencyFigures, TestFigures
from sparsity_audit.schema.report import ArchitectureInfo, CorpusInfo, NormalisationInfo, ToolInfo

Objective = Literal["params", "macs", "latency"]
Cost = Literal["params", "macs"]
Aim = Literal["lossless", "paper", "budget"]
Leaves = Literal["dropped", "shift", "constant", "mean"]


class TuningSettings(Strict):
    """What is done to a slim network after it was verified; after it, it computes something else."""

    steps: Annotated[int, Field(ge=0)] = 0
    """Training steps at a constant rate, cross-entropy, no regularizer; 0: none."""
    lr: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1e-3
    optimizer: Literal["sgd", "adam"] = "sgd"
    """With the paper's momentum, or betas and epsilon."""
    bn_images: Annotated[int, Field(ge=0)] = 0
    """Training images on which the running statistics of batch norms are taken anew, last of all; 0: none."""
    batch_size: Annotated[int, Field(ge=2)] = 100
    seed: int = 0
    flip: bool = False
    """Random horizontal flips while training."""

    @property
    def idle(self) -> bool:
        """Whether nothing is done at all."""
        return not self.steps and not self.bn_images


class Sized(Document):
    """What is known of the model that the slim networks were made from, and of its images."""

    tool: ToolInfo
    started: str
    duration_seconds: float
    path: str
    sha256: str
    architecture: ArchitectureInfo
    corpus: CorpusInfo | None
    normalisation: NormalisationInfo | None
    filters: int
    params: int
    """Convolution parameters, biases not counted."""
    macs: int
    """Of the convolutions, for one image."""
    before: TestFigures
    """The model itself on the test split."""
    gamma_threshold: float
    """|γ| below which a filter is small."""
    objective: Objective | None
    """What filters that are alive were ordered by: this saved for the error added; None: |γ|."""
    tuning: TuningSettings | None
    """Of every slim network, after its verification."""
    notes: list[str] = Field(default_factory=list)


class ParetoPoint(Strict):
    """One slim network of a family."""

    name: str
    """Of its file, without the suffix."""
    aims: list[Aim]
    """What it was made for: lossless filters alone, all dead ones by the paper's threshold, or a share of the cost."""
    share: Fraction | None
    """Of the cost that was to go; None but for a budget."""
    removed: int
    """Filters that it does not compute any more."""
    alive: int
    """Of these, those that no class of dead filters holds: they respond, and their response is missed."""
    params: int
    macs: int
    test: TestFigures
    """As it was cut, and verified."""
    tuned: TestFigures | None
    """As it was written, where its weights were tuned after that."""
    latency: list[LatencyFigures]
    """Of the network as it was written."""
    best_for: list[Cost]
    """Costs for which no other network of the family, nor the original, has as little of it and as low an error."""
    plan: PruningPlan
    """Of the cut, with its verification."""

    @property
    def final(self) -> TestFigures:
        """As it was written."""
        return self.test if self.tuned is None else self.tuned


class ParetoReport(Sized):
    """``prune --pareto``: a family of slim networks from one training, largest first."""

    cost: Cost
    """What the budgets are shares of."""
    points: list[ParetoPoint]


class ComparedCut(Strict):
    """One slim network, cut by one method."""

    seed: int | None = None
    removed: int
    params: int
    macs: int
    test: TestFigures
    """As it was cut, and verified."""
    tuned: TestFigures | None
    """Where its weights were tuned after that."""
    latency: list[LatencyFigures]


class ComparatorRow(Strict):
    """One way to choose filters."""

    method: str
    source: str
    """Who proposed it; empty for ours."""
    leaves: Leaves
    """What stands for a filter that goes: nothing (its activation is 0), what β gives, the constant that it was for
    dead ones, or what it gives on average for living ones."""
    cuts: list[ComparedCut]
    """Several where chance plays a part."""
    reason: str | None = None
    """Why there is none."""
    remark: str | None = None


class ComparisonBlock(Strict):
    """All methods at one number of filters."""

    wanted: int
    """Filters that each method was to remove; what couples channels can make it more."""
    share: Fraction
    """The same, of all filters."""
    aim: Literal["ours", "share"]
    """As many as ours removes, or a share that was asked for."""
    rows: list[ComparatorRow]


class ComparisonReport(Sized):
    """``prune --compare``: the paper's comparators on the same model and data, cut by the same surgery."""

    pruning_class: Literal["lossless", "silent", "small"]
    """Of ours in the first block."""
    blocks: list[ComparisonBlock]
