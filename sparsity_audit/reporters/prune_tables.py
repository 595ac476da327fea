"""The tables of a pruning as rows of plain text: the classes, what goes, how it was verified, what it is worth."""

from __future__ import annotations

from collections.abc import Callable

from sparsity_audit.reporters.tables import Table
from sparsity_audit.reporters.text import DASH, count, human, number, percent, points, ratio
from sparsity_audit.schema.plan import ComparisonFigures, PlannedLayer
from sparsity_audit.schema.prune_report import ClassResult, PruneReport, SpreadFigures, TestFigures


def classes_table(report: PruneReport) -> Table:
    """Return the classes beside one another and beside the network as it was; what nobody has is left out."""
    rows = [*_size_rows(report), *_test_rows(report), *_verification_rows(report)]
    headers = ["", "original", *(_title(result) for result in report.classes)]
    return Table(headers, "l" + "r" * (len(headers) - 1), rows)


def _title(result: ClassResult) -> str:
    return f"{result.pruning_class}, within limit" if result.within_limit else result.pruning_class


def _row(report: PruneReport, label: str, original: str, cell: Callable[[ClassResult], str]) -> list[str]:
    unknown = {id(result) for result in report.classes if is_unknown(report, result)}
    return [label, original, *(DASH if id(result) in unknown else cell(result) for result in report.classes)]


def is_unknown(report: PruneReport, result: ClassResult) -> bool:
    """Tell whether a class was not looked for: without images nothing is known to be silent."""
    return report.corpus is None and result.pruning_class == "silent" and len(report.classes) > 1


def _size_rows(report: PruneReport) -> list[list[str]]:
    rows = [
        _row(report, "filters", count(report.filters), lambda r: count(report.filters - r.removed)),
        _row(report, "dead", "", lambda r: count(r.dead)),
        _row(report, "removed", "", lambda r: count(r.removed)),
    ]
    if any(result.derived for result in report.classes):
        rows.append(_row(report, "derived, of them", "", lambda r: count(r.derived)))
    if any(result.scattered for result in report.classes):
        rows.append(_row(report, "scattered, of them", "", lambda r: count(r.scattered)))
    rows += [
        _row(report, "kept though dead", "", lambda r: count(r.kept)),
        _row(report, "carriers", "", lambda r: count(r.carriers)),
        _row(report, "params", human(report.params), lambda r: less(report.params, r.params)),
        _row(report, "MACs", human(report.macs), lambda r: less(report.macs, r.macs)),
    ]
    return rows


def less(before: int, after: int) -> str:
    """Return what is left, and by how much it is less: ``35.6 k (-51.1 %)``."""
    if before == after:
        return human(after)
    sign = "-" if after < before else "+"
    return f"{human(after)} ({sign}{percent(ratio(abs(before - after), before))})"


def _test_rows(report: PruneReport) -> list[list[str]]:
    before = report.before
    if before is None:
        return []
    rows = [
        _row(report, f"changed predictions of {count(before.images)}", "", lambda r: _changed(r.test)),
        _row(report, "test error", percent(before.error, 2), lambda r: error_text(before, r.test)),
        _row(report, "test loss", number(before.loss), lambda r: DASH if r.test is None else number(r.test.loss)),
    ]
    if any(result.floor is not None for result in report.classes):
        rows += [
            _row(report, "floor: changed predictions", "", lambda r: _changed(r.floor)),
            _row(report, "floor: test error", "", lambda r: error_text(before, r.floor)),
        ]
    return rows


def _changed(test: TestFigures | None) -> str:
    return DASH if test is None else count(test.changed)


def error_text(before: TestFigures, after: TestFigures | None) -> str:
    """Return an error, and how far it rose in points: ``8.30 % (+0.03)``."""
    return DASH if after is None else f"{percent(after.error, 2)} ({_rise(before, after)})"


def _rise(before: TestFigures, after: TestFigures) -> str:
    """Return the difference of two errors in points, signed."""
    rise = after.error - before.error
    sign = "+" if rise > 0 else "-" if rise < 0 else "±"
    return f"{sign}{points(abs(rise), 2)}"


def _verification_rows(report: PruneReport) -> list[list[str]]:
    if not any(result.comparisons for result in report.classes):
        return []
    return [
        _row(report, "Δ output, fp32", "", lambda r: _of_worst(r, "delta_fp32")),
        _row(report, "noise floor of fp32", "", lambda r: _of_worst(r, "noise_floor")),
    ]


