"""Limits of rules in words."""

from __future__ import annotations

from sparsity_audit.schema.rule import Limit, Rule


def limits_words(rule: Rule) -> str:
    """Return a rule's limits: ``warning above 0.1; error above 0.3``."""
    found = [(severity, limit_words(limit)) for severity, limit in (("warning", rule.warning), ("error", rule.error))]
    return "; ".join(f"{severity} {text}" for severity, text in found if text) or "none"


def limit_words(limit: Limit | None) -> str:
    """Return which values break a limit: ``below 0.1 or above 0.3``; empty without one."""
    if limit is None:
        return ""
    bounds = [("below", limit.min), ("above", limit.max)]
    return " or ".join(f"{side} {bound:g}" for side, bound in bounds if bound is not None)
