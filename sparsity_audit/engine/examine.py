"""Examining one model: the pass over the corpus, the findings, the rules, the recommendation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from sparsity_audit.engine.corpora import Corpora, Progress, corpus_info, normalisation_for
from sparsity_audit.engine.evaluate import Keep, evaluate, items
from sparsity_audit.engine.findings import Findings
from sparsity_audit.engine.subject import Subject, WithGraph
from sparsity_audit.measures.ledger import Ledger
from sparsity_audit.pruning.recommend import recommend
from sparsity_audit.schema.config import AuditConfig, Split
from sparsity_audit.schema.report import CorpusInfo, ErrorInfo, ModelReport, NormalisationInfo
from sparsity_audit.schema.rule import Rule, Severity

if TYPE_CHECKING:
    from sparsity_audit.data.corpus import Corpus
    from sparsity_audit.stats.collect import ErrorCount
    from sparsity_audit.stats.feature_stats import FeatureStats

GIB = 2**30


def examine(
    subject: Subject,
    config: AuditConfig,
    rules: Sequence[Rule],
    corpora: Corpora,
    *,
    keep: Keep | None = None,
    stop_at: Severity | None = None,
    progress: Progress | None = None,
) -> ModelReport:
    """Return the report of one model, every rule applied.

    Raises:
        DataError, UsageError: a corpus or an option that does not fit the model.
    """
    corpus = corpora.statistics
    if subject.known is None or corpus is None:
        report = _report(subject, _without_data(subject), None, None, None)
    else:
        report = _with_data(subject, subject.known, config, corpora, corpus, progress)
    results = evaluate(rules, report, keep=keep, stop_at=stop_at)
    notes = [*report.notes, *_left_unchecked(rules, report, keep, len(results))]
    return report.model_copy(update={"results": results, "notes": notes})


def _left_unchecked(rules: Sequence[Rule], report: ModelReport, keep: Keep | None, checked: int) -> list[str]:
    """Say that a session ended early (``-x``), so that its report does not look complete."""
    collected = items(rules, [layer.key for layer in report.layers])
    left = sum(keep is None or keep(rule, key) for rule, key in collected) - checked
    return [f"stopped at the first failure: {left} of {left + checked} items were not checked"] if left else []


def _without_data(subject: Subject) -> Findings:
    if subject.weights is not None:
        return subject.weights
    from sparsity_audit.engine.describe_graph import describe_graph

    assert subject.known is not None
    return describe_graph(subject.known.graph, subject.known.state, None)


def _with_data(
    subject: Subject,
    known: WithGraph,
    config: AuditConfig,
    corpora: Corpora,
    corpus: Corpus,
    progress: Progress | None,
) -> ModelReport:
    from sparsity_audit.engine.describe_graph import describe_graph

    normalisation = normalisation_for(config, subject, corpus)
    stats, error, notes = _measure(known, config, corpora, corpus, normalisation, progress)
    findings = describe_graph(known.graph, known.state, stats)
    findings = replace(findings, notes=[*findings.notes, *notes])
    return _report(subject, findings, corpus_info(corpus), normalisation, error)


def _measure(
    known: WithGraph,
    config: AuditConfig,
    corpora: Corpora,
    corpus: Corpus,
    normalisation: NormalisationInfo,
    progress: Progress | None,
) -> tuple[FeatureStats, ErrorInfo | None, list[str]]:
    """Run the corpus through the model; return its statistics, the error, and what the reader should know."""
    from sparsity_audit.stats.collect import Normaliser
    from sparsity_audit.stats.passes import CorpusPass

    firing = sum(layer.filters for layer in known.graph.layers if layer.fires)
    run = CorpusPass(
        known.graph,
        Normaliser(normalisation, config.device),
        config.batch_size,
        config.device,
        keep_pooled=len(corpus) * firing * 4 <= config.memory_budget * GIB,
    )
    test = corpora.split("test")
    measured = run.measure(corpus, test, lambda label: _labelled(progress, label))
    notes = []
    if measured.redone:
        plural = "filter stands" if measured.redone == 1 else "filters stand"
        notes.append(f"{measured.redone} {plural} within rounding of a threshold: decided by a second, unfused pass")
    error = None
    if measured.error is not None and test is not None:
        error = _error_info(measured.error, test.split)
    return measured.stats, error, notes


def _labelled(progress: Progress | None, label: str) -> Callable[[int, int], None] | None:
    return None if progress is None else lambda done, total: progress(label, done, total)


def _error_info(count: ErrorCount, split: Split) -> ErrorInfo | None:
    if not count.images or count.classes < 2:
        return None
    return ErrorInfo(
        split=split,
        images=count.images,
        top1=count.wrong1 / count.images,
        top5=count.wrong5 / count.images if count.classes > 5 else None,
        classes=count.classes,
    )


def _report(
    subject: Subject,
    findings: Findings,
    corpus: CorpusInfo | None,
    normalisation: NormalisationInfo | None,
    error: ErrorInfo | None,
) -> ModelReport:
    checkpoint = subject.checkpoint
    images = corpus.images if corpus is not None else None
    return ModelReport(
        path=subject.path,
        sha256=checkpoint.sha256,
        architecture=subject.architecture,
        training=subject.training,
        normalisation=normalisation,
        corpus=corpus,
        error=error,
        coverage=findings.coverage,
        layers=findings.layers,
        norms=findings.norms,
        totals=findings.totals,
        nonfinite_tensors=[name for name, tensor in checkpoint.tensors.items() if tensor.nonfinite()],
        results=[],
        plan=recommend(findings.layers, _ledger(subject), checkpoint.sha256, images),
        notes=findings.notes,
    )


def _ledger(subject: Subject) -> Ledger | None:
    return Ledger(subject.known.graph.layers) if subject.known is not None else None
