"""Options of several values."""

from __future__ import annotations

from sparsity_audit.errors import UsageError


def split_values(values: list[str] | None, option: str, missing: str) -> list[str] | None:
    """Return values given by repetition, by commas, or both; None where the option was not given.

    Raises:
        UsageError: ``missing``, since an empty shell variable must not mean all of them.
    """
    if not values:
        return None
    parts = [part.strip() for value in values for part in value.split(",") if part.strip()]
    if not parts:
        raise UsageError(f"{option}: {missing}")
    return parts


def split_ids(values: list[str] | None, option: str) -> list[str] | None:
    """Return ids of rules, as ``split_values`` does."""
    return split_values(values, option, "no rule id given")
