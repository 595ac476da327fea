"""Rules as SARIF describes them, within the lengths that GitHub documents."""

from __future__ import annotations

from typing import Any

from sparsity_audit.reporters.rule_words import limits_words
from sparsity_audit.reporters.text import clip, markdown_text
from sparsity_audit.schema.report import AuditReport
from sparsity_audit.schema.rule import Rule

_UNTOLD = "The report holds no description of this rule; `sparsity-audit rules explain` does."
_LONGEST_NAME, _LONGEST_TEXT = 255, 1_024
_TOPICS = {
    "SA1": "dead-filters",
    "SA2": "selectivity",
    "SA3": "training-regime",
    "SA4": "pruning",
    "SA9": "audit-quality",
}


def described_rules(report: AuditReport) -> list[dict[str, Any]]:
    """Return the rules of a report, and those that only its results name (of reports that hold no rules)."""
    described = [_described(rule) for rule in report.rules]
    known = {rule.id for rule in report.rules}
    for result in report.results():
        if result.rule not in known:
            known.add(result.rule)
            about = {"text": clip(result.name, _LONGEST_TEXT)}
            help_ = {"text": _UNTOLD, "markdown": _UNTOLD}  # GitHub requires all three
            name = clip(result.name, _LONGEST_NAME)
            described.append(
                {"id": result.rule, "name": name, "shortDescription": about, "fullDescription": about, "help": help_}
            )
    return described


def _described(rule: Rule) -> dict[str, Any]:
    summary = " ".join(rule.summary.split())
    why = " ".join(rule.why.split())
    level = "error" if rule.error is not None else "warning"
    return {
        "id": rule.id,
        "name": clip(rule.name, _LONGEST_NAME),
        "shortDescription": {"text": clip(summary, _LONGEST_TEXT)},
        "fullDescription": {"text": clip(f"{summary}. {why}".strip(), _LONGEST_TEXT)},
        "help": {"text": _help(rule, why), "markdown": _help_markdown(rule, why)},
        "defaultConfiguration": {"level": level},
        "properties": {
            "tags": ["sparsity", _TOPICS.get(rule.id[:3], "own-rule")],
            "precision": "very-high",
            "problem.severity": level,
            "version": rule.version,
        },
    }


def _help(rule: Rule, why: str) -> str:
    lines = [why, f"Limits: {limits_words(rule)}."]
    if rule.remedies:
        lines += ["What to do:", *(f"- {remedy}" for remedy in rule.remedies)]
    if rule.source:
        lines.append(f"Source: {rule.source}")
    return "\n".join(line for line in lines if line)


def _help_markdown(rule: Rule, why: str) -> str:
    blocks = [markdown_text(why), f"**Limits**: {markdown_text(limits_words(rule))}."]
    if rule.remedies:
        blocks.append("**What to do**\n\n" + "\n".join(f"- {markdown_text(remedy)}" for remedy in rule.remedies))
    if rule.source:
        blocks.append(f"**Source**: {markdown_text(rule.source)}")
    return "\n\n".join(block for block in blocks if block)
