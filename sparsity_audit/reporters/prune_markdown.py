"""A pruning as Markdown for a pull request: what went and at what price, the rest folded away."""

from __future__ import annotations

from collections.abc import Iterator

from sparsity_audit.reporters.facts import environment
from sparsity_audit.reporters.markdown import LONGEST
from sparsity_audit.reporters.markdown_layout import bullets, folded, pipes, safe
from sparsity_audit.reporters.prune_tables import (
    classes_table,
    latency_table,
    layers_table,
    removed,
    verification_table,
)
from sparsity_audit.reporters.prune_words import (
    class_words,
    kept_words,
    latency_words,
    next_words,
    outcome_words,
    prune_facts,
)
from sparsity_audit.reporters.text import plural
from sparsity_audit.schema.prune_report import PruneReport

_STEPS = (1000, 400, 200, 100, 50, 25, 12, 6, 3, 1)
"""Rows and lines of each table and list, until the whole fits a comment."""


def prune_markdown(report: PruneReport) -> str:
    """Return the report as GitHub Markdown of at most ``LONGEST`` characters; rows left out are counted."""
    for rows in _STEPS:
        text = "\n".join(_blocks(report, rows))
        if len(text) <= LONGEST:
            return text
    return f"{_heading(report)}\nEverything else is too long for a comment; it is in the JSON report.\n"


def _heading(report: PruneReport) -> str:
    return f"## sparsity-audit prune: {safe(outcome_words(report))}\n"


def _blocks(report: PruneReport, rows: int) -> Iterator[str]:
    yield _heading(report)
    facts = [("model", report.path), *prune_facts(report)]
    yield bullets([f"{label}: {safe(text)}" for label, text in facts], 10 + rows)
    yield pipes(classes_table(report), 10 + rows)
    yield _listed(class_words(report), rows)
    if removed(report):
        yield folded(f"What goes: {report.chosen}", pipes(layers_table(report), rows))
    kept = kept_words(report)
    if kept:
        yield folded("Dead filters that stay", _listed(kept, rows))
    if report.plan.verification:
        yield folded("Verification", pipes(verification_table(report), rows))
    if report.latency:
        title = f"Latency, {plural(report.latency[0].threads, 'thread')}"
        yield folded(title, f"{pipes(latency_table(report), rows)}\n{_listed(latency_words(report), rows)}")
    yield _listed(next_words(report), rows)
    written = f"slim model: {report.output}" if report.output is not None else "no model was written"
    facts_of_run = [*environment(report.tool), f"{report.duration_seconds:.1f} s", report.started]
    yield f"{safe(written)}. {safe(', '.join(facts_of_run))}\n"


def _listed(texts: list[str], rows: int) -> str:
    return bullets([safe(text) for text in texts], 10 + rows)
