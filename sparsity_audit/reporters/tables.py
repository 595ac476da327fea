"""The tables of a report as rows of plain text; terminal and Markdown draw them, each in its manner."""

from __future__ import annotations

from typing import NamedTuple

from sparsity_audit.reporters.summary import dead_criterion, dead_filters, lost_in_total, lost_of
from sparsity_audit.reporters.text import (
    DASH,
    count,
    human,
    index_ranges,
    measured,
    number,
    percent,
    points,
    ratio,
    share,
)
from sparsity_audit.schema.base import Criterion
from sparsity_audit.schema.plan import PlannedLayer, PruningPlan
from sparsity_audit.schema.report import LayerReport, Lost, ModelReport, RuleResult

WHOLE_MODEL = "(whole model)"


def place(result: RuleResult) -> str:
    """Return what a result is about: a layer, the arms that a study compares, or the whole model."""
    return result.subject or ("(study)" if result.scope == "study" else WHOLE_MODEL)


def figures(result: RuleResult) -> str:
    """Return what was measured beside the limit: ``37.5 %, limit 30.0 %``."""
    value, limit = (measured(number, result.unit) for number in (result.value, result.limit))
    return f"{value}, limit {limit}"


class Table(NamedTuple):
    """Cells are neither escaped nor padded; a header may have two lines."""

    headers: list[str]
    align: str
    """One letter a column: ``c`` a name out of a file (left), ``l`` left, ``r`` right."""
    rows: list[list[str]]
    total: list[str] | None = None


def ledger_table(model: ModelReport) -> Table:
    """Return the capacity ledger (the paper's Table 2, transposed): a row for each layer, and the total.

    *Lost* is what dead filters take with them; they are dead by ``dead_criterion(model)``.
    """
    criterion = dead_criterion(model)
    third = "const.\n%" if constants_decided(model) else "const.\ncand. %"
    headers = ["layer", "filters", "scale\n%", "activ.\n%", third, "select.\n%"]
    headers += ["params", "params\nlost %", "MACs", "MACs\nlost %", "held\nback"]
    rows = [_ledger_row(layer, criterion, decided=constants_decided(model)) for layer in model.layers]
    return Table(headers, "c" + "r" * (len(headers) - 1), rows, _ledger_total(model, criterion))


def constants_decided(model: ModelReport) -> bool:
    """Tell whether images decided which filters are constant."""
    return any(layer.constant is not None for layer in model.layers)


def _ledger_row(layer: LayerReport, criterion: Criterion, *, decided: bool) -> list[str]:
    constant = layer.constant if decided else layer.constant_candidates
    dead = [points(ratio(_size(found), layer.filters)) for found in (layer.scale, layer.activation, constant)]
    lost = _lost_cells(layer.params, layer.macs, lost_of(layer, criterion))
    return [layer.key, count(layer.filters), *dead, points(layer.selectivity), *lost]


def _size(indices: list[int] | None) -> int | None:
    return None if indices is None else len(indices)


def _lost_cells(params: int | None, macs: int | None, lost: Lost | None) -> list[str]:
    lost_params, lost_macs = (None, None) if lost is None else (lost.params, lost.macs)
    shares = points(ratio(lost_params, params)), points(ratio(lost_macs, macs))
    return [human(params), shares[0], human(macs), shares[1], human(None if lost is None else lost.held_back)]


def _ledger_total(model: ModelReport, criterion: Criterion) -> list[str]:
    totals = model.totals
    constant = dead_filters(model, "constant")
    if not constants_decided(model):
        constant = _candidates(model)
    dead = [dead_filters(model, "scale"), dead_filters(model, "activation"), constant]
    shares = [points(ratio(found, totals.filters)) for found in dead]
    lost = _lost_cells(totals.params, totals.macs, lost_in_total(model, criterion))
    return ["total", count(totals.filters), *shares, "", *lost]


def _candidates(model: ModelReport) -> int | None:
    found = [_size(layer.constant_candidates) for layer in model.layers]
    if model.totals.paired is not None:
        # From tensors alone the total counts every norm feature, the unpaired norms' too.
        found += [_size(norm.constant_candidates) for norm in model.norms]
    known = [size for size in found if size is not None]
    return sum(known) if known else None


def ledger_notes(model: ModelReport) -> list[str]:
    """Return what a reader needs to read the ledger: the meaning of *lost*, and why cells are unknown."""
    union = dead_criterion(model) == "union"
    dead = "inactive by scale or by activation" if union else "inactive by scale"
    notes = []
    if model.totals.params is not None:
        notes.append(
            f"lost: what dead filters ({dead}) take with them, on their inputs' and their outputs' side; "
            "held back: parameters that read a channel that has live producers too"
        )
    if not union:
        notes.append("const. cand.: inactive by scale with β > 0, so constant after a ReLU")
        notes.append("activation and selectivity: unknown without images (--data)")
    if model.architecture is None:
        notes.append("params and MACs: no architecture: consumers and MACs unknown (--arch)")
    elif model.totals.params is None or model.totals.macs is None:
        notes.append("params and MACs: not known for every layer, so not in total")
    if model.totals.paired is not None:
        paired, features = count(model.totals.paired), count(model.totals.filters)
        notes.append(f"the total counts all {features} norm features; {paired} are paired with a convolution")
    return notes


