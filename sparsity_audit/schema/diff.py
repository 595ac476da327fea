"""What became different between two reports: of ``sparsity-audit diff``."""

from __future__ import annotations

from typing import Literal

from sparsity_audit.schema.base import Criterion, Document, Strict
from sparsity_audit.schema.report import Outcome, Unit
from sparsity_audit.schema.rule import RuleId, Severity

Change = Literal["new", "gone", "worse", "better"]


class FilterChanges(Strict):
    """Filters of one layer that are dead in one of two reports only; indices number its output channels."""

    key: str
    filters: int
    died: dict[Criterion, list[int]]
    """By criterion: dead in the later report only. Criteria that one of them did not decide are left out."""
    revived: dict[Criterion, list[int]]


class FindingChange(Strict):
    """A failure that came, went, or has another value."""

    rule: RuleId
    layer: str | None
    change: Change
    unit: Unit
    before: float | None
    after: float | None
    outcome_before: Outcome | None
    """None where the earlier report did not check it."""
    outcome_after: Outcome | None
    severity_before: Severity | None
    severity_after: Severity | None


class DeadTotals(Strict):
    """Dead filters of all layers by one criterion."""

    before: int
    after: int


class PartDiff(Strict):
    """One model or study in both reports."""

    name: str
    """In the later report."""
    sha256_before: str | None
    """None for studies."""
    sha256_after: str | None
    images_before: int | None
    images_after: int | None
    error_before: float | None
    error_after: float | None
    filters: int | None
    dead: dict[Criterion, DeadTotals]
    layers: list[FilterChanges]
    """Layers in which a filter died or revived."""
    layers_removed: list[str]
    """Layers that are in the earlier report only, or with another number of filters."""
    layers_added: list[str]
    findings: list[FindingChange]


class ReportDiff(Document):
    """Two reports beside each other."""

    before: str
    after: str
    parts: list[PartDiff]
    only_before: list[str]
    """Models and studies without a counterpart."""
    only_after: list[str]
