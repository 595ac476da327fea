"""``audit()``: a session from Python, for one model that is a file or already in memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparsity_audit.engine.rulepacks import apply_limits, choose, load_rules, validate
from sparsity_audit.engine.session import Session
from sparsity_audit.engine.subject import Subject, with_graph
from sparsity_audit.errors import UsageError
from sparsity_audit.schema.config import AuditConfig
from sparsity_audit.schema.report import AuditReport
from sparsity_audit.schema.rule import Rule

if TYPE_CHECKING:
    from torch import nn

    from sparsity_audit.data.corpus import Corpus


def audit(
    model: str | Path | nn.Module,
    data: str | Path | Corpus | None = None,
    rules: Sequence[str | Path | Rule] = ("default",),
    *,
    trust_code: bool = False,
    **settings: Any,
) -> AuditReport:
    """Audit one model and return the report that ``sparsity-audit run`` would write.

    Args:
        model: a weight file, or a module in memory. A module is copied; neither its weights nor its training
            mode change.
        data: a corpus by name or folder, or a ``Corpus`` (``Corpus.from_arrays`` makes one); without it only
            weights are looked at, and of a module its graph where ``arch`` is not needed.
        rules: packs by name, TOML files, or ``Rule`` objects.
        trust_code: allow ``arch="python:…"`` to run code.
        settings: any key of ``AuditConfig``: ``select``, ``limit``, ``batch_size``, ``mean``, ``limits``, …

    Raises:
        SparsityAuditError: input that cannot be audited; one line says what, where, and what to do.
    """
    corpus = None if data is None or isinstance(data, str | Path) else data
    config = validate(
        AuditConfig, {"data": None if data is None or corpus is not None else str(data), **settings}, "audit()"
    )
    packs = [str(rule) for rule in rules if not isinstance(rule, Rule)]
    own = [rule for rule in rules if isinstance(rule, Rule)]
    chosen = choose(apply_limits([*load_rules(packs), *own], config.limits, "limits"), config.select, config.ignore)
    session = Session(config, chosen, corpus=corpus, trust_code=trust_code)
    if isinstance(model, str | Path):
        subject = session.prepare(str(model))
    else:
        subject = _subject_in_memory(model, config, session.corpora.statistics)
        session.announce(subject)
    session.add(subject)
    return session.report()


def _subject_in_memory(module: nn.Module, config: AuditConfig, corpus: Corpus | None) -> Subject:
    """Return a module as the subject of an audit; a copy of it is what is run."""
    from sparsity_audit.models.load import loaded_module

    if corpus is None:
        raise UsageError("a module in memory is audited on data: give audit() a corpus")
    loaded = loaded_module(module, input_shape=corpus.shape, classes=len(corpus.class_names))
    known = with_graph(loaded, corpus, config)
    return Subject(loaded.architecture.name, loaded.checkpoint, None, None, known, config.training)
