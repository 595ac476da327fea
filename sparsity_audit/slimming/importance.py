"""How important filters are, by the measures that the paper compares with (Sec. 4.2, Tables 7–10).

Each function gives a score for every filter of every feature layer, higher = keep. A layer of which a measure says
nothing has None in place of its scores.
"""

from __future__ import annotations

import copy
import math
import operator
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from sparsity_audit.errors import DataError, UsageError
from sparsity_audit.graph.capture import one_line
from sparsity_audit.graph.feature_graph import FeatureGraph, FeatureLayer
from sparsity_audit.graph.instrument import Observed, observe
from sparsity_audit.graph.label_run import example_shape
from sparsity_audit.graph.observers import RECTIFIERS
from sparsity_audit.graph.parameters import tensors_in
from sparsity_audit.stats.gradients import BATCHES, drawn_batches

if TYPE_CHECKING:
    from sparsity_audit.data.corpus import Corpus
    from sparsity_audit.stats.collect import Normaliser, Progress

Floats = NDArray[np.float64]
Scores = dict[str, Floats | None]
"""[filters] by layer key, in order of the calls."""


def l1_norm(graph: FeatureGraph, *, relative: bool = False) -> Scores:
    """Return Σ|w| of each filter's kernels (Li et al., Pruning Filters for Efficient ConvNets, 2017; the paper's [18]).

    Li et al. compare filters within a layer, and choose each layer's share by hand. Over layers the sum grows with
    the kernels' size.

    Args:
        relative: divide by the layer's mean, so that filters of different layers can be compared.
    """
    scores: Scores = {}
    for layer in graph.layers:
        weight = _values(graph, layer.weight)
        sums = None if weight is None else _filter_sums(np.abs(weight), layer)
        scores[layer.key] = _over_mean(sums) if relative and sums is not None else sums
    return scores


def gamma(graph: FeatureGraph) -> Scores:
    """Return |γ|, for one threshold over all layers (Liu et al., Network Slimming, 2017; the paper's [19])."""
    values = {layer.key: _values(graph, layer.gamma) for layer in graph.layers}
    return {key: None if value is None else np.abs(value) for key, value in values.items()}


def random(graph: FeatureGraph, seed: int) -> Scores:
    """Return a number from 0 to 1 for each filter: the comparison that every measure has to win."""
    # RandomState: the only generator of numpy whose stream is frozen across versions (NEP 19).
    drawn = np.random.RandomState(seed % 2**32).random_sample(graph.filters)
    return {layer.key: drawn[layer.span] for layer in graph.layers}


@torch.inference_mode()
def apoz(
    graph: FeatureGraph, corpus: Corpus, normalise: Normaliser, *, batch_size: int, progress: Progress | None = None
) -> Scores:
    """Return 1 − the average percentage of zeros (APoZ, as a share) of each filter after its ReLU.

    The average runs over all images of the corpus and all positions of the plane (Hu et al., Network Trimming, 2016;
    the paper's [11]). It is a pass of its own over the corpus, one batch in memory at a time. None where it is not a
    ReLU or ReLU6 that comes last before the filters meet others: elsewhere zeros tell nothing. NaN counts as active.

    Raises:
        DataError: images that are decoded on the way, and bad.
    """
    layers = [layer for layer in graph.layers if layer.nonlinearity in RECTIFIERS]
    scores: Scores = dict.fromkeys((layer.key for layer in graph.layers), None)
    if not layers:
        return scores
    counting = _counting(graph, layers, normalise.device)
    active = np.zeros(sum(layer.filters for layer in layers), np.int64)
    done = 0
    for pixels, labels in corpus.batches(counting.batch or batch_size):
        active += counting(normalise(pixels))[1][0].sum(0).cpu().numpy()
        done += len(labels)
        if progress is not None:
            progress(done, len(corpus))
    ends = np.cumsum([layer.filters for layer in layers])
    for layer, counts in zip(layers, np.split(active, ends[:-1]), strict=True):
        rows, positions = _rows_and_positions(graph, layer)
        scores[layer.key] = counts / (done * rows * positions)
    return scores


