"""What ``prune`` found and did: the three classes beside one another, and the one that was carried out."""

from __future__ import annotations

from pydantic import Field

from sparsity_audit.schema.base import Document, Strict
from sparsity_audit.schema.plan import ComparisonFigures, PruningClass, PruningPlan
from sparsity_audit.schema.report import ArchitectureInfo, CorpusInfo, NormalisationInfo, ToolInfo


class TestFigures(Strict):
    """A network on the labelled test split."""

    __test__ = False  # no test class of pytest's

    images: int
    error: float
    """Top-1, 0–1."""
    loss: float
    """Mean cross-entropy."""
    changed: int = 0
    """Images whose first answer is not the original network's."""


class ClassResult(Strict):
    """A slim network with all of one class removed, and of the safer ones."""

    pruning_class: PruningClass
    within_limit: bool = False
    """Only as many filters of the class go as the limit on the test error allows; this is what is carried out."""
    dead: int
    """Filters of this class and the safer ones; under the limit, those of them that were chosen."""
    removed: int
    """Filters that the slim network does not compute any more, ``derived`` and ``scattered`` included."""
    derived: int
    scattered: int
    carriers: int
    kept: int
    """Dead filters that stay, for the reasons that the plan lists."""
    params: int
    macs: int
    test: TestFigures | None
    """None without labelled data."""
    floor: TestFigures | None
    """The original with the same filters held at their constants: γ zeroed and β kept, for the small ones. No removal
    can do better."""
    comparisons: list[ComparisonFigures]
    rolled_back: dict[str, str] = Field(default_factory=dict)
    """Layers whose cut failed its verification and was undone, and how it failed."""


class SpreadFigures(Strict):
    """Median and quartiles."""

    median: float
    lower: float
    upper: float


class LatencyFigures(Strict):
    """Original and slim network on batches of one size, run in turns."""

    batch_size: int
    rounds: int
    threads: int
    before: SpreadFigures
    """Seconds a batch."""
    after: SpreadFigures
    ratio: SpreadFigures
    """After / before, round by round."""


class PruneReport(Document):
    """One call of ``prune`` or ``apply-plan``."""

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
    before: TestFigures | None
    classes: list[ClassResult]
    """Safest first; those that nothing more is in than in the one before are there too."""
    chosen: PruningClass
    plan: PruningPlan
    """Of the chosen class; no layer removes anything where nothing can go."""
    latency: list[LatencyFigures] = Field(default_factory=list)
    output: str | None
    """The slim file; None where none was asked for, or nothing could go."""
    notes: list[str] = Field(default_factory=list)
