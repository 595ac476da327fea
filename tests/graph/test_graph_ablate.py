"""Taking filters out of the program does what zeroing them in the eager network does."""

from __future__ import annotations

import copy

import pytest
import torch
from graph_joined_nets import OptionA
from graph_nets import SHAPE, images, plant
from test_graph_fused import Images
from torch import Tensor, nn

from sparsity_audit.graph.ablate import silence, without_scale
from sparsity_audit.graph.feature_graph import FeatureGraph, build_graph
from sparsity_audit.stats.ablation import ablate
from sparsity_audit.stats.passes import CorpusPass

COUNT = 24
LAYOUTS = [torch.contiguous_format, torch.channels_last]


def network() -> tuple[nn.Module, FeatureGraph]:
    torch.manual_seed(5)
    net = plant(OptionA())
    net.linear.bias.data -= answers(net).mean(0)  # else every image gets the same answer
    return net, build_graph(net, SHAPE)


def chosen(graph: FeatureGraph, indices: list[int]) -> dict[str, list[int]]:
    return {layer.key: indices for layer in graph.layers}


def with_affine(net: nn.Module, indices: list[int], *, beta: bool) -> nn.Module:
    """Return the network with γ of these filters at 0 in every norm; with ``beta`` that is at 0 too.

    With both at 0 a norm puts out 0, before a ReLU as after it: just what silencing the measured tensor does.
    """
    edited = copy.deepcopy(net)
    for part in edited.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.weight.data[indices] = 0
            if beta:
                part.bias.data[indices] = 0
    return edited


def answers(net: nn.Module) -> Tensor:
    with torch.no_grad():
        return net(images(COUNT))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("indices", [[0, 2, 3], [1], [5, 6, 7]])
def test_silenced_filters_are_zero(indices: list[int], layout: torch.memory_format) -> None:
    net, graph = network()
    with torch.inference_mode():
        found = silence(graph, chosen(graph, indices), layout)(images(COUNT))[0]
    assert found is not None
    torch.testing.assert_close(found, answers(with_affine(net, indices, beta=True)), rtol=1e-4, atol=1e-4)
    if indices != [0, 2, 3]:  # what was planted as dead makes next to no difference
        assert not torch.allclose(found, answers(net), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_scale_alone_leaves_the_constant(layout: torch.memory_format) -> None:
    net, graph = network()
    with torch.inference_mode():
        found = without_scale(graph, chosen(graph, [4, 6]), layout)(images(COUNT))[0]
    assert found is not None
    torch.testing.assert_close(found, answers(with_affine(net, [4, 6], beta=False)), rtol=1e-4, atol=1e-4)


def test_counts_of_changed_answers() -> None:
    net, graph = network()
    run = CorpusPass(graph, torch.from_numpy, 7, "cpu", pooled_budget=0)  # type: ignore[arg-type]
    corpus = Images(images(COUNT))
    corpus.labels = answers(net).argmax(1).numpy()
    dead, by_scale = chosen(graph, [4, 5, 6, 7]), chosen(graph, [6, 7])
    measured = run.measure(corpus, corpus, lambda _: None)  # type: ignore[arg-type]
    tried = ablate(run, measured, corpus, dead, by_scale, lambda _: None)  # type: ignore[arg-type]
    silenced = (answers(with_affine(net, [4, 5, 6, 7], beta=True)).argmax(1).numpy() != corpus.labels).sum()
    zeroed = (answers(with_affine(net, [6, 7], beta=False)).argmax(1).numpy() != corpus.labels).sum()
    assert silenced > 0
    assert measured.error is not None
    assert measured.error.wrong1 == 0
    assert (tried.changed_silenced, tried.changed_scale_zeroed) == (silenced, zeroed)
    assert (tried.error_silenced, tried.error_scale_zeroed) == (silenced / COUNT, zeroed / COUNT)


def test_nothing_taken_out_changes_nothing() -> None:
    net, graph = network()
    with torch.inference_mode():
        found = silence(graph, {}, torch.contiguous_format)(images(COUNT))[0]
    assert found is not None
    torch.testing.assert_close(found, answers(net), rtol=1e-4, atol=1e-4)
