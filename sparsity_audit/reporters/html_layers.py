"""The layer table of the HTML report: what the ledger says of each layer, with values to sort by."""

from __future__ import annotations

from typing import NamedTuple

from sparsity_audit.reporters.summary import dead_criterion, lost_of
from sparsity_audit.reporters.tables import constants_decided, ledger_table
from sparsity_audit.reporters.text import ratio
from sparsity_audit.schema.base import Criterion
from sparsity_audit.schema.report import LayerReport, ModelReport, RuleResult

OUTCOMES = ("crashed", "failed", "warning", "known", "waived", "inconclusive", "passed", "skipped", "no rule")
"""What can have become of a layer, the worst first."""


class LayerRow(NamedTuple):
    """One row; ``cells`` are what the ledger shows, ``values`` what each is sorted by, in the same order."""

    at: int
    key: str
    cells: list[str]
    values: str
    outcome: str


class LayerTable(NamedTuple):
    """All layers of one model."""

    headers: list[str]
    """Of ``cells``."""
    rows: list[LayerRow]
    total: list[str]
    outcomes: list[str]
    """Those that some layer has, the worst first."""


def layer_table(model: ModelReport) -> LayerTable:
    """Return a row for each layer, with the worst outcome of the rules on it."""
    ledger = ledger_table(model)
    worst = _worst(model.results)
    criterion, decided = dead_criterion(model), constants_decided(model)
    rows = [
        LayerRow(
            i,
            layer.key,
            cells[1:],
            _sortable(_values(layer, criterion, decided=decided)),
            worst.get(layer.key, OUTCOMES[-1]),
        )
        for i, (layer, cells) in enumerate(zip(model.layers, ledger.rows, strict=True))
    ]
    found = {row.outcome for row in rows}
    total = ledger.total or []
    return LayerTable(
        [header.replace("\n", " ") for header in ledger.headers[1:]],
        rows,
        total[1:],
        [outcome for outcome in OUTCOMES if outcome in found],
    )


def outcome_word(result: RuleResult) -> str:
    """Return how one result ended, in the words of ``OUTCOMES``."""
    if result.outcome == "error":
        return "crashed"
    if result.outcome != "failed":
        return result.outcome
    if result.excused:
        return str(result.standing)
    return "warning" if result.severity == "warning" else "failed"


def _worst(results: list[RuleResult]) -> dict[str, str]:
    worst: dict[str, str] = {}
    for result in results:
        if result.layer is not None:
            word = outcome_word(result)
            worst[result.layer] = min(worst.get(result.layer, word), word, key=OUTCOMES.index)
    return worst


def _values(layer: LayerReport, criterion: Criterion, *, decided: bool) -> list[float | None]:
    """Return the numbers behind the ledger's cells, in its order."""
    constant = layer.constant if decided else layer.constant_candidates
    dead = [None if found is None else len(found) for found in (layer.scale, layer.activation, constant)]
    lost = lost_of(layer, criterion)
    params, macs, held = (None, None, None) if lost is None else (lost.params, lost.macs, lost.held_back)
    return [
        layer.filters,
        *(ratio(found, layer.filters) for found in dead),
        layer.selectivity,
        layer.params,
        ratio(params, layer.params),
        layer.macs,
        ratio(macs, layer.macs),
        held,
    ]


def _sortable(values: list[float | None]) -> str:
    """Return numbers as the page's script reads them; ``-`` where one is unknown."""
    return " ".join(
        "-" if value is None else str(value) if isinstance(value, int) else f"{value:.9g}" for value in values
    )
