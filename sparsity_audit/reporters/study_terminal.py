"""A comparison of runs on a terminal: the table, the rules, the claims."""

from __future__ import annotations

from sparsity_audit.reporters.study_tables import (
    claim_words,
    claims_table,
    printed_table,
    runs_table,
    study_words,
)
from sparsity_audit.reporters.terminal_layout import centred, grid, wrapped
from sparsity_audit.reporters.text import plural, printable
from sparsity_audit.schema.report import StudyReport

_MISSING_SHOWN = 5


def study_head(study: StudyReport) -> str:
    """Return what is compared, and what of it is missing."""
    lines = [f"study: {printable(study.title)} ({printable(study.name)})"]
    for words in study_words(study):
        lines += wrapped(words, "  ", "      ")
    for run in study.missing[:_MISSING_SHOWN]:
        lines += wrapped(f"{run.name} seed {run.seed}: {run.reason}", "    ", "      ")
    if len(study.missing) > _MISSING_SHOWN:
        lines.append(f"    … and {plural(len(study.missing) - _MISSING_SHOWN, 'run')} more")
    for note in study.notes:
        lines += wrapped(f"note: {note}", "  ", "      ")
    return "\n".join(lines)


def study_table(study: StudyReport, *, width: int = 80) -> str:
    """Return the table of all rows: means over seeds, ± sample deviation."""
    if not study.rows:
        return ""
    return "\n".join([centred("runs", width, "-"), grid(runs_table(study))])


def beside_paper(study: StudyReport, *, width: int = 80) -> str:
    """Return ours beside the printed numbers, under a heading that says that these are not the same experiments."""
    table = printed_table(study)
    if table is None:
        return ""
    return "\n".join([centred("ours beside the printed numbers", width, "-"), grid(table)])


def claims(study: StudyReport, *, verbosity: int = 0, width: int = 80) -> str:
    """Return the paper's claims and their outcomes; with verbosity 1 each in words."""
    if not study.claims:
        return ""
    lines = [centred("claims of the paper", width, "-"), grid(claims_table(study))]
    shown = study.claims if verbosity > 0 else [c for c in study.claims if c.outcome == "not reproduced"]
    for claim in shown:
        lines += wrapped(claim_words(claim))
    return "\n".join(lines)