def _of_worst(result: ClassResult, field: str) -> str:
    """Return a figure of the comparison with the held original that came nearest to its limit."""
    held = [comparison for comparison in result.comparisons if comparison.against == "held"]
    worst = max(held, key=lambda c: c.delta_fp32 / c.limit_fp32 if c.limit_fp32 else c.delta_fp32, default=None)
    return DASH if worst is None else _short(getattr(worst, field))


def _short(value: float) -> str:
    return f"{value:.2g}"


def layers_table(report: PruneReport) -> Table:
    """Return what goes from each layer of the chosen class, and what that saves."""
    layers = [layer for layer in report.plan.layers if layer.removed or layer.carriers or layer.params_saved]
    counts: list[tuple[str, Callable[[PlannedLayer], int]]] = [
        ("lossless", lambda layer: len(layer.classes.get("lossless", []))),
        ("silent", lambda layer: len(layer.classes.get("silent", []))),
        ("small", lambda layer: len(layer.classes.get("small", []))),
        ("derived", lambda layer: len(layer.derived)),
        ("scattered", lambda layer: len(layer.scattered)),
        ("carriers", lambda layer: len(layer.carriers)),
    ]
    shown = [pair for pair in counts if any(pair[1](layer) for layer in layers)]
    headers = ["layer", "filters", *(name for name, _ in shown), "params\nsaved", "MACs\nsaved"]
    rows = [
        [
            layer.key,
            _widths(layer.filters, len(layer.removed)),
            *(count(size(layer)) for _, size in shown),
            human(layer.params_saved),
            human(layer.macs_saved),
        ]
        for layer in layers
    ]
    plan = report.plan
    total = ["total", _widths(report.filters, removed(report))]
    total += [count(sum(size(layer) for layer in layers)) for _, size in shown]
    total += [human(_saved(plan.params_before, plan.params_after)), human(_saved(plan.macs_before, plan.macs_after))]
    return Table(headers, "c" + "r" * (len(headers) - 1), rows, total)


def _widths(before: int, gone: int) -> str:
    return f"{count(before)} → {count(before - gone)}" if gone else count(before)


def _saved(before: int | None, after: int | None) -> int | None:
    return None if before is None or after is None else before - after


def removed(report: PruneReport) -> int:
    """Return how many filters the slim network of the chosen class does not compute any more."""
    return sum(len(layer.removed) for layer in report.plan.layers)


def verification_table(report: PruneReport) -> Table:
    """Return the slim network beside the original, a row for each kind of images."""
    comparisons = report.plan.verification or []
    several = len({comparison.output for comparison in comparisons}) > 1
    headers = ["against", "images", *(["output"] if several else []), "Δ fp64", "limit", "Δ fp32", "limit"]
    headers += ["noise\nfloor", "changed\npredictions"]
    rows = [
        [
            "untouched original" if comparison.against == "untouched" else "original, filters held",
            f"{comparison.images:,} {comparison.inputs}",
            *([str(comparison.output)] if several else []),
            *(_short(value) for value in _differences(comparison)),
            count(comparison.changed),
        ]
        for comparison in comparisons
    ]
    return Table(headers, "ll" + "r" * (len(headers) - 2), rows)


def _differences(comparison: ComparisonFigures) -> list[float]:
    fp64, fp32 = comparison.delta_fp64, comparison.delta_fp32
    return [fp64, comparison.limit_fp64, fp32, comparison.limit_fp32, comparison.noise_floor]


def latency_table(report: PruneReport) -> Table:
    """Return seconds of original and slim network in turns: medians, and quartiles in brackets."""
    headers = ["batch", "rounds", "threads", "before, ms", "after, ms", "after / before"]
    rows = [
        [
            count(row.batch_size),
            count(row.rounds),
            count(row.threads),
            _spread(row.before, 1e3),
            _spread(row.after, 1e3),
            _spread(row.ratio, 1.0),
        ]
        for row in report.latency
    ]
    return Table(headers, "r" * len(headers), rows)


def _spread(spread: SpreadFigures, unit: float) -> str:
    median, lower, upper = (f"{unit * value:.3g}" for value in (spread.median, spread.lower, spread.upper))
    return f"{median} ({lower}–{upper})"
