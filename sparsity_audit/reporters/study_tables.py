"""The tables of a comparison as rows of plain text: what was run, and what became of the paper's claims."""

from __future__ import annotations

from sparsity_audit.reporters.tables import Table
from sparsity_audit.reporters.text import DASH, number, percent, plural, points
from sparsity_audit.schema.report import StudyReport
from sparsity_audit.schema.study_report import ClaimResult, StudyRowFacts

COLUMNS = {
    "by_activation": "activ.\n%",
    "by_scale": "scale\n%",
    "error": "error\n%",
    "selectivity": "select.\n%",
    "capacity_lost": "params\nlost %",
    "pruned_error": "error\npruned %",
}
"""Shares of a row's runs, in the order of the paper's tables."""


def runs_table(study: StudyReport) -> Table:
    """Return a row for each row of the study: means over its seeds, ± sample deviation, without columns nobody has.

    The paper's columns are inactive filters by activation and by scale, and the test error.
    """
    known = [name for name in COLUMNS if any(row.means.get(name) is not None for row in study.rows)]
    headers = ["row", "seeds", *(COLUMNS[name] for name in known)]
    rows = [[row.id, str(len(row.seeds)) if row.seeds else "not run", *_cells(row, known)] for row in study.rows]
    return Table(headers, "c" + "r" * (len(headers) - 1), rows)


def _cells(row: StudyRowFacts, names: list[str]) -> list[str]:
    return [_spread(row.means.get(name), row.deviations.get(name)) for name in names]


def _spread(mean: float | None, deviation: float | None) -> str:
    if mean is None:
        return DASH
    return points(mean) if deviation is None else f"{points(mean)} ± {points(deviation)}"


def printed_table(study: StudyReport) -> Table | None:
    """Return the rows that have printed numbers, ours beside the paper's; None where no row has any.

    They are different experiments: the heading over the table has to say how.
    """
    shown = [row for row in study.rows if row.printed is not None and row.seeds]
    if not shown:
        return None
    names = [
        name
        for name in COLUMNS
        if any(getattr(row.printed, name, None) is not None or row.means.get(name) is not None for row in shown)
        and any(getattr(row.printed, name, None) is not None for row in shown)
    ]
    headers = ["row", *(f"{COLUMNS[name]}\n{whose}" for name in names for whose in ("ours", "printed"))]
    rows = []
    for row in shown:
        cells = [
            cell for name in names for cell in (points(row.means.get(name)), points(getattr(row.printed, name, None)))
        ]
        rows.append([row.id, *cells])
    return Table(headers, "c" + "r" * (len(headers) - 1), rows)


def claims_table(study: StudyReport) -> Table:
    """Return a row for each claim of the paper: outcome, effect with its interval, seeds."""
    rows = [[claim.id, claim.outcome, _effect(claim), str(claim.n) if claim.n else DASH] for claim in study.claims]
    return Table(["claim", "outcome", "effect (95 %)", "seeds"], "clrr", rows)


def _effect(claim: ClaimResult) -> str:
    if claim.value is None:
        return DASH
    if claim.interval is None:
        return number(claim.value)
    return f"{number(claim.value)} ({number(claim.interval[0])} to {number(claim.interval[1])})"


def claim_words(claim: ClaimResult) -> str:
    """Return a claim in words: what the paper says, where, and what was found, or why nothing was."""
    found = claim.message if claim.outcome in ("reproduced", "not reproduced") else claim.reason or claim.message
    return f"{claim.id} {claim.outcome}: {claim.claim} ({claim.source}): {found}"


def claims_tally(study: StudyReport) -> str:
    """Return ``5 claims reproduced, 1 not reproduced, 3 inconclusive``; empty without claims."""
    counts: dict[str, int] = {}
    for claim in study.claims:
        counts[claim.outcome] = counts.get(claim.outcome, 0) + 1
    order = ("reproduced", "not reproduced", "inconclusive", "not run")
    parts = [f"{counts[outcome]} {outcome}" for outcome in order if outcome in counts]
    return f"claims: {', '.join(parts)}" if parts else ""


def study_words(study: StudyReport) -> list[str]:
    """Return what a comparison rests on: runs, seeds, what is missing."""
    seeds = sorted({run.seed for run in study.runs if run.seed is not None})
    words = [f"{plural(len(study.runs), 'run')} of {plural(len(study.rows), 'row')}, seeds {_listed(seeds)}"]
    if study.source is not None:
        words.append(f"after the paper's {study.source}")
    if study.missing:
        rows = list(dict.fromkeys(run.name for run in study.missing))
        words.append(f"{plural(len(study.missing), 'run')} not there, of {plural(len(rows), 'row')}")
    errors = [run.error for run in study.runs if run.error is not None]
    if errors:
        words.append(f"test errors {percent(min(errors))} to {percent(max(errors))}")
    return words


def _listed(seeds: list[int]) -> str:
    return ", ".join(str(seed) for seed in seeds) or "unknown"
