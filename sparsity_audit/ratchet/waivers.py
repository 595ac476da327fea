"""Waivers: failures that are accepted until a day, for a reason."""

from __future__ import annotations

import datetime
import fnmatch
from collections.abc import Iterable, Sequence

from sparsity_audit.errors import ConfigError, did_you_mean
from sparsity_audit.schema.gate import Waiver
from sparsity_audit.schema.report import RuleResult
from sparsity_audit.schema.rule import Rule


def check_waivers(waivers: Sequence[Waiver], rules: Sequence[Rule], where: str) -> None:
    """Refuse waivers for rules that nobody knows: they would look like ones that are not needed.

    Raises:
        ConfigError: an unknown id.
    """
    known = [rule.id for rule in rules]
    for waiver in waivers:
        if waiver.rule not in known:
            raise ConfigError(f"{where}: waiver for unknown rule {waiver.rule!r}{did_you_mean(waiver.rule, known)}")


def fits(waiver: Waiver, name: str, result: RuleResult) -> bool:
    """Tell whether a waiver speaks of a result of the model or study ``name``."""
    return (
        waiver.rule == result.rule
        and fnmatch.fnmatchcase(result.layer or "", waiver.layer)
        and fnmatch.fnmatchcase(name, waiver.model)
    )


def waived(result: RuleResult, name: str, waivers: Iterable[Waiver], today: datetime.date) -> RuleResult | None:
    """Return a failed result as waived, or as one whose waiver has ended; None where no waiver speaks of it."""
    fitting = sorted((waiver for waiver in waivers if fits(waiver, name, result)), key=lambda waiver: waiver.expires)
    if not fitting:
        return None
    last = fitting[-1]
    if last.expires < today:
        words = f"its waiver ended on {last.expires}: {last.reason}"
        return result.model_copy(update={"standing": "expired", "standing_reason": words})
    words = f"waived until {last.expires}: {last.reason}"
    return result.model_copy(update={"standing": "waived", "standing_reason": words})


def unused(waivers: Iterable[Waiver], results: Sequence[tuple[str, RuleResult]]) -> list[Waiver]:
    """Return the waivers that fit no failure, of rules that were checked.

    Args:
        results: with the names of their models or studies.
    """
    checked = {result.rule for _, result in results}
    failed = [(name, result) for name, result in results if result.outcome == "failed"]
    return [
        waiver
        for waiver in waivers
        if waiver.rule in checked and not any(fits(waiver, name, result) for name, result in failed)
    ]
