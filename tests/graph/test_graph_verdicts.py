"""Every filter's verdict, against whole-array activations of hand-written eager code."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from graph_joined_nets import JOINED, CalledTwice, FixedBatch, Folded
from graph_nets import SHAPE, STEPS, AllRows, Measured, images, plant
from torch import Tensor, nn

from sparsity_audit.graph.feature_graph import FeatureGraph, FeatureLayer, build_graph
from sparsity_audit.graph.instrument import observe
from sparsity_audit.stats.feature_stats import FeatureStats

COUNT = 29
BATCHES = (29, 8, 1)
"""The whole array, a last partial batch, one by one."""


@functools.cache
def rows() -> tuple[FeatureGraph, dict[str, Measured]]:
    torch.manual_seed(1)
    net = AllRows()
    plant(net)
    with torch.no_grad():
        return build_graph(net, SHAPE), net.measured(images(COUNT))


@functools.cache
def rows_statistics(batch: int) -> FeatureStats:
    return statistics(rows()[0], images(COUNT), batch)


def layers_of(name: str) -> list[FeatureLayer]:
    return [layer for layer in rows()[0].layers if layer.key.startswith(f"rows.{name}.")]


def statistics(graph: FeatureGraph, inputs: Tensor, batch: int) -> FeatureStats:
    fires = np.concatenate([np.full(layer.filters, layer.fires) for layer in graph.layers])
    stats = FeatureStats(fires)
    observed = observe(graph)
    with torch.no_grad():
        for part in inputs.split(batch):
            high, low = observed(part)[1].numpy()
            stats.update(high, low)
    return stats


def oracle(measured: Measured) -> dict[str, np.ndarray]:
    """Return every quantity of design and paper (Sec. 2.1, 2.3), from all activations at once."""
    values = measured.activation.double().numpy()
    values = values.reshape(*values.shape[:2], -1)
    peak, spread = np.abs(values).max((0, 2)), values.max((0, 2)) - values.min((0, 2))
    inactive = peak <= 1e-12
    found = {
        "inactive": inactive,
        "constant": (spread <= 1e-6) & ~inactive,
        "maximum": values.max((0, 2)),
        "minimum": values.min((0, 2)),
    }
    if measured.fires:
        pooled = values.max(2).clip(min=0)
        top = pooled.max(0)
        with np.errstate(invalid="ignore"):
            found["universality"] = np.where(top > 1e-12, (pooled / top > 1e-3).mean(0), 0.0)
        found["firing"] = (pooled > 1e-12).mean(0)
    else:
        found["universality"] = found["firing"] = np.full(values.shape[1], np.nan)
    return found


def assert_verdicts(net: nn.Module, inputs: Tensor, graph: FeatureGraph, batch: int) -> None:
    with torch.no_grad():
        expected = net.measured(inputs)  # type: ignore[operator]
    assert {layer.key: layer.filters for layer in graph.layers} == {
        key: measured.activation.shape[1] for key, measured in expected.items()
    }
    assert_layers(statistics(graph, inputs, batch), list(graph.layers), expected)


def assert_layers(stats: FeatureStats, layers: list[FeatureLayer], expected: dict[str, Measured]) -> None:
    universality = stats.universality()
    assert universality is not None
    found = {
        "inactive": stats.inactive(),
        "constant": stats.constant(1e-6),
        "universality": universality,
        "firing": stats.firing_rate(),
    }
    for layer in layers:
        measured = expected[layer.key]
        assert layer.fires == measured.fires, layer.key
        assert stats.images == len(measured.activation)
        wanted = oracle(measured)
        # Values by batch differ in the last bit; verdicts must not.
        np.testing.assert_allclose(stats.maximum[layer.span], wanted.pop("maximum"), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(stats.minimum[layer.span], wanted.pop("minimum"), rtol=1e-4, atol=1e-6)
        for name, values in wanted.items():
            np.testing.assert_array_equal(found[name][layer.span], values, err_msg=f"{layer.key}: {name}")


@pytest.mark.parametrize("name", STEPS)
def test_convolution_and_what_follows(name: str) -> None:
    expected = {key: measured for key, measured in rows()[1].items() if key.startswith(f"rows.{name}.")}
    assert {layer.key for layer in layers_of(name)} == set(expected)
    for batch in BATCHES:
        assert_layers(rows_statistics(batch), layers_of(name), expected)


@pytest.mark.parametrize("name", JOINED)
def test_filters_that_meet(name: str) -> None:
    torch.manual_seed(2)
    net = plant(JOINED[name]())
    graph = build_graph(net, SHAPE)
    assert graph.opaque == {}
    for batch in BATCHES:
        assert_verdicts(net, images(COUNT), graph, batch)


def test_planted_filters_are_what_they_were_planted_as() -> None:
    stats, [layer] = rows_statistics(8), layers_of("functional-relu")
    universality = stats.universality()
    assert universality is not None
    universality = universality[layer.span]
    assert np.flatnonzero(stats.inactive()[layer.span]).tolist() == [0, 2, 3]
    assert np.flatnonzero(stats.constant(1e-6)[layer.span]).tolist() == [1]
    assert universality[[0, 1, 3, 4, 6]].tolist() == [0, 1, 0, 1, 1]
    assert 0 < universality[5] < 1


def test_fixed_batch_is_filled_up_and_the_filling_not_counted() -> None:
    torch.manual_seed(3)
    net = plant(FixedBatch())
    graph = build_graph(net, SHAPE, static_batch=6)
    assert graph.captured.batch == 6
    for count in (6, 20, 5):
        assert_verdicts(net, images(count), graph, 6)


def test_static_fallback_where_the_batch_size_becomes_a_number() -> None:
    class Counts(FixedBatch):
        def forward(self, x: Tensor) -> Tensor:
            if int(x.shape[0]) > 5:
                return super().forward(x)
            return self.bn(self.conv(x)).clamp(min=0)

    torch.manual_seed(3)
    net = plant(Counts())
    graph = build_graph(net, SHAPE, static_batch=4)
    assert graph.captured.batch == 4
    assert_verdicts(net, images(10), graph, 4)


def test_block_outputs_are_no_filters() -> None:
    graph = build_graph(plant(JOINED["residual"]()), SHAPE)
    places = {layer.key: (layer.norm, layer.nonlinearity) for layer in graph.layers}
    assert places == {
        "conv1": ("bn1", "relu"),
        "conv2": ("bn2", "relu"),
        "conv3": ("bn3", None),
        "conv4": ("bn4", None),
    }


def test_norm_on_a_sum_stands_apart() -> None:
    graph = build_graph(plant(JOINED["pre-activation"]()), SHAPE)
    assert [(layer.key, layer.norm, layer.gamma) for layer in graph.layers] == [
        ("stem", None, None),
        ("conv1", "bn2", "bn2.weight"),
        ("conv2", None, None),
    ]
    assert [(norm.key, norm.position, norm.features) for norm in graph.norms] == [
        ("bn1", "convolution with several consumers", 8)
    ]


def test_second_call_has_a_key_of_its_own() -> None:
    graph = build_graph(plant(CalledTwice()), SHAPE)
    assert [(layer.key, layer.gamma, layer.first) for layer in graph.layers] == [
        ("stem", "bn.weight", 0),
        ("body", "body_bn.weight", 8),
        ("body@2", "body_bn.weight", 16),
    ]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("functional-relu", ("relu", "batch_norm", "1.weight", "1.bias")),
        ("clamp", ("relu", "batch_norm", "1.weight", "1.bias")),
        ("relu6", ("relu6", "batch_norm", "1.weight", "1.bias")),
        ("leaky", ("leaky_relu", "batch_norm", "1.weight", "1.bias")),
        ("prelu", ("prelu", "batch_norm", "1.weight", "1.bias")),
        ("group-norm", ("relu", "group_norm", "1.weight", "1.bias")),
        ("instance-norm", ("relu", "instance_norm", "1.weight", "1.bias")),
        ("act-then-norm", (None, "batch_norm", "2.weight", "2.bias")),
        ("act-norm-act", ("relu", "batch_norm", "2.weight", "2.bias")),
        ("no-affine", ("relu", "batch_norm", None, None)),
    ],
)
def test_names_of_norm_and_nonlinearity(name: str, expected: tuple[str | None, ...]) -> None:
    layer = layers_of(name)[0]
    paths = [path and path.removeprefix(f"rows.{name}.") for path in (layer.gamma, layer.beta)]
    assert (layer.nonlinearity, layer.norm_kind, *paths) == expected


def test_folded_rows_count_for_one_image() -> None:
    graph = build_graph(plant(Folded()), SHAPE)
    assert [layer.positions for layer in graph.layers] == [64, 128]
