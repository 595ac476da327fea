"""``prune_model()``: pruning from Python, for one model that is a file or already in memory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparsity_audit.engine.audit import subject_in_memory
from sparsity_audit.engine.session import Session
from sparsity_audit.schema.config import AuditConfig
from sparsity_audit.schema.validating import validate
from sparsity_audit.slimming.session import Pruned, PruneOptions, prune

if TYPE_CHECKING:
    from torch import nn

    from sparsity_audit.data.corpus import Corpus


def prune_model(
    model: str | Path | nn.Module,
    data: str | Path | Corpus | None = None,
    options: PruneOptions | None = None,
    *,
    trust_code: bool = False,
    **settings: Any,
) -> Pruned:
    """Return the slim network of a model, ``result.slim.module``, and what ``prune`` would print, ``result.report``.

    Args:
        model: a weight file, or a module in memory; neither is changed.
        data: as for ``audit()``; a module needs a corpus.
        options: the class that goes, and how; lossless filters by default.
        trust_code: allow ``arch="python:…"`` to run code.
        settings: the other keys of ``AuditConfig``: ``limit``, ``batch_size``, ``mean``, ``arch``, …

    Raises:
        SparsityAuditError: a model that cannot be pruned; one line says what, where, and what to do.
    """
    corpus = None if data is None or isinstance(data, str | Path) else data
    name = None if corpus is not None or data is None else str(data)
    config = validate(AuditConfig, {"data": name, **settings}, "prune_model()")
    session = Session(config, [], corpus=corpus, trust_code=trust_code)
    session.start()
    if isinstance(model, str | Path):
        subject = session.prepare(str(model))
    else:
        subject = subject_in_memory(model, config, session.corpora.statistics)
    return prune(subject, config, session.corpora, options or PruneOptions())
