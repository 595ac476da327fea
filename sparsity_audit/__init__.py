"""Audit trained CNNs for the filters that training silently killed.

``audit()`` is the whole tool from Python, ``SparsityMonitor`` watches a model in your own training loop; they are
imported when first used, so that ``import sparsity_audit`` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparsity_audit.version import __version__

if TYPE_CHECKING:
    from sparsity_audit.data.corpus import Corpus
    from sparsity_audit.engine.audit import audit
    from sparsity_audit.training.monitor import SparsityMonitor

__all__ = ["Corpus", "SparsityMonitor", "__version__", "audit"]


def __getattr__(name: str) -> object:
    if name == "audit":
        from sparsity_audit.engine.audit import audit

        return audit
    if name == "Corpus":
        from sparsity_audit.data.corpus import Corpus

        return Corpus
    if name == "SparsityMonitor":
        from sparsity_audit.training.monitor import SparsityMonitor

        return SparsityMonitor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
