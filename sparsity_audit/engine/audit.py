"""``audit()``: a session from Python, for one model that is a file or already in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from sparsity_audit.engine.rulepacks import apply_limits, check_rules, choose, load_rules
from sparsity_audit.engine.session import Session
from sparsity_audit.engine.subject import Subject, with_graph
from sparsity_audit.errors import UsageError
from sparsity_audit.schema.config import AuditConfig, Format
from sparsity_audit.schema.report import AuditReport
from sparsity_audit.schema.rule import Rule
from sparsity_audit.schema.validating import validate

if TYPE_CHECKING:
    from torch import nn

    from sparsity_audit.data.corpus import Corpus


def audit(
    model: str | Path | nn.Module,
    data: str | Path | Corpus | None = None,
    rules: str | Path | Rule | Sequence[str | Path | Rule] = ("default",),
    *,
    trust_code: bool = False,
    **settings: Any,
) -> AuditReport:
    """Audit one model and return the report that ``sparsity-audit run`` would write.

    Args:
        model: a weight file, or a module in memory. A module is copied; neither its weights nor its training
            mode change.
        data: a corpus by name or folder, or a ``Corpus`` (``Corpus.from_arrays`` makes one), which then stands
            for both splits. A file without data has its weights looked at; a module needs data.
        rules: one or several of packs by name, TOML files, and ``Rule`` objects; of two with the same id the
            later counts, and objects come after packs.
        trust_code: allow ``arch="python:…"`` to run code.
        settings: the other keys of ``AuditConfig``: ``select``, ``limit``, ``batch_size``, ``mean``, ``limits``, …
            No configuration file is read and none is written: ``report.to_json()`` is what ``--json`` writes.

    Raises:
        SparsityAuditError: input that cannot be audited; one line says what, where, and what to do.
    """
    corpus = None if data is None or isinstance(data, str | Path) else data
    given = [rules] if isinstance(rules, str | Path | Rule) else list(rules)
    packs = [str(rule) for rule in given if not isinstance(rule, Rule)]
    own = check_rules([rule for rule in given if isinstance(rule, Rule)])
    config = _configured(settings, None if corpus is not None or data is None else str(data), packs)
    every = {rule.id: rule for rule in (*load_rules(packs), *own)}
    limited = apply_limits(list(every.values()), config.limits, "limits")
    session = Session(config, choose(limited, config.select, config.ignore), corpus=corpus, trust_code=trust_code)
    session.start()
    if isinstance(model, str | Path):
        subject = session.prepare(str(model))
    else:
        subject = subject_in_memory(model, config, session.corpora.statistics)
        session.announce(subject)
    session.add(subject)
    return session.report()


def _configured(settings: Mapping[str, Any], data: str | None, packs: Sequence[str]) -> AuditConfig:
    for key in ("models", "json_path", "format", "baseline", "baseline_tolerance", *get_args(Format)):
        if key in settings:
            raise UsageError(f"audit(): {key} is for the command line; audit() takes one model and returns its report")
    return validate(AuditConfig, {"data": data, "rules": packs, **settings}, "audit()")


def subject_in_memory(module: nn.Module, config: AuditConfig, corpus: Corpus | None) -> Subject:
    """Return a module as the subject of an audit; a copy of it is what is run."""
    from sparsity_audit.models.load import loaded_module

    if corpus is None:
        raise UsageError("a module in memory is audited on data: give audit() a corpus")
    loaded = loaded_module(module, input_shape=corpus.shape, classes=len(corpus.class_names))
    known = with_graph(loaded, corpus, config)
    return Subject(loaded.architecture.name, loaded.checkpoint, None, None, known, config.training)
