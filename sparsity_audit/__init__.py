"""Audit trained CNNs for the filters that training silently killed.

``audit()`` is the auditor from Python, ``prune_model()`` removes what it found, ``SparsityMonitor`` watches a model in
your own training loop; they are imported when first used, so that ``import sparsity_audit`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from sparsity_audit.version import __version__

if TYPE_CHECKING:
    from sparsity_audit.data.corpus import Corpus
    from sparsity_audit.engine.audit import audit
    from sparsity_audit.slimming.api import prune_model
    from sparsity_audit.slimming.session import PruneOptions
    from sparsity_audit.training.monitor import SparsityMonitor

__all__ = ["Corpus", "PruneOptions", "SparsityMonitor", "__version__", "audit", "prune_model"]

_PLACES = {
    "Corpus": "data.corpus",
    "PruneOptions": "slimming.session",
    "SparsityMonitor": "training.monitor",
    "audit": "engine.audit",
    "prune_model": "slimming.api",
}


def __getattr__(name: str) -> object:
    if name in _PLACES:
        return getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
