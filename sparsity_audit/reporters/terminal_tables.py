"""The tables of a session: the capacity ledger and the recommendation."""

from __future__ import annotations

from sparsity_audit.reporters.tables import (
    ledger_notes,
    ledger_table,
    norms_table,
    plan_layers,
    plan_table,
    plan_words,
    removals,
)
from sparsity_audit.reporters.terminal_layout import centred, grid, wrapped
from sparsity_audit.reporters.text import LONGEST_RANGES
from sparsity_audit.schema.report import ModelReport


def ledger(model: ModelReport, *, width: int = 80) -> str:
    """Return the capacity ledger, its notes, and the norms that belong to no convolution."""
    if not model.layers and not model.norms:
        return ""
    lines = [centred("capacity ledger", width, "-"), grid(ledger_table(model))]
    for note in ledger_notes(model):
        lines += wrapped(note)
    if model.norms:
        lines += ["", "norms that no convolution feeds alone:", grid(norms_table(model))]
    return "\n".join(lines)


def recommendation(model: ModelReport, *, verbosity: int = 0, width: int = 80) -> str:
    """Return which filters can go, on what evidence, and what that saves; empty without a plan.

    Index lists are cut after a dozen ranges below verbosity 1.
    """
    plan = model.plan
    if plan is None:
        return ""
    title = centred("pruning recommendation", width, "-")
    if not plan_layers(plan):
        return f"{title}\nno filter can go"
    lines = [title, grid(plan_table(plan)), ""]
    for key, text in removals(plan, None if verbosity > 0 else LONGEST_RANGES):
        lines += wrapped(f"{key}: {text}")
    lines.append("")
    for words in plan_words(plan):
        lines += wrapped(words)
    lines.append("Nothing was changed; the JSON report (--json FILE) holds all indices, `prune` takes the filters out.")
    return "\n".join(lines)
