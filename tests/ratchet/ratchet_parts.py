"""Models, studies and reports of a few results, for the ratchet and for differences of reports."""

from __future__ import annotations

import datetime
import hashlib
from typing import Any

from sparsity_audit.ratchet.ratchet import Ratchet
from sparsity_audit.schema.config import AuditConfig
from sparsity_audit.schema.report import (
    AuditReport,
    Coverage,
    LayerReport,
    Lost,
    ModelReport,
    RuleResult,
    StudyReport,
    ToolInfo,
    Totals,
)
from sparsity_audit.schema.rule import Rule
from sparsity_audit.schema.study_report import RunFacts

TODAY = datetime.date(2026, 5, 10)


def result(rule: str, layer: str | None, outcome: str, value: float | None = None, **changes: Any) -> RuleResult:
    """Return a result; a failure is an error above 0.1 unless told otherwise."""
    failed = outcome == "failed"
    values: dict[str, Any] = {
        "rule": rule,
        "name": "some-rule",
        "version": 1,
        "scope": "layer",
        "layer": layer,
        "outcome": outcome,
        "severity": "error" if failed else None,
        "value": value,
        "unit": "fraction",
        "limit": 0.1,
        "interval": None,
        "n": None,
        "reason": None,
        "message": "",
    }
    return RuleResult(**(values | changes))


def layer(key: str, filters: int = 8, **dead: list[int] | None) -> LayerReport:
    """Return a layer with its dead filters by criterion."""
    verdicts = {criterion: dead.get(criterion) for criterion in ("scale", "activation", "constant")}
    empty = (
        "norm nonlinearity constant_candidates params macs selectivity universality firing_rate gamma beta maximum "
        "minimum nonfinite_images"
    )
    return LayerReport(key=key, filters=filters, lost={}, **verdicts, **dict.fromkeys(empty.split()))


def model(path: str, results: list[RuleResult], layers: list[LayerReport] | None = None) -> ModelReport:
    """Return a model; its totals are what its layers say."""
    shown = layers if layers is not None else [layer("a"), layer("b")]
    lost = {}
    for criterion in ("scale", "activation", "constant"):
        parts = [getattr(item, criterion) for item in shown]
        if any(part is not None for part in parts):
            n = sum(len(part or []) for part in parts)
            lost[criterion] = Lost(filters=n, params=None, macs=None, held_back=None)
    return ModelReport(
        path=path,
        sha256=hashlib.sha256(repr((path, shown)).encode()).hexdigest(),
        architecture=None,
        training=None,
        normalisation=None,
        corpus=None,
        error=None,
        coverage=Coverage(fraction=None, selectivity_fraction=None, audited=[item.key for item in shown], skipped=[]),
        layers=shown,
        norms=[],
        totals=Totals(
            layers=len(shown),
            filters=sum(item.filters for item in shown),
            paired=None,
            params=None,
            macs=None,
            lost=lost,
        ),
        nonfinite_tensors=[],
        results=results,
        plan=None,
    )


def study(name: str, results: list[RuleResult]) -> StudyReport:
    """Return a study of one run."""
    facts = {"digest": None, "spec": None, "training": None, "seed": 0, "error": 0.1, "by_scale": 0.1}
    run = RunFacts(name="run", path="runs/run", **facts)
    return StudyReport(name=name, title=name, source=None, runs=[run], missing=[], rows=[], results=results, claims=[])


def compared(*runs: str, value: float, **changes: Any) -> RuleResult:
    """Return a study rule's failure on some runs."""
    return result("SA301", None, "failed", value, scope="study", evidence={"runs": list(runs)}, **changes)


def report(*parts: ModelReport | StudyReport, rules: list[Rule] | None = None, **changes: Any) -> AuditReport:
    """Return a session's report."""
    return AuditReport(
        tool=ToolInfo(version="0", python="3", platform="x", torch=None),
        config=AuditConfig(),
        config_file=None,
        started="2026-01-02T03:04:05Z",
        duration_seconds=0.0,
        exit_code=0,
        models=[part for part in parts if isinstance(part, ModelReport)],
        studies=[part for part in parts if isinstance(part, StudyReport)],
        rules=rules or [],
        **changes,
    )


def reread(made: AuditReport) -> AuditReport:
    """Return a report as it comes back from a file: NaN and infinities are null there."""
    return AuditReport.model_validate_json(made.to_json())


def ratchet(baseline: AuditReport | None, *models: str, first: bool = False, **config: Any) -> Ratchet:
    """Return the ratchet of a session."""
    path = "base.json" if baseline is not None or first else None
    settings = AuditConfig(models=list(models), baseline=path, **config)
    return Ratchet(settings, reread(baseline) if baseline is not None else None, first, TODAY)


def ended(gate: Ratchet, *parts: ModelReport | StudyReport, **changes: Any) -> AuditReport:
    """Return a session's report as ``run`` puts it together."""
    return gate.conclude(report(*[gate.stand(part) for part in parts], **changes))
