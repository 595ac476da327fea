"""From the tensors of a file alone to the layers of a report: no architecture, no data, no torch.

Every normalisation with running statistics counts; names tell which convolution it follows, where they can.
Consumers and MACs are unknown, and stay null.
"""

from __future__ import annotations

from sparsity_audit.checkpoints.checkpoint import Checkpoint
from sparsity_audit.checkpoints.norms import Norm, conv_layers, find_norms, find_unnormed
from sparsity_audit.engine.findings import Findings, constant_candidates, finite_list, gamma_inactive
from sparsity_audit.schema.base import Criterion
from sparsity_audit.schema.report import Coverage, LayerReport, Lost, SkippedLayer, Totals

NO_NORM = "scale: names pair no normalisation with this convolution; activation: no data"


def describe_weights(checkpoint: Checkpoint) -> Findings:
    """Return the report's view of every normalisation of a file; none where it holds no convolution."""
    convs = conv_layers(checkpoint.tensors)
    norms = find_norms(checkpoint.tensors) if convs else []
    layers = [_layer(norm) for norm in norms]
    dead = sum(len(layer.scale or []) for layer in layers)
    skipped = [
        SkippedLayer(layer=layer.key, reason="scale: the normalisation has no γ; activation: no data")
        for layer in layers
        if layer.scale is None
    ]
    skipped += [SkippedLayer(layer=norm.path, reason=norm.reason) for norm in find_unnormed(checkpoint.tensors)]
    paired = {norm.conv for norm in norms}
    skipped += [SkippedLayer(layer=conv, reason=NO_NORM) for conv in convs if conv not in paired]
    totals = Totals(
        layers=len(layers),
        filters=sum(layer.filters for layer in layers),
        paired=sum(norm.features for norm in norms if norm.position == "conv"),
        params=None,
        macs=None,
        lost=_lost(dead),
    )
    coverage = Coverage(
        fraction=None,
        selectivity_fraction=None,
        audited=[layer.key for layer in layers if layer.scale is not None],
        skipped=skipped,
    )
    return Findings(layers, [], totals, coverage, [])


def _layer(norm: Norm) -> LayerReport:
    gamma, beta = norm.scale, norm.shift
    dead = None if gamma is None else [int(i) for i in gamma_inactive(gamma).nonzero()[0]]
    return LayerReport(
        key=norm.conv or norm.path,
        norm=norm.path,
        nonlinearity=None,
        filters=norm.features,
        scale=dead,
        activation=None,
        constant=None,
        constant_candidates=constant_candidates(gamma, beta),
        params=None,
        macs=None,
        lost=_lost(len(dead or [])),
        selectivity=None,
        universality=None,
        firing_rate=None,
        gamma=finite_list(gamma),
        beta=finite_list(beta),
        maximum=None,
        minimum=None,
        nonfinite_images=None,
    )


def _lost(dead: int) -> dict[Criterion, Lost]:
    lost = Lost(filters=dead, params=None, macs=None, held_back=None)
    return {"scale": lost, "union": lost}
