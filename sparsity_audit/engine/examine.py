"""Examining one model: the pass over the corpus, the findings, the rules, the recommendation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from sparsity_audit.engine.corpora import Corpora, Progress, corpus_info, normalisation_for
from sparsity_audit.engine.evaluate import Keep, evaluate, items
from sparsity_audit.engine.findings import Findings
from sparsity_audit.engine.gradient_findings import gradient_info
from sparsity_audit.engine.subject import Subject, WithGraph
from sparsity_audit.measures.layer_measures import dead_filters
from sparsity_audit.measures.ledger import Ledger
from sparsity_audit.pruning.recommend import recommend
from sparsity_audit.schema.config import AuditConfig, Split
from sparsity_audit.schema.gradient_report import GradientInfo
from sparsity_audit.schema.report import AblationInfo, CorpusInfo, ErrorInfo, ModelReport, NormalisationInfo
from sparsity_audit.schema.rule import Rule, Severity

if TYPE_CHECKING:
    from sparsity_audit.data.corpus import Corpus
    from sparsity_audit.pruning.bounds import NormBounds
    from sparsity_audit.stats.ablation import Told
    from sparsity_audit.stats.collect import ErrorCount
    from sparsity_audit.stats.passes import CorpusPass, Measured

GIB = 2**30
ABLATING = "error_after_zeroing"
"""The measure that needs runs of its own; they are made where a rule asks for it."""


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
        report = _with_data(subject, subject.known, config, rules, corpora, progress)
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
    rules: Sequence[Rule],
    corpora: Corpora,
    progress: Progress | None,
) -> ModelReport:
    from sparsity_audit.engine.describe_graph import describe_graph

    corpus = corpora.statistics
    assert corpus is not None
    normalisation = normalisation_for(config, subject, corpus)
    run = _corpus_pass(known, config, normalisation, corpus)
    test = corpora.split("test")

    def told(label: str) -> Callable[[int, int], None] | None:
        return None if progress is None else lambda done, total: progress(label, done, total)

    measured = run.measure(corpus, test, told)
    findings = describe_graph(known.graph, known.state, measured.stats)
    findings = replace(findings, notes=[*findings.notes, *_notes(measured)])
    error = None if test is None or measured.error is None else _error_info(measured.error, test.split)
    ablation = None
    if test is not None and error is not None and any(rule.measure == ABLATING for rule in rules):
        ablation = _ablation(run, measured, error, findings, test, told)
    gradients = gradient_info(subject, known, config, rules, corpus, run.normalise, told)
    bounds = _bounds(known, findings, normalisation, corpus)
    return _report(subject, findings, corpus_info(corpus), normalisation, error, ablation, gradients, bounds)


def _bounds(
    known: WithGraph, findings: Findings, normalisation: NormalisationInfo, corpus: Corpus
) -> dict[str, NormBounds]:
    """Return what norms can put out for any image like the corpus's; nothing where no filter is dead.

    Nor where images came as floats: nobody knows what others may hold.
    """
    if corpus.ready or not any(dead_filters(layer) or layer.constant for layer in findings.layers):
        return {}
    from sparsity_audit.pruning.bounds import norm_bounds, pixel_max

    return norm_bounds(known.graph, normalisation, pixel_max(corpus))


def _corpus_pass(known: WithGraph, config: AuditConfig, normalisation: NormalisationInfo, corpus: Corpus) -> CorpusPass:
    from sparsity_audit.stats.collect import Normaliser
    from sparsity_audit.stats.passes import CorpusPass

    budget = int(config.memory_budget * GIB)
    firing = int(known.graph.fires.sum())
    return CorpusPass(
        known.graph,
        Normaliser(normalisation, config.device),
        config.batch_size,
        config.device,
        # Where it is known beforehand that they won't fit, the sketch starts at once, without filling the budget.
        pooled_budget=budget if len(corpus) * firing * 4 <= budget else 0,
    )


def _ablation(
    run: CorpusPass, measured: Measured, error: ErrorInfo, findings: Findings, test: Corpus, told: Told
) -> AblationInfo | None:
    """Try the model without its dead filters; None where it has none."""
    from sparsity_audit.stats.ablation import ablate

    dead = {layer.key: dead_filters(layer) or [] for layer in findings.layers}
    if not any(dead.values()):
        return None
    by_scale = {layer.key: layer.scale or [] for layer in findings.layers}
    tried = ablate(run, measured, test, dead, by_scale, told)
    return AblationInfo(
        criterion="union",
        images=error.images,
        top1_before=error.top1,
        top1_after=tried.error_silenced,
        changed_predictions=tried.changed_silenced,
        top1_scale_zeroed=tried.error_scale_zeroed,
        changed_scale_zeroed=tried.changed_scale_zeroed,
    )


def _notes(measured: Measured) -> list[str]:
    if not measured.redone:
        return []
    stand = "filter stands" if measured.redone == 1 else "filters stand"
    return [f"{measured.redone} {stand} within rounding of a threshold: decided by a second, unfused pass"]


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
    ablation: AblationInfo | None = None,
    gradients: GradientInfo | None = None,
    bounds: Mapping[str, NormBounds] | None = None,
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
        ablation=ablation,
        gradients=gradients,
        coverage=findings.coverage,
        layers=findings.layers,
        norms=findings.norms,
        totals=findings.totals,
        nonfinite_tensors=[name for name, tensor in checkpoint.tensors.items() if tensor.nonfinite()],
        results=[],
        plan=recommend(findings.layers, _ledger(subject), checkpoint.sha256, images, bounds),
        notes=findings.notes,
    )


def _ledger(subject: Subject) -> Ledger | None:
    return Ledger(subject.known.graph.layers) if subject.known is not None else None
