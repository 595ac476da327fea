"""Several slim networks of one model as tables: a family by size, and the comparators; for terminal and Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from statistics import fmean

from sparsity_audit.reporters.facts import architecture_fact, corpus_fact, environment, normalisation_fact
from sparsity_audit.reporters.markdown_layout import bullets, pipes, safe
from sparsity_audit.reporters.tables import Table
from sparsity_audit.reporters.terminal_layout import centred, grid, wrapped
from sparsity_audit.reporters.text import DASH, count, human, percent, plural, printable, ratio
from sparsity_audit.schema.prune_report import LatencyFigures
from sparsity_audit.schema.slim_tables import (
    ComparatorRow,
    ComparedCut,
    ComparisonBlock,
    ComparisonReport,
    Leaves,
    ParetoPoint,
    ParetoReport,
    Sized,
    TuningSettings,
)

_COSTS = {"params": "params", "macs": "MACs"}
_LEAVES: dict[Leaves, str] = {"dropped": "0", "shift": "β", "constant": "constant", "mean": "mean"}
_LONGEST = 100
"""Rows and lines of a table or list in Markdown."""


def pareto_table(report: ParetoReport) -> Table:
    """Return the family, the original first: what went, what is left, how it does.

    Where networks were tuned, their errors before and after take the place of the changed answers: 100 columns hold no
    more.
    """
    timed = [row.batch_size for row in report.points[0].latency] if report.points else []
    headers = ["", "made for", "filters\nremoved", "params", "MACs", *_test_headers(report)]
    headers += [*_time_headers(timed), "best for"]
    first = ["original", "", "", human(report.params), human(report.macs), percent(report.before.error, 2)]
    rows = [[*first, *[""] * (len(headers) - len(first))]]
    for point in report.points:
        row = [point.name, _aim(report, point), count(point.removed)]
        row += [_less(report.params, point.params), _less(report.macs, point.macs), percent(point.test.error, 2)]
        row.append(count(point.test.changed) if report.tuning is None else percent(point.final.error, 2))
        row += [_times(each) for each in point.latency]
        best = [_COSTS[cost] for cost in point.best_for]
        rows.append([*row, "both" if len(best) == len(_COSTS) else "".join(best)])
    return Table(headers, "ll" + "r" * (len(headers) - 3) + "l", rows)


def _test_headers(report: Sized) -> list[str]:
    changed = f"changed\nof {report.before.images:,}"
    return ["test\nerror", changed if report.tuning is None else "error,\ntuned"]


def comparison_table(block: ComparisonBlock, report: ComparisonReport) -> Table:
    """Return one block of methods; where chance plays a part the mean, and below it the least and the most."""
    cuts = [cut for row in block.rows for cut in row.cuts]
    timed = [row.batch_size for row in cuts[0].latency] if cuts else []
    headers = ["method", "leaves", "filters\nremoved", *_test_headers(report), "params", "MACs", *_time_headers(timed)]
    original = ["original", "", "", percent(report.before.error, 2), ""]
    rows = [[*original, human(report.params), human(report.macs), *("" for _ in timed)]]
    for row in block.rows:
        rows += _method_rows(row, report, len(timed))
    return Table(headers, "ll" + "r" * (len(headers) - 2), rows)


def _method_rows(row: ComparatorRow, report: ComparisonReport, timed: int) -> list[list[str]]:
    if not row.cuts:
        return [[row.method, _LEAVES[row.leaves], *[DASH] * (5 + timed)]]
    ways: list[tuple[str, Callable[[Sequence[float]], float]]] = [(row.method, fmean)]
    if len(row.cuts) > 1:
        ways = [
            (f"{row.method}, mean of {len(row.cuts)}", fmean),
            (f"{row.method}, least", min),
            (f"{row.method}, most", max),
        ]
    return [[name, _LEAVES[row.leaves] if way is fmean else "", *_cells(row.cuts, report, way)] for name, way in ways]


def _cells(cuts: Sequence[ComparedCut], report: ComparisonReport, way: Callable[[Sequence[float]], float]) -> list[str]:
    def of(value: Callable[[ComparedCut], float]) -> float:
        return way([value(cut) for cut in cuts])

    def tuned_error(cut: ComparedCut) -> float:
        return cut.test.error if cut.tuned is None else cut.tuned.error

    cells = [count(round(of(lambda cut: cut.removed))), percent(of(lambda cut: cut.test.error), 2)]
    changed = count(round(of(lambda cut: cut.test.changed)))
    cells.append(changed if report.tuning is None else percent(of(tuned_error), 2))
    cells.append(_less(report.params, round(of(lambda cut: cut.params))))
    cells.append(_less(report.macs, round(of(lambda cut: cut.macs))))
    if len(cuts) == 1:
        return [*cells, *(_times(row) for row in cuts[0].latency)]
    places = range(len(cuts[0].latency))
    return [*cells, *(f"{of(lambda cut, at=at: cut.latency[at].ratio.median):.2f}" for at in places)]  # type: ignore[misc]


def _time_headers(batch_sizes: Sequence[int]) -> list[str]:
    return [f"time,\nbatch {size}" for size in batch_sizes]


def _times(row: LatencyFigures) -> str:
    """Return a ratio of times; with a mark where neither network won three rounds in four."""
    level = row.ratio.lower <= 1 <= row.ratio.upper
    return f"{row.ratio.median:.2f}{'~' if level else ''}"


def _less(before: int, after: int) -> str:
    if before == after:
        return "±0 %"
    return f"{'-' if after < before else '+'}{percent(ratio(abs(before - after), before))}"


def _aim(report: ParetoReport, point: ParetoPoint) -> str:
    """Return what a network was made for, in short: that it meets a budget too is not said of dead filters' own."""
    if point.aims[0] == "lossless":
        return "lossless"
    if point.aims[0] == "paper":
        return f"|γ| < {report.gamma_threshold:g}"
    return f"-{percent(point.share, 0)} {_COSTS[report.cost]}"


