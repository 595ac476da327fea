"""Reports made by hand, in every state that a session can end in."""

from __future__ import annotations

from typing import Any

from report_parts import SHA, bare_layer, layer, lost, plan, total

from sparsity_audit.schema.config import AuditConfig
from sparsity_audit.schema.report import (
    ArchitectureInfo,
    AuditReport,
    CorpusInfo,
    Coverage,
    ErrorInfo,
    LayerReport,
    Lost,
    ModelReport,
    NormalisationInfo,
    NormReport,
    RuleResult,
    SessionError,
    SkippedLayer,
    ToolInfo,
    Totals,
)
from sparsity_audit.schema.spec import TrainingSettings

TOOL = ToolInfo(version="0.1.0", python="3.12.3", platform="Linux-6.8-x86_64", torch="2.15.0", threads=2)
NASTY = "a|b<script>`@team`*_[x](y)&amp;\n\x1b[31m\\|"


def result(rule: str = "SA101", layer_key: str | None = "conv1", outcome: str = "passed", **changes: Any) -> RuleResult:
    values: dict[str, Any] = {
        "rule": rule,
        "name": {"SA101": "dead-filter-fraction-by-scale", "SA102": "dead-filter-fraction-by-activation"}.get(
            rule, "some-rule"
        ),
        "version": 1,
        "scope": "model" if layer_key is None else "layer",
        "layer": layer_key,
        "outcome": outcome,
        "severity": None,
        "unit": "fraction",
        "value": 0.06,
        "limit": 0.1,
        "interval": None,
        "n": 50_000,
        "reason": None,
        "message": "1 of 16 filters is inactive by scale",
    }
    return RuleResult(**(values | changes))


def failed(rule: str = "SA101", layer_key: str | None = "conv1", severity: str = "error", **changes: Any) -> RuleResult:
    values: dict[str, Any] = {
        "severity": severity,
        "unit": "fraction",
        "value": 0.34375,
        "limit": 0.3 if severity == "error" else 0.1,
        "message": "34.4 % of 32 filters are inactive by scale, limit 30 %",
        "evidence": {"dead": [1, 2, 3, 9], "filters": 32, "threshold": 1e-3},
        "remedies": ["train with decoupled weight decay instead of L2 (AdamW)", "lower the L2 strength"],
    }
    return result(rule, layer_key, "failed", **(values | changes))


def undecided(outcome: str, reason: str, rule: str = "SA102", layer_key: str | None = "conv1") -> RuleResult:
    return result(rule, layer_key, outcome, value=None, limit=None, n=None, reason=reason, message=reason)


def model(layers: list[LayerReport], results: list[RuleResult], **changes: Any) -> ModelReport:
    filters = sum(item.filters for item in layers)
    sums: dict[str, Lost] = {}
    for criterion in ("scale", "activation", "constant", "union"):
        parts = [item.lost[criterion] for item in layers if criterion in item.lost]
        if parts:
            sums[criterion] = lost(
                sum(part.filters for part in parts),
                total(part.params for part in parts),
                total(part.macs for part in parts),
                total(part.held_back for part in parts),
            )
    values: dict[str, Any] = {
        "path": "models/resnet20.safetensors",
        "sha256": SHA,
        "architecture": ArchitectureInfo(
            name="zoo:resnet20", how="detected", twins=["timm:resnet20", "pytorchcv:resnet20_cifar10"], classes=10
        ),
        "training": TrainingSettings.model_validate(
            {
                "optimizer": {"name": "adam", "lr": 1e-3, "betas": [0.9, 0.99]},
                "regularizer": {"kind": "l2", "strength": 1e-4},
                "batch_size": 40,
            }
        ),
        "normalisation": NormalisationInfo(
            mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225], pixel_scale=255, source="architecture"
        ),
        "corpus": CorpusInfo(name="cifar10", split="train", images=50_000, available=50_000, seed=None, sha256=SHA),
        "error": ErrorInfo(split="test", images=10_000, top1=0.0827, top5=0.0025, classes=10),
        "coverage": Coverage(fraction=1.0, selectivity_fraction=0.5, audited=[i.key for i in layers], skipped=[]),
        "layers": layers,
        "norms": [],
        "totals": Totals(
            layers=len(layers),
            filters=filters,
            paired=None,
            params=total(item.params for item in layers),
            macs=total(item.macs for item in layers),
            lost=sums,
        ),
        "nonfinite_tensors": [],
        "results": results,
        "plan": plan(layers),
    }
    return ModelReport(**(values | changes))


