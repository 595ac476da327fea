"""Families and comparisons built by hand."""

from __future__ import annotations

from typing import Any

from sparsity_audit.schema.plan import PruningPlan, Tolerances
from sparsity_audit.schema.prune_report import LatencyFigures, SpreadFigures, TestFigures
from sparsity_audit.schema.report import ArchitectureInfo, CorpusInfo, NormalisationInfo, ToolInfo
from sparsity_audit.schema.slim_tables import (
    ComparatorRow,
    ComparedCut,
    ComparisonBlock,
    ComparisonReport,
    ParetoPoint,
    ParetoReport,
    TuningSettings,
)

PARAMS, MACS, FILTERS, IMAGES = 297_312, 14_254_080, 480, 10_000


def facts(**given: Any) -> dict[str, Any]:
    """Return what is told of a model."""
    return {
        "tool": ToolInfo(version="0.1.0", python="3.11", platform="Linux", torch="2.15", device="cpu", threads=1),
        "started": "2026-01-01T00:00:00+00:00",
        "duration_seconds": 12.34,
        "path": "model.safetensors",
        "sha256": "0123456789abcdef" * 4,
        "architecture": ArchitectureInfo(name="zoo:basicnet", how="metadata", classes=10),
        "corpus": CorpusInfo(name="cifar10", split="train", images=900, available=50_000, seed=0, sha256="0"),
        "normalisation": NormalisationInfo(mean=[0.5], std=[0.25], pixel_scale=255.0, source="metadata"),
        "filters": FILTERS,
        "params": PARAMS,
        "macs": MACS,
        "before": figures(0.172),
        "gamma_threshold": 1e-3,
        "objective": None,
        "tuning": None,
        **given,
    }


def figures(error: float, changed: int = 0) -> TestFigures:
    """Return the figures of a test."""
    return TestFigures(images=IMAGES, error=error, loss=1.0, changed=changed)


def timed(batch_size: int, ratio: float, spread: float = 0.05) -> LatencyFigures:
    """Return timings whose ratio has quartiles so far away."""
    second = SpreadFigures(median=1.0, lower=1.0, upper=1.0)
    around = SpreadFigures(median=ratio, lower=ratio - spread, upper=ratio + spread)
    return LatencyFigures(batch_size=batch_size, rounds=30, threads=1, before=second, after=second, ratio=around)


def plan() -> PruningPlan:
    """Return a plan of nothing."""
    return PruningPlan(
        model_sha256="0",
        criterion="union",
        pruning_class="small",
        tolerances=Tolerances(gamma=1e-3, activation=1e-12, constant=1e-6),
        images=900,
        layers=[],
        params_before=PARAMS,
        params_after=PARAMS,
        macs_before=MACS,
        macs_after=MACS,
    )


def point(number: int, macs: float, error: float, **given: Any) -> ParetoPoint:
    """Return a network that keeps a share of the MACs, and its square of the parameters."""
    content = {
        "name": f"slim-{number:02d}",
        "aims": ["budget"],
        "share": 1 - macs,
        "removed": 10 * number,
        "alive": 0,
        "params": round(PARAMS * macs**2),
        "macs": round(MACS * macs),
        "test": figures(error, number),
        "tuned": None,
        "latency": [],
        "best_for": ["params", "macs"],
        "plan": plan(),
        **given,
    }
    return ParetoPoint.model_validate(content)


def family(**given: Any) -> ParetoReport:
    """Return a family of six, one of them beaten."""
    points = [
        point(0, 0.88, 0.172, aims=["lossless"], share=None, best_for=[]),
        point(1, 0.86, 0.172, aims=["paper", "budget"], removed=1110),
        point(2, 0.75, 0.18),
        point(3, 0.65, 0.19, best_for=["macs"]),
        point(4, 0.45, 0.42),
        point(5, 0.3, 0.9),
    ]
    return ParetoReport(**facts(cost="macs", points=points, **given))


def tuned_family() -> ParetoReport:
    """Return a family whose networks were tuned, and timed."""
    latency = [timed(1, 0.8), timed(8, 0.98)]
    points = [
        each.model_copy(update={"tuned": figures(0.17 + 0.03 * i), "latency": latency})
        for i, each in enumerate(family().points)
    ]
    settings = TuningSettings(steps=200, lr=1e-3, bn_images=1000, flip=True)
    return ParetoReport(**facts(cost="params", points=points, tuning=settings, objective="params"))


def comparison(**given: Any) -> ComparisonReport:
    """Return a comparison with a method that makes nothing and one of chance."""

    def cut(error: float, removed: int = 110, seed: int | None = None) -> ComparedCut:
        size = round(PARAMS * (1 - removed / 200)), round(MACS * (1 - removed / 500))
        times = [timed(1, 1 - removed / 200), timed(8, 0.99)]
        return ComparedCut(
            seed=seed, removed=removed, params=size[0], macs=size[1], test=figures(error), tuned=None, latency=times
        )

    rows = [
        ComparatorRow(method="ours: small", source="", leaves="constant", cuts=[cut(0.172)]),
        ComparatorRow(method="|γ|", source="Liu et al. 2017", leaves="dropped", cuts=[cut(0.18)]),
        ComparatorRow(
            method="APoZ", source="Hu et al.", leaves="dropped", cuts=[cut(0.2, 90)], remark="no more can go"
        ),
        ComparatorRow(method="Peer", source="them", leaves="dropped", cuts=[], reason="is <not> installed"),
        ComparatorRow(
            method="random",
            source="",
            leaves="dropped",
            cuts=[cut(0.70, 110, 0), cut(0.80, 112, 1), cut(0.84, 114, 2)],
        ),
    ]
    block = ComparisonBlock(wanted=110, share=110 / 480, aim="ours", rows=rows)
    return ComparisonReport(**facts(pruning_class="small", blocks=[block], **given))
