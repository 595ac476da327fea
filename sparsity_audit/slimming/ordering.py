"""In which order filters go where not all of them may."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import torch
from torch.fx import Node

from sparsity_audit.errors import UsageError
from sparsity_audit.graph.feature_graph import FeatureLayer
from sparsity_audit.graph.label_run import example_shape
from sparsity_audit.measures.ledger import Ledger
from sparsity_audit.slimming.importance import taylor
from sparsity_audit.slimming.latency import paired_seconds
from sparsity_audit.slimming.order import Candidate, Objective, filter_costs, harms, ordered, savings
from sparsity_audit.slimming.original import Original
from sparsity_audit.slimming.scattering import BATCH, ROUNDS, SECONDS, narrowed
from sparsity_audit.stats.collect import Normaliser

Held = tuple[Candidate, float]
"""A filter that could go, and the value it is held at."""


def in_order(original: Original, candidates: Sequence[Held], objective: Objective | None) -> list[Held]:
    """Return the candidates, the best to remove first.

    Without an objective by |γ|, as the paper's criterion has it; else by what is saved for the error that is added,
    which is estimated to first order, (γ·∂L/∂γ)² (Molchanov et al. 2019), with β kept as holding does.

    Raises:
        UsageError: an objective without labelled images.
    """
    places = [candidate for candidate, _ in candidates]
    values = dict(candidates)
    if objective is None:
        harm, saving = np.array([original.worth[key][i] for key, i in places]), np.ones(len(places))
        return [(candidate, values[candidate]) for candidate in ordered(places, harm, saving)]
    if original.corpus is None or original.tested is None:
        raise UsageError("--objective needs labelled images of the model's classes: give --data")
    scores = taylor(
        original.module,
        original.graph,
        original.corpus,
        Normaliser(original.normalisation, original.config.device),
        batch_size=original.config.batch_size,
        keep_shift=True,
    )
    layers = {layer.key: layer for layer in original.graph.layers if any(layer.key == key for key, _ in places)}
    seconds = {key: _seconds(layer, original) for key, layer in layers.items()} if objective == "latency" else None
    saving = savings(places, filter_costs(Ledger(original.graph.layers)), objective, seconds)
    return [(candidate, values[candidate]) for candidate in ordered(places, harms(places, scores), saving)]


@torch.inference_mode()
def _seconds(layer: FeatureLayer, original: Original) -> float:
    """Return what one filter of a convolution takes, by timing the convolution whole and with half of its filters."""
    if layer.weight is None or layer.groups > 1 or layer.transposed or layer.filters < 2:
        return 0.0
    whole = original.modules[layer.weight.rpartition(".")[0]]
    half = narrowed(whole, layer.filters, layer.filters // 2)
    source = layer.call.args[0]
    assert isinstance(source, Node)
    images = torch.randn(BATCH, *example_shape(source.meta["val"])[1:])
    before, after = paired_seconds(
        functools.partial(whole, images), functools.partial(half, images), ROUNDS, seconds_budget=SECONDS
    )
    return max(float(np.median(np.subtract(before, after))), 0.0) / (layer.filters // 2) / BATCH