def report(models: list[ModelReport], exit_code: int = 0, **changes: Any) -> AuditReport:
    values: dict[str, Any] = {
        "tool": TOOL,
        "config": AuditConfig(),
        "config_file": "pyproject.toml",
        "started": "2026-01-02T03:04:05Z",
        "duration_seconds": 12.34,
        "exit_code": exit_code,
        "models": models,
    }
    return AuditReport(**(values | changes))


def all_passed() -> AuditReport:
    keys = ["conv1", "layer1.0.conv1"]
    results = [result(rule, key, message="") for rule in ("SA101", "SA102") for key in keys]
    return report([model([layer(key) for key in keys], results)])


def failed_with_warnings() -> AuditReport:
    keys = ["conv1", "layer1.0.conv1", "layer1.0.conv2", "layer2.0.downsample.0"]
    results = [
        failed("SA101", "conv1", "warning"),
        failed("SA101", "layer1.0.conv1"),
        result("SA101", "layer1.0.conv2"),
        failed("SA101", "layer2.0.downsample.0"),
        *[result("SA102", key) for key in keys],
        *[undecided("skipped", "no nonlinearity follows", "SA201", key) for key in keys[:3]],
        undecided("inconclusive", "fewer than 100 images", "SA201", keys[3]),
        failed("SA105", None, "warning", message="6.2 % of parameters lost", evidence={"lost": 2304}, remedies=[]),
    ]
    return report([model([layer(key) for key in keys], results)], exit_code=1)


def weights_only() -> AuditReport:
    keys = ["conv1", "features.4"]
    results = [
        *[result("SA101", key, n=None) for key in keys],
        *[undecided("skipped", "needs --data", "SA102", key) for key in keys],
        undecided("skipped", "needs --arch", "SA105", None),
    ]
    made = model(
        [bare_layer(key) for key in keys],
        results,
        architecture=None,
        training=None,
        normalisation=None,
        corpus=None,
        error=None,
        coverage=Coverage(
            fraction=None,
            selectivity_fraction=None,
            audited=keys,
            skipped=[SkippedLayer(layer="features.9", reason="no normalisation")],
        ),
        norms=[
            NormReport(key="fc.bn", position="after Linear", features=64, scale=[0, 1], constant_candidates=[1]),
            NormReport(key="input_bn", position="input", features=1, scale=None, constant_candidates=None),
        ],
        totals=Totals(
            layers=2, filters=97, paired=32, params=None, macs=None, lost={"scale": lost(6), "union": lost(6)}
        ),
    )
    tool = TOOL.model_copy(update={"torch": None, "threads": None})
    return report([made], tool=tool, config_file=None)


def crashed_rule() -> AuditReport:
    results = [result(), undecided("error", "ZeroDivisionError: division by zero in measure 'x'", "SA103")]
    return report([model([layer("conv1")], results)], exit_code=3)


def session_error() -> AuditReport:
    error = SessionError(path="broken.pth", message="broken.pth: is an HTML page, not weights; download it again")
    return report([model([layer("conv1")], [result()])], exit_code=4, errors=[error])


def huge(layers: int, key: str = "stage{}.conv") -> AuditReport:
    keys = [key.format(i) for i in range(layers)]
    results = [failed(rule, item) for rule in ("SA101", "SA102") for item in keys]
    return report([model([layer(item) for item in keys], results)], exit_code=1)


def nasty() -> AuditReport:
    results = [
        failed("SA101", NASTY, message=f"message {NASTY}", remedies=[f"remedy {NASTY}"], evidence={"names": [NASTY]}),
        failed("SA102", NASTY, "warning", message=f"message {NASTY}"),
        undecided("skipped", f"reason {NASTY}", "SA201", NASTY),
        undecided("error", f"reason {NASTY}", "SA103", NASTY),
    ]
    made = model(
        [layer(NASTY)],
        results,
        path=f"models/{NASTY}",
        architecture=ArchitectureInfo(name=f"python:{NASTY}", how="option", twins=[NASTY]),
        coverage=Coverage(
            fraction=0.5,
            selectivity_fraction=0.5,
            audited=[NASTY],
            skipped=[SkippedLayer(layer=NASTY, reason=f"op {NASTY}")],
        ),
        norms=[NormReport(key=NASTY, position=NASTY, features=1, scale=[], constant_candidates=[])],
        nonfinite_tensors=[NASTY],
        notes=[NASTY],
    )
    errors = [SessionError(path=NASTY, message=f"cannot read {NASTY}")]
    return report([made, made], exit_code=3, errors=errors, config_file=NASTY)
