"""From graph, weights and statistics to the layers of a report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from sparsity_audit.engine.findings import Findings, constant_candidates, finite_list, gamma_inactive
from sparsity_audit.graph.feature_graph import FeatureGraph, FeatureLayer, LooseNorm
from sparsity_audit.measures.ledger import Ledger, total_lost
from sparsity_audit.schema.base import Criterion
from sparsity_audit.schema.report import Coverage, LayerReport, Lost, NormReport, SkippedLayer, Totals
from sparsity_audit.stats.feature_stats import FeatureStats
from sparsity_audit.thresholds import CONSTANT_TOLERANCE

State = Mapping[str, torch.Tensor]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Verdicts:
    """Which filters are dead by which criterion, [filters of the graph]; a criterion not decided is absent."""

    by: dict[Criterion, Bools]

    def of(self, criterion: Criterion, layer: FeatureLayer) -> list[int]:
        """Return the indices of a layer's filters that a criterion calls dead."""
        return [int(i) for i in np.flatnonzero(self.by[criterion][layer.span])]


def judge(graph: FeatureGraph, state: State, stats: FeatureStats | None) -> Verdicts:
    """Apply the criteria at the paper's thresholds."""
    scale = np.zeros(graph.filters, bool)
    by: dict[Criterion, Bools] = {}
    for layer in graph.layers:
        gamma = _values(state, layer.gamma)
        if gamma is not None:
            scale[layer.span] = gamma_inactive(gamma)
            by = {"scale": scale, "union": scale}
    if stats is not None:
        inactive = stats.inactive()
        by["activation"] = inactive
        by["constant"] = stats.constant(CONSTANT_TOLERANCE)
        by["union"] = scale | inactive
    return Verdicts(by)


def describe_graph(graph: FeatureGraph, state: State, stats: FeatureStats | None) -> Findings:
    """Return the report's view of every feature layer, norm and total.

    Args:
        state: the model's parameters by path.
        stats: of the corpus; None where only weights were looked at.
    """
    verdicts = judge(graph, state, stats)
    ledger = Ledger(graph.layers)
    lost = {criterion: ledger.lost(dead) for criterion, dead in verdicts.by.items()}
    params, macs = ledger.params, ledger.macs
    shares = None if stats is None else stats.universality_range()
    layers = [
        _layer(
            layer,
            verdicts,
            {criterion: parts[place] for criterion, parts in lost.items()},
            (params[place], macs[place]),
            _values(state, layer.gamma),
            _values(state, layer.beta),
            _activations(layer, stats, shares),
        )
        for place, layer in enumerate(graph.layers)
    ]
    totals = Totals(
        layers=len(layers),
        filters=graph.filters,
        paired=None,
        params=sum(params),
        macs=sum(macs),
        lost={criterion: total_lost(parts) for criterion, parts in lost.items()},
    )
    norms = [_norm(norm, state) for norm in graph.norms]
    return Findings(layers, norms, totals, _coverage(graph, layers, seen=stats is not None), _notes(graph))


def _layer(
    layer: FeatureLayer,
    verdicts: Verdicts,
    lost: dict[Criterion, Lost],
    size: tuple[int, int],
    gamma: Floats | None,
    beta: Floats | None,
    activations: dict[str, object],
) -> LayerReport:
    seen = "activation" in verdicts.by
    return LayerReport.model_validate(
        {
            "key": layer.key,
            "norm": layer.norm,
            "nonlinearity": layer.nonlinearity,
            "filters": layer.filters,
            "scale": verdicts.of("scale", layer) if gamma is not None else None,
            "activation": verdicts.of("activation", layer) if seen else None,
            "constant": verdicts.of("constant", layer) if seen else None,
            "constant_candidates": constant_candidates(gamma, beta),
            "params": size[0],
            "macs": size[1],
            "lost": lost,
            "gamma": finite_list(gamma),
            "beta": finite_list(beta),
            **activations,
        }
    )


def _activations(
    layer: FeatureLayer, stats: FeatureStats | None, universality: tuple[Floats, Floats] | None
) -> dict[str, object]:
    """Return the fields of a layer that a corpus fills; all None without one."""
    fields = "selectivity universality universality_bound firing_rate maximum minimum nonfinite_images"
    found: dict[str, object] = dict.fromkeys(fields.split())
    if stats is None:
        return found
    # Extrema that leave NaN out decide nothing: a filter that is 0 on the other images isn't silent.
    decided = stats.decided[layer.span]
    found["maximum"] = finite_list(np.where(decided, stats.maximum[layer.span].astype(np.float64), np.nan))
    found["minimum"] = finite_list(np.where(decided, stats.minimum[layer.span].astype(np.float64), np.nan))
    found["nonfinite_images"] = int(stats.nonfinite[layer.span].max(initial=0))
    if not layer.fires:
        return found
    found["firing_rate"] = stats.firing_rate()[layer.span].tolist()
    if universality is not None:
        least, most = (share[layer.span] for share in universality)
        own = (least + most) / 2
        active = decided & ~stats.inactive()[layer.span]
        found["universality"], found["universality_bound"] = own.tolist(), ((most - least) / 2).tolist()
        found["selectivity"] = float(1 - own[active].mean()) if active.any() else None
    return found


def _coverage(graph: FeatureGraph, layers: list[LayerReport], *, seen: bool) -> Coverage:
    skipped = [
        SkippedLayer(layer=layer.key, reason=reason)
        for layer, source in zip(layers, graph.layers, strict=True)
        if (reason := _undecided(layer, source))
    ]
    selective = sum(layer.universality is not None for layer in layers)
    audited = [layer.key for layer in layers if layer.scale is not None or layer.activation is not None]
    return Coverage(
        fraction=(len(layers) - len(skipped)) / len(layers) if layers and seen else None,
        selectivity_fraction=selective / len(layers) if layers and seen else None,
        audited=audited,
        skipped=skipped,
    )


def _undecided(layer: LayerReport, source: FeatureLayer) -> str | None:
    """Say which criterion was not decided for a layer, and why; None where both were."""
    reasons = []
    if layer.scale is None:
        reasons.append(
            f"scale: {source.norm_kind} {source.norm} has no γ" if source.norm else "scale: no normalisation follows"
        )
    if layer.activation is None:
        reasons.append("activation: no data")
    elif layer.nonfinite_images:
        reasons.append("activation: not finite")
    return "; ".join(reasons) or None


def _norm(norm: LooseNorm, state: State) -> NormReport:
    gamma, beta = _values(state, norm.gamma), _values(state, norm.beta)
    return NormReport(
        key=norm.key,
        position=norm.position,
        features=norm.features,
        scale=None if gamma is None else [int(i) for i in np.flatnonzero(gamma_inactive(gamma))],
        constant_candidates=constant_candidates(gamma, beta),
    )


def _values(state: State, path: str | None) -> Floats | None:
    return None if path is None else state[path].detach().cpu().double().numpy()


def _notes(graph: FeatureGraph) -> list[str]:
    notes = []
    if graph.opaque:
        names = ", ".join(sorted(name.removeprefix("aten.").partition(".")[0] for name in graph.opaque))
        notes.append(f"operations whose channels were not followed: {names}; what they read counts as needed")
    if graph.captured.batch is not None:
        notes.append(f"the model fixes its batch size: batches of {graph.captured.batch}, the last one filled up")
    if graph.captured.mixes_images:
        notes.append(
            "the model's answer for an image depends on the rest of its batch, or on chance (a batch norm without "
            "running statistics?): verdicts hold for these batches in this order"
        )
    return notes
