"""What excuses a failure: an earlier report that it must not be worse than, or a waiver with a reason and an end."""

from __future__ import annotations

import datetime
from typing import Annotated, Literal

from pydantic import Field

from sparsity_audit.schema.base import Strict
from sparsity_audit.schema.rule import RuleId, Severity

Standing = Literal["new", "worse", "known", "waived", "expired"]
"""Of a failed result. ``known``: in the baseline, and not worse; ``waived``: by the configuration. These two don't
fail a session. ``new`` and ``worse``: than the baseline; ``expired``: it was waived until a day that has passed."""

EXCUSED: tuple[Standing, ...] = ("known", "waived")

Tolerance = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]


class Waiver(Strict):
    """Failures that are accepted for a time; patterns are globs."""

    rule: RuleId
    layer: str = "*"
    """Over layer keys; a result on a whole model has the key ``""``, so that only ``*`` fits it."""
    model: str = "*"
    """Over the paths of models, and the names of studies."""
    reason: Annotated[str, Field(min_length=1)]
    expires: datetime.date
    """The last day (UTC) on which it holds."""


class Improvement(Strict):
    """A failure of the baseline that is gone, or better by more than the tolerance."""

    model: str
    rule: RuleId
    layer: str | None
    severity_before: Severity | None
    severity_after: Severity | None
    """None where it does not fail any more."""
    before: float | None
    after: float | None


class BaselineInfo(Strict):
    """The earlier report that a session was held against."""

    path: str
    started: str | None
    """When the earlier session began; None where this session's report is the first."""
    tolerance: Tolerance
    """How much worse a value may be, in its unit: times its size where that is above 1."""
    improvements: list[Improvement]
    updated: bool = False
    """The file was written anew, with the better of each old and new value."""
