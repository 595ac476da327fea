"""The fixture ``audit_model``: audits inside of tests that people write themselves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparsity_audit.data.corpus import Corpus
from sparsity_audit.engine.audit import audit
from sparsity_audit.schema.report import AuditReport
from sparsity_audit.schema.rule import Rule

if TYPE_CHECKING:
    from torch import nn


def audit_model(
    model: nn.Module | str | Path,
    loader: Iterable[Any] | Corpus | str | Path,
    rules: str | Path | Rule | Sequence[str | Path | Rule] = ("default",),
    **settings: Any,
) -> AuditReport:
    """Audit a model on what a loader yields.

    ::

        def test_no_filter_died(audit_model, model, train_loader):
            report = audit_model(model, train_loader)
            assert report.exit_code == 0, report.failures()

    Args:
        model: a module, which is copied and left as it is, or a weight file.
        loader: yields (images, labels): floats [B, C, H, W] as the model is given them, and integers [B]; a torch
            DataLoader, gone through once and held in memory. Or a ``Corpus``, or the name or folder of one.
        rules: as of ``audit``.
        settings: as of ``audit``: ``select``, ``limit``, ``limits``, …

    Raises:
        SparsityAuditError: input that cannot be audited; one line.
    """
    corpus = loader if isinstance(loader, str | Path | Corpus) else Corpus.from_loader(loader)
    return audit(model, corpus, rules, **settings)
