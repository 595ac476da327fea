"""Which results of two reports are about the same thing, and which of two values is worse."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import PurePath
from typing import NamedTuple, TypeVar

from sparsity_audit.schema.report import AuditReport, ModelReport, RuleResult, StudyReport

Part = ModelReport | StudyReport
Named = TypeVar("Named")


class Spot(NamedTuple):
    """What a result is about, within one model or study."""

    rule: str
    subject: str | None
    """A layer, or the runs that a study's result compares."""


def spot_of(result: RuleResult) -> Spot:
    """Return what a result is about."""
    return Spot(result.rule, result.subject)


def name_of(part: Part) -> str:
    """Return a model's path or a study's name."""
    return part.path if isinstance(part, ModelReport) else part.name


def parts_of(report: AuditReport) -> list[Part]:
    """Return the models and the studies of a report."""
    return [*report.models, *report.studies]


def counterpart(name: str, among: int, earlier: Sequence[Part]) -> Part | None:
    """Return the model or study of an earlier report that goes by a name, or None.

    A report made elsewhere has the same model under another path, so the file's name counts where no other has it;
    and where both reports have one model alone, these two belong together.

    Args:
        among: how many of its kind the present report has.
    """
    exact = [part for part in earlier if name_of(part) == name]
    alike = [part for part in earlier if PurePath(name_of(part)).name == PurePath(name).name]
    for found in (exact, alike, list(earlier) if among == 1 else []):
        if len(found) == 1:
            return found[0]
    return None


def worse_by(now: RuleResult, value: float | None) -> float:
    """Return how much worse a failed result's value is than an earlier one, as a multiple of max(1, |earlier|).

    Below 0 it is better. A value that is not a number (NaN is null in JSON) is as bad as can be.
    """
    if now.value is None or not math.isfinite(now.value):
        return 0.0 if value is None else math.inf
    if value is None:
        return -math.inf
    up = now.limit is None or now.value > now.limit
    return (now.value - value if up else value - now.value) / max(1.0, abs(value))