def slim_facts(report: Sized) -> list[tuple[str, str]]:
    """Return label and text of what several networks were made from, and how; the text is not escaped."""
    facts = [("sha256", report.sha256[:12]), ("architecture", architecture_fact(report.architecture))]
    if report.corpus is not None:
        facts.append(("corpus", corpus_fact(report.corpus)))
    if report.normalisation is not None:
        facts.append(("normalisation", normalisation_fact(report.normalisation)))
    facts.append(("test error", f"{percent(report.before.error, 2)} on {plural(report.before.images, 'image')}"))
    size = f"{plural(report.filters, 'filter')}, {human(report.params)} convolution parameters"
    facts.append(("network", f"{size}, {human(report.macs)} MACs"))
    if report.tuning is not None:
        facts.append(("tuning", _tuning(report.tuning)))
    return facts + [("note", note) for note in report.notes]


def _tuning(settings: TuningSettings) -> str:
    parts = []
    if settings.steps:
        flips = ", flips" if settings.flip else ""
        rate = f"{settings.optimizer} lr {settings.lr:g}, batch size {settings.batch_size}{flips}"
        parts.append(f"{plural(settings.steps, 'step')} of {rate}, seed {settings.seed}")
    if settings.bn_images:
        parts.append(f"batch norms re-estimated on {plural(settings.bn_images, 'training image')}")
    return "; then ".join(parts)


def pareto_words(report: ParetoReport) -> list[str]:
    """Return what the table of a family means."""
    saved = _COSTS.get(report.objective or "", report.objective)
    order = "|γ|" if saved is None else f"{saved} saved for the error added"
    words = ["each network is verified against the original with the same filters held at constants"]
    words.append(
        f"lossless and silent filters go first, then the others by {order}; living ones leave what they give on average"
    )
    words.append(
        "best for params, MACs or both: neither another network here nor the original has as little at as low an error"
    )
    return [*words, *_time_words([row for point in report.points for row in point.latency])]


def comparison_words(report: ComparisonReport) -> list[str]:
    """Return what the tables of methods mean, who proposed them, and why one made nothing."""
    words = ["every method is cut by the same surgery, verified, and takes no layer whole"]
    words.append(
        "leaves: what stands for a removed filter: 0; what β gives; the constant that it was (dead ones); "
        "what it gives on average (living ones)"
    )
    rows = [row for block in report.blocks for row in block.rows]
    sources = {row.method: row.source for row in rows if row.source}
    if sources:
        words.append("; ".join(f"{method}: {source}" for method, source in sources.items()))
    words += dict.fromkeys(f"{row.method}: {row.reason}" for row in rows if row.reason is not None)
    for block in report.blocks:
        words += [f"{row.method}, {count(block.wanted)} filters: {row.remark}" for row in block.rows if row.remark]
    return [*words, *_time_words([each for row in rows for cut in row.cuts for each in cut.latency])]


