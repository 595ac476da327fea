"""A comparison of runs as Markdown: the table of runs, the paper's claims, what is missing."""

from __future__ import annotations

from collections.abc import Iterator

from sparsity_audit.reporters.markdown_layout import bullets, folded, pipes, safe, short
from sparsity_audit.reporters.study_tables import (
    claim_words,
    claims_table,
    claims_tally,
    printed_table,
    runs_table,
    study_words,
)
from sparsity_audit.reporters.summary import undecided
from sparsity_audit.reporters.text import html_code, markdown_code, plural
from sparsity_audit.schema.report import StudyReport


def study_blocks(study: StudyReport, longest: int) -> Iterator[str]:
    """Yield the blocks of one comparison; of each table and list at most ``longest`` rows."""
    yield f"### {safe(study.title)}\n\n{bullets([safe(words) for words in study_words(study)], longest)}"
    if study.rows:
        yield pipes(runs_table(study), longest)
    table = printed_table(study)
    if table is not None:
        yield f"Ours beside the printed numbers, which come from other experiments:\n\n{pipes(table, longest)}"
    if study.claims:
        words = bullets([safe(claim_words(claim)) for claim in study.claims], longest)
        yield folded(claims_tally(study), f"{pipes(claims_table(study), longest)}\n{words}")
    name = html_code(short(study.name))
    if study.missing:
        lines = [f"{markdown_code(run.name)} seed {run.seed}: {safe(run.reason)}" for run in study.missing]
        yield folded(f"{plural(len(study.missing), 'run')} missing in {name}", bullets(lines, longest))
    lines = [
        f"{markdown_code(found.rule)} {found.outcome} ×{found.times:,}: {safe(found.reason)}"
        for found in undecided(study.results)
    ]
    if lines:
        yield folded(f"Not decided in {name}", bullets(lines, longest))
    if study.notes:
        yield folded(f"Notes on {name}", bullets([safe(note) for note in study.notes], longest))
