"""Baselines: what failed before may fail again, but not worse."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from sparsity_audit.errors import ConfigError
from sparsity_audit.ratchet.matching import Part, Spot, counterpart, name_of, parts_of, spot_of, worse_by
from sparsity_audit.schema.gate import Improvement
from sparsity_audit.schema.report import AuditReport, ModelReport, RuleResult
from sparsity_audit.schema.rule import Rule

_REMEDY = "make a new baseline: move the file away and run with --update-baseline"


def earlier_part(part: Part, names: Sequence[str], baseline: AuditReport, path: str) -> Part | None:
    """Return what the baseline says of a model or study, None where it does not know it.

    Args:
        names: of the models, or the studies, that this session has.
        path: of the baseline, for messages.

    Raises:
        ConfigError: it is of another model's layers, or of another version of a rule.
    """
    kind = [other for other in parts_of(baseline) if isinstance(other, type(part))]
    found = counterpart(name_of(part), names, kind)
    if found is None:
        return None
    if isinstance(part, ModelReport) and isinstance(found, ModelReport):
        _check_layers(part, found, path)
    _check_versions(part, found, path)
    return found


def _check_layers(now: ModelReport, before: ModelReport, path: str) -> None:
    layers = {layer.key: layer.filters for layer in now.layers}
    known = {layer.key: layer.filters for layer in before.layers}
    if layers == known:
        return
    key = next(key for key in [*layers, *known] if layers.get(key) != known.get(key))
    if key not in known:
        why = f"it has no layer {key!r}"
    elif key not in layers:
        why = f"its layer {key!r} is not there"
    else:
        why = f"its layer {key!r} has {known[key]} filters, not {layers[key]}"
    raise ConfigError(f"{path}: is the baseline of another model than {now.path}: {why}; {_REMEDY}")


def _check_versions(now: Part, before: Part, path: str) -> None:
    known = {result.rule: result.version for result in before.results}
    for result in now.results:
        version = known.get(result.rule, result.version)
        if version != result.version:
            raise ConfigError(
                f"{path}: holds results of {result.rule} version {version}, this session's is {result.version}; "
                f"{_REMEDY}"
            )


def check_rules(rules: Sequence[Rule], baseline: AuditReport, path: str) -> None:
    """Refuse a baseline whose rules measure something else under the same id.

    Raises:
        ConfigError: another version, measure or arguments.
    """
    known = {rule.id: rule for rule in baseline.rules}
    for rule in rules:
        old = known.get(rule.id, rule)
        if (old.version, old.measure, old.args) != (rule.version, rule.measure, rule.args):
            raise ConfigError(
                f"{path}: {rule.id} was measured otherwise (version {old.version}, {old.measure} {_told(old.args)}; "
                f"now version {rule.version}, {rule.measure} {_told(rule.args)}); {_REMEDY}"
            )


def _told(args: Mapping[str, object]) -> str:
    return ", ".join(f"{key} = {value!r}" for key, value in args.items()) or "without arguments"


def known_failures(part: Part | None) -> dict[Spot, RuleResult]:
    """Return what the baseline lets through: its failures, but those that only a waiver excused."""
    results = part.results if part is not None else []
    failed = [result for result in results if result.outcome == "failed"]
    return {spot_of(result): result for result in failed if result.standing not in ("waived", "expired")}


def held_against(result: RuleResult, before: RuleResult | None, tolerance: float) -> RuleResult:
    """Return a failed result with its standing to the baseline's: known, worse or new."""
    if before is None:
        return _standing(result, "new", "the baseline has no such failure")
    was = "nan" if before.value is None or math.isnan(before.value) else f"{before.value:.6g}"
    if worse_by(result, before.value) > tolerance:
        return _standing(result, "worse", f"{was} in the baseline")
    if before.severity == "warning" and result.severity != "warning":
        return _standing(result, "new", f"a warning in the baseline, at {was}: the limits were others")
    return _standing(result, "known", f"{was} in the baseline")


def _standing(result: RuleResult, standing: str, words: str) -> RuleResult:
    return result.model_copy(update={"standing": standing, "standing_reason": words})


def improvements(part: Part, before: Part | None, tolerance: float) -> Iterable[Improvement]:
    """Yield the baseline's failures that were checked again and are gone, or better beyond the tolerance."""
    now = {spot_of(result): result for result in part.results}
    for spot, old in known_failures(before).items():
        new = now.get(spot)
        if new is None or new.outcome not in ("passed", "failed"):
            continue
        milder = new.outcome == "failed" and (old.severity, new.severity) == ("error", "warning")
        if new.outcome == "passed" or milder or -worse_by(new, old.value) > tolerance:
            yield Improvement(
                model=name_of(part),
                rule=spot.rule,
                layer=spot.subject,
                severity_before=old.severity,
                severity_after=new.severity,
                before=old.value,
                after=new.value,
            )