def norms_table(model: ModelReport) -> Table:
    """Return the normalisations that no convolution feeds alone."""
    headers = ["norm", "position", "features", "dead by\nscale", "const.\ncandidates"]
    rows = [
        [
            norm.key,
            norm.position,
            count(norm.features),
            count(_size(norm.scale)),
            count(_size(norm.constant_candidates)),
        ]
        for norm in model.norms
    ]
    return Table(headers, "clrrr", rows)


def failures_table(results: list[RuleResult]) -> Table:
    """Return one rule's failures; dead filters and their number where the evidence has them."""
    headers = ["layer", "value", "limit", "severity"]
    rows = [
        [
            place(result),
            measured(result.value, result.unit),
            measured(result.limit, result.unit),
            result.severity or "error",
        ]
        for result in results
    ]
    align = "crrl"
    for key in ("dead", "filters"):
        if any(key in result.evidence for result in results):
            headers.append(key)
            align += "r"
            for row, result in zip(rows, results, strict=True):
                row.append(_evidence_count(result, key))
    return Table(headers, align, rows)


def _evidence_count(result: RuleResult, key: str) -> str:
    value = result.evidence.get(key)
    if isinstance(value, list):
        return count(len(value))
    return DASH if value is None or isinstance(value, str) else number(value)


def plan_layers(plan: PruningPlan) -> list[PlannedLayer]:
    """Return the layers that lose filters, or keep a dead one only for their shape."""
    return [layer for layer in plan.layers if layer.removed or layer.kept_for_shape is not None]


def plan_table(plan: PruningPlan) -> Table:
    """Return the recommendation: filters to remove by class, and where it is known what that saves.

    A layer that loses no filter saves too where it reads channels that go.
    """
    headers = ["layer", "filters", "remove", "lossless", "silent", "small"]
    rows = [[layer.key, count(layer.filters), count(len(layer.removed)), *_classes([layer])] for layer in plan.layers]
    removed = sum(len(layer.removed) for layer in plan.layers)
    # The plan leaves out untouched layers, so their filters cannot be added up here.
    total = ["total", "", count(removed), *_classes(plan.layers)]
    if plan.params_before is not None:
        headers += ["params\nsaved", "MACs\nsaved", "held\nback"]
        for row, layer in zip(rows, plan.layers, strict=True):
            row += [human(layer.params_saved), human(layer.macs_saved), human(layer.held_back)]
        saved = [_minus(plan.params_before, plan.params_after), _minus(plan.macs_before, plan.macs_after)]
        total += [*map(human, saved), ""]
    return Table(headers, "c" + "r" * (len(headers) - 1), rows, total)


def _classes(layers: list[PlannedLayer]) -> list[str]:
    return [
        count(sum(len(layer.classes.get("lossless", [])) for layer in layers)),
        count(sum(len(layer.classes.get("silent", [])) for layer in layers)),
        count(sum(len(layer.classes.get("small", [])) for layer in layers)),
    ]


def _minus(before: int | None, after: int | None) -> int | None:
    return None if before is None or after is None else before - after


def removals(plan: PruningPlan, limit: int | None) -> list[tuple[str, str]]:
    """Return layer and indices that can go; the evidence too where layers differ in it.

    Args:
        limit: ranges of indices shown for each layer; all of them where None.
    """
    shared = _shared_evidence(plan)
    lines = []
    for layer in plan_layers(plan):
        text = index_ranges(layer.removed, limit)
        if layer.kept_for_shape is not None:
            text += f"; {layer.kept_for_shape} stays, so that the layer is not empty"
        lines.append((layer.key, text if shared else f"{text} ({layer.evidence})"))
    return lines


def _shared_evidence(plan: PruningPlan) -> str | None:
    evidence = {layer.evidence for layer in plan_layers(plan)}
    return evidence.pop() if len(evidence) == 1 else None


def plan_words(plan: PruningPlan) -> list[str]:
    """Return what the recommendation rests on, and its totals before and after."""
    seen = "the weights alone" if plan.images is None else f"{plan.images:,} images"
    dead = f"|γ| < {plan.tolerances.gamma:g}"
    if plan.criterion == "union":
        dead += f", or |activation| ≤ {plan.tolerances.activation:g} on every image"
    words = [f"dead: {dead}; judged on {seen}"]
    shared = _shared_evidence(plan)
    if shared:
        words.append(f"evidence: {shared}")
    if plan.params_before is None:
        words.append("what that saves: unknown without an architecture (--arch)")
    for name, before, after in (
        ("params", plan.params_before, plan.params_after),
        ("MACs", plan.macs_before, plan.macs_after),
    ):
        if before and after is not None:
            words.append(f"{name} {human(before)} → {human(after)} (-{percent(ratio(before - after, before))})")
    return words


def models_table(models: list[ModelReport]) -> Table:
    """Return one row for each model with the figures that decide whether one reads on."""
    headers = ["model", "architecture", "error", "inactive by scale", "inactive by activation"]
    headers += ["params lost", "MACs lost", "coverage"]
    rows = []
    for model in models:
        lost = lost_in_total(model, dead_criterion(model))
        lost_params, lost_macs = (None, None) if lost is None else (lost.params, lost.macs)
        rows.append(
            [
                model.path,
                "unknown" if model.architecture is None else model.architecture.name,
                DASH if model.error is None else f"{percent(model.error.top1, 2)} ({model.error.split})",
                share(dead_filters(model, "scale"), model.totals.filters),
                share(dead_filters(model, "activation"), model.totals.filters),
                percent(ratio(lost_params, model.totals.params)),
                percent(ratio(lost_macs, model.totals.macs)),
                percent(model.coverage.fraction),
            ]
        )
    return Table(headers, "clrrrrrr", rows)
