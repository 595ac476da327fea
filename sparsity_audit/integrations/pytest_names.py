"""Names that the plugin and its items share; importing them costs nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from sparsity_audit.integrations.pytest_store import Store

PROPERTY = "sparsity_audit"
"""Name of the property by which an item tells the session what became of it, across processes too."""
DECIDED, UNDECIDED = "decided", "undecided"
STORE: pytest.StashKey[Store] = pytest.StashKey()
