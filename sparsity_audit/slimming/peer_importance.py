"""The scores that Torch-Pruning's own importances give the filters, where that package is installed."""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from collections import Counter
from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import nn

from sparsity_audit.errors import UsageError
from sparsity_audit.graph.capture import one_line
from sparsity_audit.graph.feature_graph import FeatureGraph, FeatureLayer
from sparsity_audit.slimming.importance import Floats, Scores, evaluating_copy

TorchPruning = Literal["magnitude", "bn_scale", "lamp"]
IMPORTANCES = {"magnitude": "MagnitudeImportance", "bn_scale": "BNScaleImportance", "lamp": "LAMPImportance"}
"""The package's names of its importances, as it comes: with its own defaults."""


def torch_pruning(module: nn.Module, graph: FeatureGraph, kind: TorchPruning) -> Scores:
    """Return the scores that Torch-Pruning's own importance gives the filters, where the package is installed.

    Its score belongs to a *group*: everything that would have to go together with a channel, by its DependencyGraph.
    For each convolution the group of all its filters is asked for, which keeps their order, so that the score of place
    i is that of filter i and of whatever is coupled to it. None where that cannot be said: a convolution called
    twice, one that is no module, a group without any layer that the importance looks at, or one that the package
    fails on (those beside a padded shortcut).

    Raises:
        UsageError: the package is not installed, or cannot follow this network or any of its groups.
    """
    if importlib.util.find_spec("torch_pruning") is None:
        raise UsageError("torch_pruning is not installed: pip install torch-pruning")
    package: Any = importlib.import_module("torch_pruning")
    importance = getattr(package.importance, IMPORTANCES[kind])()
    model = nn.Module.requires_grad_(evaluating_copy(module, "cpu"), True)  # it follows autograd's graph
    example = torch.zeros(graph.captured.example_batch, *graph.captured.input_shape)
    scores: Scores = {layer.key: None for layer in graph.layers}
    failures: list[Exception] = []
    with warnings.catch_warnings(), torch.enable_grad():
        warnings.simplefilter("ignore")
        try:
            dependencies = package.DependencyGraph().build_dependency(model, example, verbose=False)
        except Exception as failure:  # of another package, on a network that it was not made for
            raise _unfollowed(module, failure) from failure
        for layer, owner in _own_modules(model, graph):
            try:
                scores[layer.key] = _group_scores(dependencies, importance, owner, layer.filters)
            except Exception as failure:  # the other groups may be sound
                failures.append(failure)
    if failures and all(values is None for values in scores.values()):
        raise _unfollowed(module, failures[0]) from failures[0]
    return scores


def _unfollowed(module: nn.Module, failure: Exception) -> UsageError:
    reason = f"{type(failure).__name__}: {one_line(failure)}"
    return UsageError(f"torch_pruning cannot follow {type(module).__name__}: {reason}; use another importance")


def _own_modules(model: nn.Module, graph: FeatureGraph) -> Iterator[tuple[FeatureLayer, nn.Module]]:
    """Yield the layers whose weight has a convolution's module of its own, called once, and that module."""
    calls = Counter(layer.weight for layer in graph.layers)
    modules = dict(nn.Module.named_modules(model))
    for layer in graph.layers:
        path, _, name = (layer.weight or "").rpartition(".")
        owner = modules.get(path)
        if isinstance(owner, nn.modules.conv._ConvNd) and name == "weight" and calls[layer.weight] == 1:
            yield layer, owner


def _group_scores(dependencies: Any, importance: Any, owner: nn.Module, filters: int) -> Floats | None:
    pruner = dependencies.get_pruner_of_module(owner).prune_out_channels
    scores = importance(dependencies.get_pruning_group(owner, pruner, list(range(filters))))
    return scores.double().numpy() if scores is not None and scores.shape == (filters,) else None
