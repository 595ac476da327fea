"""Two reports beside each other: which filters died, which revived, which failures came and went."""

from __future__ import annotations

from collections.abc import Iterator

from sparsity_audit.errors import UsageError
from sparsity_audit.ratchet.matching import Part, Spot, counterpart, name_of, parts_of, spot_of, worse_by
from sparsity_audit.schema.base import Criterion
from sparsity_audit.schema.diff import Change, DeadTotals, FilterChanges, FindingChange, PartDiff, ReportDiff
from sparsity_audit.schema.report import AuditReport, LayerReport, ModelReport, RuleResult

CRITERIA: tuple[Criterion, ...] = ("scale", "activation", "constant")


def diff_reports(before: AuditReport, after: AuditReport, names: tuple[str, str]) -> ReportDiff:
    """Return what became different from one report to a later one.

    Filters are compared by their number: that means something for stages of one training, or a model before and after
    fine-tuning, and nothing for two trainings from other seeds.

    Args:
        names: of the two files.

    Raises:
        UsageError: they have no model and no study in common.
    """
    pairs: list[tuple[Part, Part]] = []
    for part in parts_of(after):
        kind = [other for other in parts_of(before) if isinstance(other, type(part))]
        beside = [name_of(other) for other in parts_of(after) if isinstance(other, type(part))]
        if (found := counterpart(name_of(part), beside, kind)) is not None:
            pairs.append((found, part))
    if not pairs:
        raise UsageError(f"{names[0]} and {names[1]} have no model in common: compare reports of the same models")
    known = [id(part) for pair in pairs for part in pair]
    only = [[name_of(part) for part in parts_of(report) if id(part) not in known] for report in (before, after)]
    return ReportDiff(
        before=names[0],
        after=names[1],
        parts=[_part_diff(old, new) for old, new in pairs],
        only_before=only[0],
        only_after=only[1],
    )


def _part_diff(old: Part, new: Part) -> PartDiff:
    findings = list(_findings(old, new))
    if not isinstance(old, ModelReport) or not isinstance(new, ModelReport):
        return PartDiff(
            name=name_of(new),
            sha256_before=None,
            sha256_after=None,
            images_before=None,
            images_after=None,
            error_before=None,
            error_after=None,
            filters=None,
            dead={},
            layers=[],
            layers_removed=[],
            layers_added=[],
            findings=findings,
        )
    layers = {layer.key: layer for layer in old.layers}
    shared = [(layers[new_layer.key], new_layer) for new_layer in new.layers if _same(layers, new_layer)]
    common = {layer.key for layer, _ in shared}
    changes = [_filter_changes(*pair) for pair in shared]
    return PartDiff(
        name=new.path,
        sha256_before=old.sha256,
        sha256_after=new.sha256,
        images_before=old.corpus.images if old.corpus else None,
        images_after=new.corpus.images if new.corpus else None,
        error_before=old.error.top1 if old.error else None,
        error_after=new.error.top1 if new.error else None,
        filters=new.totals.filters,
        dead=dict(_dead(old, new)),
        layers=[change for change in changes if any([*change.died.values(), *change.revived.values()])],
        layers_removed=[layer.key for layer in old.layers if layer.key not in common],
        layers_added=[layer.key for layer in new.layers if layer.key not in common],
        findings=findings,
    )


def _same(layers: dict[str, LayerReport], layer: LayerReport) -> bool:
    return layer.key in layers and layers[layer.key].filters == layer.filters


def _filter_changes(old: LayerReport, new: LayerReport) -> FilterChanges:
    died: dict[Criterion, list[int]] = {}
    revived: dict[Criterion, list[int]] = {}
    for criterion in CRITERIA:
        was, now = getattr(old, criterion), getattr(new, criterion)
        if was is not None and now is not None:
            died[criterion] = sorted(set(now) - set(was))
            revived[criterion] = sorted(set(was) - set(now))
    return FilterChanges(key=new.key, filters=new.filters, died=died, revived=revived)


def _dead(old: ModelReport, new: ModelReport) -> Iterator[tuple[Criterion, DeadTotals]]:
    for criterion in CRITERIA:
        was, now = old.totals.lost.get(criterion), new.totals.lost.get(criterion)
        if was is not None and now is not None:
            yield criterion, DeadTotals(before=was.filters, after=now.filters)


def _findings(old: Part, new: Part) -> Iterator[FindingChange]:
    was = {spot_of(result): result for result in old.results}
    now = {spot_of(result): result for result in new.results}
    for spot in dict.fromkeys([*now, *was]):
        change = _change(was.get(spot), now.get(spot))
        if change is not None:
            yield _finding(spot, change, was.get(spot), now.get(spot))


def _change(was: RuleResult | None, now: RuleResult | None) -> Change | None:
    """Return what became of a failure; None where it never was one, nothing changed, or it was not checked again."""
    if now is None or now.outcome != "failed":
        failed_before = was is not None and was.outcome == "failed"
        return "gone" if failed_before and now is not None and now.outcome == "passed" else None
    if was is None or was.outcome != "failed":
        return "new"
    severities = (was.severity, now.severity)
    if severities == ("warning", "error"):
        return "worse"
    if severities == ("error", "warning"):
        return "better"
    difference = worse_by(now, was.value)
    return "worse" if difference > 0 else "better" if difference < 0 else None


def _finding(spot: Spot, change: Change, was: RuleResult | None, now: RuleResult | None) -> FindingChange:
    unit = (now or was).unit  # type: ignore[union-attr]  # one of them is there
    return FindingChange(
        rule=spot.rule,
        layer=spot.subject,
        change=change,
        unit=unit,
        before=was.value if was else None,
        after=now.value if now else None,
        outcome_before=was.outcome if was else None,
        outcome_after=now.outcome if now else None,
        severity_before=was.severity if was else None,
        severity_after=now.severity if now else None,
    )