def _time_words(rows: Sequence[LatencyFigures]) -> list[str]:
    if not rows:
        return []
    threads = plural(rows[0].threads, "thread")
    words = (
        f"time: of a batch, over the original's, median of {min(row.rounds for row in rows)} rounds or more in turns"
    )
    marked = any(row.ratio.lower <= 1 <= row.ratio.upper for row in rows)
    return [f"{words}, {threads}" + ("; ~: neither wins three rounds in four" if marked else "")]


def _title(block: ComparisonBlock) -> str:
    filters = f"{plural(block.wanted, 'filter')} removed ({percent(block.share)})"
    return f"{filters}, as many as ours" if block.aim == "ours" else filters


def pareto_terminal(report: ParetoReport, *, width: int = 80) -> str:
    """Return a family for a terminal."""
    lines = [*_head(report), "", centred("family", width, "-"), grid(pareto_table(report))]
    return "\n".join([*lines, *(line for text in pareto_words(report) for line in wrapped(text))])


def comparison_terminal(report: ComparisonReport, *, width: int = 80) -> str:
    """Return the methods for a terminal."""
    lines = _head(report)
    for block in report.blocks:
        lines += ["", centred(_title(block), width, "-"), grid(comparison_table(block, report))]
    return "\n".join([*lines, *(line for text in comparison_words(report) for line in wrapped(text))])


def end(report: ParetoReport | ComparisonReport, said: Sequence[str], *, width: int = 80) -> str:
    """Return what was written, and last what came of it in one line.

    Args:
        said: about files, a line each.
    """
    outcome = _family_outcome(report) if isinstance(report, ParetoReport) else _comparison_outcome(report)
    lines = [centred("summary", width), *(line for text in said for line in wrapped(text))]
    return "\n".join([*lines, centred(f"{outcome} in {report.duration_seconds:.1f}s", width)])


def _family_outcome(report: ParetoReport) -> str:
    if not report.points:
        return "no filter can go"
    name, before = _COSTS[report.cost], getattr(report, report.cost)
    least, most = (_less(before, getattr(report.points[at], report.cost)) for at in (0, -1))
    errors = [point.final.error for point in report.points]
    error = f"test error {percent(min(errors), 2)} to {percent(max(errors), 2)}"
    return f"{plural(len(report.points), 'slim network')}, {name} {least} to {most}, {error}"


def _comparison_outcome(report: ComparisonReport) -> str:
    sizes = " and ".join(count(block.wanted) for block in report.blocks)
    return f"{max(len(block.rows) for block in report.blocks)} methods at {sizes} filters"


def pareto_markdown(report: ParetoReport) -> str:
    """Return a family as GitHub Markdown."""
    tables = [("", pareto_table(report))]
    return "\n".join(_blocks("prune --pareto", report, tables, pareto_words(report)))


def comparison_markdown(report: ComparisonReport) -> str:
    """Return the methods as GitHub Markdown."""
    tables = [(_title(block), comparison_table(block, report)) for block in report.blocks]
    return "\n".join(_blocks("prune --compare", report, tables, comparison_words(report)))


def _head(report: Sized) -> list[str]:
    facts = slim_facts(report)
    margin = max(len(label) for label, _ in facts) + 4
    lines = [f"model: {printable(report.path)}"]
    for label, text in facts:
        lines += wrapped(text, f"  {label}".ljust(margin), " " * margin)
    return lines


def _blocks(title: str, report: Sized, tables: Sequence[tuple[str, Table]], words: Sequence[str]) -> Iterator[str]:
    yield f"## sparsity-audit {title}\n"
    facts = [("model", report.path), *slim_facts(report)]
    yield bullets([f"{label}: {safe(text)}" for label, text in facts], _LONGEST)
    for heading, table in tables:
        if heading:
            yield f"### {safe(heading)}\n"
        yield pipes(table, _LONGEST)
    yield bullets([safe(text) for text in words], _LONGEST)
    yield f"{safe(', '.join([*environment(report.tool), f'{report.duration_seconds:.1f} s', report.started]))}\n"
