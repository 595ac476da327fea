"""The FAILURES section of a session: one part a rule, with what was measured and what to do."""

from __future__ import annotations

from sparsity_audit.reporters.standing import excused_of, standing_words
from sparsity_audit.reporters.summary import (
    by_rule,
    ended,
    failures_of,
    failures_words,
    remedies_of,
    unaudited_layers,
    undecided,
)
from sparsity_audit.reporters.tables import failures_table, place
from sparsity_audit.reporters.terminal_layout import centred, grid, wrapped
from sparsity_audit.reporters.text import count, evidence_text, number, plural, printable
from sparsity_audit.schema.report import ModelReport, RuleResult, StudyReport

_LONGEST_DETAILS = 20


def failures(model: ModelReport | StudyReport, *, verbosity: int, width: int = 80) -> str:
    """Return what failed by rule, what crashed, and what was left undecided, with reasons; empty if nothing.

    Below verbosity 0 evidence, remedies and undecided results are left out; from 1 on no list is cut.
    """
    failed = failures_of(model.results)
    parts = [failed_part(group, verbosity, width) for group in by_rule(failed)]
    parts += [crashed_part(group, width) for group in by_rule(ended(model.results, "error"))]
    if parts:
        parts[0] = f"{centred('FAILURES', width)}\n{parts[0]}"
    if verbosity >= 0:
        parts += _excused_part(excused_of(model.results), verbosity, width)
        parts += _undecided_part(model, width)
    return "\n\n".join(parts)


def failed_part(group: list[RuleResult], verbosity: int, width: int) -> str:
    """Return what is told of one rule's failures: a table, each message with its evidence, and what to do."""
    first = group[0]
    title = f"{first.rule} {printable(first.name)}: {', '.join(failures_words(group))}"
    lines = [centred(title, width, "_"), grid(failures_table(group)), ""]
    shown = group if verbosity > 0 else group[:_LONGEST_DETAILS]
    common = _common_evidence(group, verbosity) if verbosity >= 0 else {}
    for result in shown:
        evidence = _evidence(result, verbosity) if verbosity >= 0 else {}
        own = {key: text for key, text in evidence.items() if key not in common}
        standing = standing_words(result)
        said = f"{result.message} ({standing})" if standing else result.message
        lines += wrapped(f"{place(result)}: {said}{_joined(own, ' [', ']')}")
    if len(group) > len(shown):
        lines.append(f"… and {len(group) - len(shown):,} more (-v shows all)")
    lines += wrapped(_joined(common, "evidence: ", ""))
    remedies = remedies_of(group) if verbosity >= 0 else []
    if remedies:
        lines += ["", "what to do:"]
        for remedy in remedies:
            lines += wrapped(remedy, "  - ")
    return "\n".join(lines)


def _evidence(result: RuleResult, verbosity: int) -> dict[str, str]:
    """Return the evidence as text by label; what the tables and the recommendation have already is left out."""
    texts = {
        key.replace("_", " "): evidence_text(value, whole=verbosity > 0)
        for key, value in result.evidence.items()
        if (isinstance(value, list) or key not in ("dead", "filters")) and (key != "indices" or verbosity > 0)
    }
    if result.n is not None:
        texts.setdefault("n", count(result.n))
    if result.interval is not None:
        texts["interval"] = f"{number(result.interval[0])} to {number(result.interval[1])}"
    return texts


def _common_evidence(group: list[RuleResult], verbosity: int) -> dict[str, str]:
    """Return the evidence that all results share, as it need be said only once."""
    found = [_evidence(result, verbosity) for result in group]
    return {key: text for key, text in found[0].items() if all(other.get(key) == text for other in found)}


def _joined(texts: dict[str, str], before: str, after: str) -> str:
    return before + "; ".join(f"{key}: {text}" for key, text in texts.items()) + after if texts else ""


def crashed_part(group: list[RuleResult], width: int) -> str:
    """Return what is told of a rule whose measure crashed."""
    lines = [centred(f"{group[0].rule} {printable(group[0].name)}: crashed", width, "_")]
    for result in group:
        lines += wrapped(f"{place(result)}: {result.reason or result.message}")
    return "\n".join(lines)


def _excused_part(excused: list[RuleResult], verbosity: int, width: int) -> list[str]:
    """Return the failures that the baseline knows or that are waived: they stay in sight."""
    shown = excused if verbosity > 0 else excused[:_LONGEST_DETAILS]
    lines = [
        line
        for result in shown
        for line in wrapped(f"{result.rule} {place(result)}: {result.message} ({standing_words(result)})")
    ]
    if len(excused) > len(shown):
        lines.append(f"… and {len(excused) - len(shown):,} more (-v shows all)")
    return ["\n".join([centred("known and waived", width, "-"), *lines])] if lines else []


def _undecided_part(model: ModelReport | StudyReport, width: int) -> list[str]:
    lines = [
        line
        for found in undecided(model.results)
        for line in wrapped(f"{found.rule} {found.outcome} ×{found.times:,}: {found.reason}")
    ]
    for reason, layers in unaudited_layers(model) if isinstance(model, ModelReport) else []:
        lines += wrapped(f"{plural(len(layers), 'layer')}: {reason} ({evidence_text(layers)})")
    return ["\n".join([centred("not decided", width, "-"), *lines])] if lines else []
