"""What the HTML report shows of each model, as plain values; the templates only lay it out."""

from __future__ import annotations

from typing import NamedTuple

from sparsity_audit.reporters import html_histograms, html_scatter, html_states
from sparsity_audit.reporters.facts import model_facts
from sparsity_audit.reporters.html_failures import Group, failure_groups
from sparsity_audit.reporters.html_layers import LayerTable, layer_table
from sparsity_audit.reporters.summary import (
    Undecided,
    Verdict,
    dead_criterion,
    dead_filters,
    lost_in_total,
    lost_of,
    unaudited_layers,
    undecided,
    verdict,
)
from sparsity_audit.reporters.tables import constants_decided, models_table
from sparsity_audit.reporters.text import DASH, count, percent, ratio
from sparsity_audit.schema.base import Criterion
from sparsity_audit.schema.report import AuditReport, LayerReport, ModelReport


class Cut(NamedTuple):
    """How much is shown. The failures are what the reader came for, so they are cut last."""

    models: int
    failures: int
    """Rows of each rule's failures, and of other lists."""
    layers: int
    """Rows of a model's layer table; at 0 nothing is shown of a model but its facts and failures."""
    details: int
    """Rows of the ledger, of the recommendation, and of the tables of studies."""
    charts: int
    """Histograms of a model; without any the scatter goes too."""
    grid: int
    """Pixels that points of the scatter are rounded to."""
    by_layer: bool
    """Points of the scatter are kept apart by layer, so that one can be pointed out."""
    help: bool
    """Each rule explains itself; else it names the command that does."""


class LedgerRow(NamedTuple):
    """A layer, or all of them, as a bar with its numbers."""

    key: str
    segments: list[html_states.Segment] | None
    """None where nothing was decided."""
    words: str
    cells: list[str]
    """Filters, those inactive by scale, by activation, constant, and the share of parameters lost."""


class ModelView(NamedTuple):
    """One model, ready for the template."""

    at: int
    model: ModelReport
    state: Verdict
    facts: list[tuple[str, str]]
    figures: list[tuple[str, str]]
    groups: list[Group]
    ledger: list[LedgerRow]
    ledger_total: LedgerRow
    decided: bool
    """Constants were seen on images; else they are candidates."""
    overall: html_histograms.Histogram | None
    histograms: list[html_histograms.Histogram]
    bound: float
    scatter: html_scatter.Scatter | None
    table: LayerTable
    undecided: list[Undecided]
    unaudited: list[tuple[str, list[str]]]


def model_view(index: int, model: ModelReport, report: AuditReport, cut: Cut) -> ModelView:
    """Return all that is shown of one model."""
    charts = [chart for layer in model.layers if (chart := html_histograms.of_layer(layer)) is not None]
    points = html_scatter.scatter(model, grid=cut.grid, by_layer=cut.by_layer) if cut.charts else None
    alone = report.model_copy(update={"models": [model], "studies": [], "errors": [], "exit_code": 0})
    return ModelView(
        at=index,
        model=model,
        state=verdict(alone),
        facts=model_facts(model),
        figures=_figures(model),
        groups=failure_groups(model.results, report),
        ledger=_ledger(model, cut.details),
        ledger_total=_ledger_total(model),
        decided=constants_decided(model),
        overall=html_histograms.of_all(model) if cut.charts else None,
        histograms=charts,
        bound=html_histograms.bound(model),
        scatter=points,
        table=layer_table(model),
        undecided=undecided(model.results),
        unaudited=unaudited_layers(model),
    )


def _figures(model: ModelReport) -> list[tuple[str, str]]:
    """Return label and value of the figures that people ask for first, those that are known."""
    table = models_table([model])
    return [(label, cell) for label, cell in zip(table.headers[2:], table.rows[0][2:], strict=True) if cell != DASH]


def _ledger(model: ModelReport, longest: int) -> list[LedgerRow]:
    criterion, decided = dead_criterion(model), constants_decided(model)
    return [_ledger_row(layer, criterion, decided=decided) for layer in model.layers[:longest]]


def _ledger_row(layer: LayerReport, criterion: Criterion, *, decided: bool) -> LedgerRow:
    constant = layer.constant if decided else layer.constant_candidates
    dead = [count(None if found is None else len(found)) for found in (layer.scale, layer.activation, constant)]
    lost = lost_of(layer, criterion)
    share = percent(None if lost is None else ratio(lost.params, layer.params))
    parts = html_states.parts_of_layer(layer)
    return _row(layer.key, parts, [count(layer.filters), *dead, share], decided=decided)


def _ledger_total(model: ModelReport) -> LedgerRow:
    decided = constants_decided(model)
    parts = html_states.parts_of_model(model)
    constant = dead_filters(model, "constant") if decided else None if parts is None else parts.constant
    dead = [count(dead_filters(model, "scale")), count(dead_filters(model, "activation")), count(constant)]
    lost = lost_in_total(model, dead_criterion(model))
    share = percent(None if lost is None else ratio(lost.params, model.totals.params))
    return _row("all layers", parts, [count(model.totals.filters), *dead, share], decided=decided)


def _row(key: str, parts: html_states.Parts | None, cells: list[str], *, decided: bool) -> LedgerRow:
    if parts is None:
        return LedgerRow(key, None, "not decided", cells)
    return LedgerRow(key, html_states.segments(parts), html_states.words(parts, decided=decided), cells)
