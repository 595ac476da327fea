"""Two reports beside each other as text."""

from __future__ import annotations

from sparsity_audit.reporters.tables import Table
from sparsity_audit.reporters.terminal_layout import centred, grid, wrapped
from sparsity_audit.reporters.text import (
    DASH,
    LONGEST_RANGES,
    count,
    index_ranges,
    measured,
    percent,
    printable,
    share,
)
from sparsity_audit.schema.diff import FilterChanges, FindingChange, PartDiff, ReportDiff

_ORDER = ("new", "worse", "better", "gone")


def diff_text(diff: ReportDiff, *, verbosity: int = 0, width: int = 80) -> str:
    """Return what died, what revived, and which failures came and went; index lists whole from verbosity 1 on."""
    lines = [centred("what changed", width), printable(f"{diff.before} → {diff.after}")]
    for part in diff.parts:
        lines += ["", *_part_lines(part, verbosity, width)]
    for names, place in ((diff.only_before, diff.before), (diff.only_after, diff.after)):
        lines += [line for name in names for line in wrapped(f"{name}: only in {place}")]
    return "\n".join(lines)


def _part_lines(part: PartDiff, verbosity: int, width: int) -> list[str]:
    lines = [centred(printable(part.name), width, "-"), *_fact_lines(part)]
    if part.layers:
        lines += ["", *(line for layer in part.layers for line in _layer_lines(layer, verbosity))]
    if part.findings:
        lines += ["", grid(_findings_table(part.findings))]
    for keys, what in ((part.layers_removed, "no longer there"), (part.layers_added, "not there before")):
        if keys:
            lines += wrapped(f"layers that were {what}, or of another width: {', '.join(keys)}")
    if not part.layers and not part.findings:
        lines.append("no filter died or revived, no failure came or went")
    return lines


def _fact_lines(part: PartDiff) -> list[str]:
    lines = []
    if part.sha256_before is not None and part.sha256_after is not None:
        same = part.sha256_before == part.sha256_after
        weights = "the same weights" if same else f"weights {part.sha256_before[:12]} → {part.sha256_after[:12]}"
        lines.append(weights)
    if part.images_before != part.images_after:
        lines.append(f"images {count(part.images_before)} → {count(part.images_after)}: not judged by the same ones")
    for criterion, dead in part.dead.items():
        change = dead.after - dead.before
        lines.append(
            f"dead by {criterion}: {dead.before:,} → {share(dead.after, part.filters)}, {change:+,}"
            if change
            else f"dead by {criterion}: {share(dead.after, part.filters)}, as before"
        )
    if part.error_before is not None or part.error_after is not None:
        lines.append(f"error {percent(part.error_before, 2)} → {percent(part.error_after, 2)}")
    return lines


def _layer_lines(layer: FilterChanges, verbosity: int) -> list[str]:
    limit = None if verbosity > 0 else LONGEST_RANGES
    told = []
    for word, changes in (("died", layer.died), ("revived", layer.revived)):
        told += [f"{word} by {name}: {index_ranges(found, limit)}" for name, found in changes.items() if found]
    return wrapped(f"{layer.key} ({layer.filters:,} filters): {'; '.join(told)}")


def _findings_table(findings: list[FindingChange]) -> Table:
    rows = [
        [
            found.change,
            found.rule,
            found.layer or "(whole model)",
            measured(found.before, found.unit),
            measured(found.after, found.unit),
            _became(found),
        ]
        for found in sorted(findings, key=lambda found: _ORDER.index(found.change))
    ]
    return Table(["failure", "rule", "layer", "before", "after", "outcome"], "llcrrl", rows)


def _became(found: FindingChange) -> str:
    before = found.severity_before or found.outcome_before or DASH
    after = found.severity_after or found.outcome_after or DASH
    return str(after) if before == after else f"{before} → {after}"
