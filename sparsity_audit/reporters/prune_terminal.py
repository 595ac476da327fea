"""A pruning on a terminal; each function returns what is printed at its moment, empty where there is nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

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
from sparsity_audit.reporters.terminal_layout import centred, grid, wrapped
from sparsity_audit.reporters.text import printable
from sparsity_audit.schema.prune_report import PruneReport


def body(report: PruneReport, *, width: int = 80) -> str:
    """Return all that was found: the model, the three classes, and what becomes of the chosen one."""
    parts = [model(report), classes(report, width=width)]
    parts += [layers(report, width=width), verification(report, width=width), latency(report, width=width)]
    return "\n\n".join(part for part in parts if part)


def model(report: PruneReport) -> str:
    """Return what is known about the model before anything goes."""
    facts = prune_facts(report)
    margin = max(len(label) for label, _ in facts) + 4
    lines = [f"model: {printable(report.path)}"]
    for label, text in facts:
        lines += wrapped(text, f"  {label}".ljust(margin), " " * margin)
    return "\n".join(lines)


def classes(report: PruneReport, *, width: int = 80) -> str:
    """Return the classes beside one another, and what they mean."""
    lines = [centred("classes", width, "-"), grid(classes_table(report))]
    return "\n".join([*lines, *_wrapped(class_words(report))])


def layers(report: PruneReport, *, width: int = 80) -> str:
    """Return what goes from each layer of the chosen class, and which dead filters stay."""
    kept = _wrapped(f"stay: {words}" for words in kept_words(report))
    if not removed(report) and not kept:
        return ""
    table = [grid(layers_table(report))] if removed(report) else []
    return "\n".join([centred(f"removed: {report.chosen}", width, "-"), *table, *kept])


def verification(report: PruneReport, *, width: int = 80) -> str:
    """Return how the slim network compares with the original on each kind of images."""
    if not report.plan.verification:
        return ""
    return "\n".join([centred("verification", width, "-"), grid(verification_table(report))])


def latency(report: PruneReport, *, width: int = 80) -> str:
    """Return what the slim network is worth on this machine, in words too."""
    if not report.latency:
        return ""
    lines = [centred("latency", width, "-"), grid(latency_table(report))]
    return "\n".join([*lines, *_wrapped(latency_words(report))])


def end(report: PruneReport, said: Sequence[str], *, width: int = 80) -> str:
    """Return what was written or why nothing was, what more goes one flag away, and last what came of it.

    Args:
        said: about files, a line each.
    """
    lines = [centred("summary", width), *_wrapped(said), *_wrapped(next_words(report))]
    return "\n".join([*lines, centred(f"{outcome_words(report)} in {report.duration_seconds:.1f}s", width)])


def _wrapped(texts: Iterable[str]) -> list[str]:
    return [line for text in texts for line in wrapped(text)]
