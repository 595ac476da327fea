"""Which results of two reports are about the same thing, and which of two values is worse."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import PurePath
from typing import NamedTuple

from sparsity_audit.schema.report import AuditReport, ModelReport, RuleResult, StudyReport

Part = ModelReport | StudyReport


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


def counterpart(name: str, names: Sequence[str], earlier: Sequence[Part]) -> Part | None:
    """Return the model or study of an earlier report that goes by a name, or None.

    A report made elsewhere has the same model under another path, so the file's name counts where no other has it;
    and where both reports have one model alone, these two belong together.

    Args:
        names: of all of its kind in the present report: what one of them goes by is no other's.
    """
    exact = [part for part in earlier if name_of(part) == name]
    if exact:
        return exact[0]
    others = {other for other in names if other != name}
    alike = [part for part in earlier if _file_name(name_of(part)) == _file_name(name)]
    unique = not any(_file_name(other) == _file_name(name) for other in others)
    for found in (alike if unique else [], [] if others else list(earlier)):
        if len(found) == 1:
            return found[0]
    return None


def _file_name(name: str) -> str:
    return PurePath(name).name


def worse_by(now: RuleResult, value: float | None) -> float:
    """Return how much worse a failed result's value is than an earlier one, as a multiple of max(1, |earlier|).

    Below 0 it is better. A value that is not a number (NaN is null in JSON) is as bad as can be.
    """
    earlier_known = value is not None and math.isfinite(value)
    if now.value is None or not math.isfinite(now.value):
        return math.inf if earlier_known else 0.0
    if value is None or not earlier_known:
        return -math.inf
    up = now.limit is None or now.value > now.limit
    return (now.value - value if up else value - now.value) / max(1.0, abs(value))