def taylor(
    module: nn.Module,
    graph: FeatureGraph,
    corpus: Corpus,
    normalise: Normaliser,
    *,
    batch_size: int,
    batches: int = BATCHES,
    seed: int = 0,
    keep_shift: bool = False,
    progress: Progress | None = None,
) -> Scores:
    """Return how much the loss changes without a filter, to first order and squared: (γ·∂L/∂γ + β·∂L/∂β)².

    The mean over batches, L the mean cross-entropy in eval mode (Molchanov et al., Importance Estimation for Neural
    Network Pruning, 2019, Taylor-FO-BN). It is a copy of the module that runs, on the normaliser's device. 0 for a
    filter that the loss does not depend on; None for a layer without γ.

    Args:
        module: the eager network that the graph was captured from.
        keep_shift: the filter is held at β and not at 0: (γ·∂L/∂γ)² alone.
        progress: called with batches done and batches in all.

    Raises:
        DataError: labels that the network does not know; images that are decoded on the way, and bad.
        UsageError: a network that cannot be copied or run eagerly, whose answer is not [batch, classes], or whose loss
            or gradients are not finite.
    """
    model = evaluating_copy(module, normalise.device)
    layers = [layer for layer in graph.layers if layer.gamma is not None]
    watched = _only_these_take_gradients(model, layers)
    scores: Scores = {layer.key: None for layer in graph.layers}
    for done, (pixels, labels) in enumerate(drawn_batches(corpus, batch_size, batches, seed) if watched else (), 1):
        found = _first_order(model, watched, normalise(pixels), torch.from_numpy(labels).to(normalise.device))
        for layer in layers:
            if layer.gamma in found:
                shift = 0.0 if keep_shift else found.get(str(layer.beta), 0.0)
                scores[layer.key] = _sum(scores[layer.key], (found[layer.gamma] + shift) ** 2 / batches)
        if progress is not None:
            progress(done, batches)
    return scores


def lowest(
    scores: Mapping[str, Floats | None], count: int, protect: Mapping[str, Collection[int]], *, min_width: int = 1
) -> dict[str, list[int]]:
    """Return the ``count`` filters of the lowest score over all layers, by layer key, indices in order.

    They are fewer where no more may go: each layer keeps ``min_width`` filters at least, those protected, and those
    without a score (NaN). Of equal scores the first goes first.

    Args:
        protect: filters that stay, by layer key.

    Raises:
        ValueError: ``min_width`` is below 1: no layer may be empty.
    """
    if min_width < 1:
        raise ValueError(f"a layer needs at least 1 filter, not {min_width}")
    entries = [(key, i, value) for key, own in scores.items() if own is not None for i, value in enumerate(own)]
    left = {key: len(own) for key, own in scores.items() if own is not None}
    stay = {key: set(indices) for key, indices in protect.items()}
    chosen: dict[str, list[int]] = {}
    for key, i, _ in sorted((entry for entry in entries if not math.isnan(entry[2])), key=operator.itemgetter(2)):
        if count <= 0:
            break
        if left[key] > min_width and i not in stay.get(key, ()):
            chosen.setdefault(key, []).append(i)
            left[key] -= 1
            count -= 1
    return {key: sorted(chosen[key]) for key in scores if key in chosen}


def evaluating_copy(module: nn.Module, device: str) -> nn.Module:
    """Return a copy of a network in eval mode, on a device.

    Raises:
        UsageError: it cannot be copied.
    """
    try:
        # Methods of nn.Module through the class: users' classes have been seen to shadow them.
        return nn.Module.eval(nn.Module.to(copy.deepcopy(module), device))
    except Exception as failure:  # copying runs the model's own code
        raise UsageError(f"{type(module).__name__} cannot be copied: {one_line(failure)}") from failure


def _values(graph: FeatureGraph, path: str | None) -> Floats | None:
    """Return a parameter of the captured program; None where there is none."""
    if path is None:
        return None
    tensor: Tensor = operator.attrgetter(path)(graph.captured.program)
    values: Floats = tensor.detach().double().cpu().numpy()
    return values


