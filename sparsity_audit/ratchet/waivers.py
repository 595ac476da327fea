"""Waivers: failures that are accepted until a day, for a reason."""

from __future__ import annotations

import datetime
import fnmatch
from collections.abc import Iterable, Sequence

from sparsity_audit.errors import ConfigError, did_you_mean
from sparsity_audit.ratchet.matching import Part, name_of
from sparsity_audit.schema.gate import Waiver
from sparsity_audit.schema.report import ModelReport, RuleResult
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


def unused(waivers: Iterable[Waiver], parts: Sequence[Part]) -> list[Waiver]:
    """Return the waivers that no failure needs: what they speak of passes, or is a layer that is not there.

    Those for models, rules and layers that this session left out, or could not decide, are not among them.
    """
    return [waiver for waiver in waivers if _needless(waiver, parts)]


def _needless(waiver: Waiver, parts: Sequence[Part]) -> bool:
    fitting = [result for part in parts for result in part.results if fits(waiver, name_of(part), result)]
    if fitting:
        outcomes = {result.outcome for result in fitting}
        return "failed" not in outcomes and "passed" in outcomes
    models = [part for part in parts if isinstance(part, ModelReport) and fnmatch.fnmatchcase(part.path, waiver.model)]
    checked = [model for model in models if any(result.rule == waiver.rule for result in model.results)]
    keys = [layer.key for model in checked for layer in model.layers]
    return bool(checked) and not any(fnmatch.fnmatchcase(key, waiver.layer) for key in keys)