def _filter_sums(weight: Floats, layer: FeatureLayer) -> Floats:
    """Return the sum over each filter's kernels, [filters]; a transposed weight is [inputs, filters / groups, …]."""
    per_group = layer.filters // layer.groups
    kernels = weight.reshape(layer.groups, -1, per_group, math.prod(weight.shape[2:]))
    sums: Floats = kernels.sum((1, 3)) if layer.transposed else weight.reshape(layer.filters, -1).sum(1)
    return sums.reshape(-1)


def _over_mean(sums: Floats) -> Floats:
    mean = sums.mean()
    return sums / mean if mean > 0 else sums


def _counting(graph: FeatureGraph, layers: list[FeatureLayer], device: str) -> Observed:
    """Return the observed program of these layers with a count in place of each observer's extrema."""
    observed = observe(graph, device, layers)
    observers: Any = observed.module.graph.output_node().args[0]
    for layer, observer in zip(layers, observers[1], strict=True):
        observer.target = _active_positions
        observer.args = (*observer.args, _rows_and_positions(graph, layer)[0])
    observed.module.recompile()
    return observed


def _active_positions(activation: Tensor, rows: int) -> Tensor:
    """Return [1, images, channels]: how many positions of [images · rows, channels, …plane] are not 0."""
    counts = torch.count_nonzero(activation.reshape(*activation.shape[:2], -1), dim=2)
    return counts.view(1, -1, rows, counts.shape[1]).sum(2)


def _rows_and_positions(graph: FeatureGraph, layer: FeatureLayer) -> tuple[int, int]:
    """Return in how many rows of the batch an image stands, and how many positions a row's plane has."""
    rows, _, *plane = example_shape(layer.measured.meta["val"])
    return rows // graph.captured.example_batch, math.prod(plane)


def _sum(total: Floats | None, part: Floats) -> Floats:
    return part if total is None else total + part


def _only_these_take_gradients(model: nn.Module, layers: Sequence[FeatureLayer]) -> dict[str, nn.Parameter]:
    """Return γ and β of these layers by path; those that are buffers are left out."""
    wanted = {path for layer in layers for path in (layer.gamma, layer.beta)}
    nn.Module.requires_grad_(model, False)
    named = nn.Module.named_parameters(model, remove_duplicate=False)
    watched = {path: parameter for path, parameter in named if path in wanted}
    for parameter in watched.values():
        parameter.requires_grad_(True)
    return watched


def _first_order(
    model: nn.Module, watched: Mapping[str, nn.Parameter], images: Tensor, labels: Tensor
) -> dict[str, Floats]:
    """Return parameter · ∂L/∂parameter, by path; 0 where the loss does not depend on it."""
    with torch.enable_grad():
        try:
            answer = next(iter(tensors_in(model(images))), None)
        except Exception as failure:  # the model's own code raises whatever it likes
            raise UsageError(f"taylor importance: {type(model).__name__} fails: {one_line(failure)}") from failure
        if answer is None or answer.dim() != 2 or len(answer) != len(labels):
            raise UsageError("taylor importance: the network's answer is not [batch, classes]; use another importance")
        if int(labels.max()) >= answer.shape[1]:
            raise DataError(
                f"taylor importance: the corpus has labels up to {int(labels.max())}, the network {answer.shape[1]} "
                "classes; use the corpus that it was trained on"
            )
        parameters = list(watched.values())
        gradients = torch.autograd.grad(F.cross_entropy(answer, labels), parameters, allow_unused=True)
    if not all(bool(gradient.isfinite().all()) for gradient in gradients if gradient is not None):
        raise UsageError("taylor importance: the loss or its gradient is NaN or infinite; use another importance")
    return {
        path: (parameter.detach().double() * (0.0 if gradient is None else gradient.double())).cpu().numpy()
        for (path, parameter), gradient in zip(watched.items(), gradients, strict=True)
    }
