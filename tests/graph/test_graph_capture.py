"""Capturing: what a model may be, what it may not, and that nothing of it or of torch changes."""

from __future__ import annotations

import logging
import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparsity_audit import Corpus, audit
from sparsity_audit.errors import GraphError
from sparsity_audit.graph.feature_graph import build_graph
from sparsity_audit.graph.instrument import observe

SHAPE = (3, 8, 8)


class Small(nn.Module):
    """conv → norm → ReLU → dropout → linear."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.bn = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)
        self.linear = nn.Linear(4, 5)

    def features(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))

    def forward(self, x: Tensor) -> object:
        return self.linear(self.drop(self.features(x).mean((2, 3))))


class ReturnsTuple(Small):
    def forward(self, x: Tensor) -> object:
        return super().forward(x), x.mean()


class ReturnsDict(Small):
    def forward(self, x: Tensor) -> object:
        return {"out": [super().forward(x)], "aux": None}


class ShadowsModules(Small):
    def __init__(self) -> None:
        super().__init__()
        self.modules = []  # type: ignore[assignment]


class NoGrad(Small):
    def forward(self, x: Tensor) -> object:
        with torch.no_grad():
            return super().forward(x)


class Normed(Small):
    def __init__(self) -> None:
        super().__init__()
        nn.utils.parametrizations.weight_norm(self.conv)


def logits(output: object) -> Tensor:
    while not isinstance(output, Tensor):
        output = next(iter(output.values() if isinstance(output, dict) else output))  # type: ignore[call-overload]
    return output


@pytest.mark.parametrize("kind", [Small, ReturnsTuple, ReturnsDict, ShadowsModules, NoGrad, Normed])
def test_models_of_every_manner(kind: type[Small]) -> None:
    torch.manual_seed(0)
    net = kind()
    for parameter in net.parameters():
        parameter.requires_grad_(False)
    x = torch.randn(5, *SHAPE)
    with torch.no_grad():
        graph = build_graph(net, SHAPE)
        found, extrema = observe(graph)(x)
        nn.Module.eval(net)
        plane = net.features(x).flatten(2)
        expected = logits(net(x))
    assert [layer.key for layer in graph.layers] == ["conv"]
    assert found is not None
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(extrema, torch.stack([plane.amax(2), plane.amin(2)]))


def test_weight_computed_while_running_is_nobodys_parameter() -> None:
    layer = build_graph(Normed(), SHAPE).layers[0]
    assert (layer.weight, layer.weight_shape, layer.gamma) == (None, (4, 3, 3, 3), "bn.weight")


def test_model_comes_back_as_it_was() -> None:
    net = Small()
    net.bn.eval()  # frozen, in a model that trains
    net.conv.weight.requires_grad_(False)
    modes = {name: part.training for name, part in net.named_modules()}
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    flags = [parameter.requires_grad for parameter in net.parameters()]
    graph = build_graph(net, SHAPE)
    observe(graph)(torch.randn(3, *SHAPE))
    assert {name: part.training for name, part in net.named_modules()} == modes
    assert [parameter.requires_grad for parameter in net.parameters()] == flags
    assert all(parameter.grad is None for parameter in net.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert set(vars(net)) == set(vars(Small()))


def test_failed_capture_leaves_the_model_training() -> None:
    net = Small()
    with pytest.raises(GraphError):
        build_graph(net, (1, 8, 8))
    assert all(part.training for part in net.modules())


def test_torch_and_generators_are_left_alone() -> None:
    def state() -> list[object]:
        return [
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
            torch.get_num_threads(),
            torch.get_default_dtype(),
            torch.are_deterministic_algorithms_enabled(),
            torch.backends.cudnn.benchmark,
            torch.get_rng_state().tolist(),
            random.getstate(),
            np.random.get_state()[1].tolist(),  # type: ignore[index, union-attr]
        ]

    net = Small()
    before = state()
    observe(build_graph(net, SHAPE))(torch.zeros(2, *SHAPE))
    assert state() == before


def test_observing_twice_leaves_the_graph_as_it_was() -> None:
    graph = build_graph(Small(), SHAPE)
    nodes = [node.name for node in graph.captured.program.graph.nodes]
    x = torch.randn(3, *SHAPE)
    first, second = observe(graph)(x)[1], observe(graph)(x)[1]
    assert torch.equal(first, second)
    assert [node.name for node in graph.captured.program.graph.nodes] == nodes


def test_no_convolution_is_no_layer() -> None:
    graph = build_graph(nn.Sequential(nn.Flatten(), nn.Linear(192, 4)), SHAPE)
    found, extrema = observe(graph)(torch.zeros(3, *SHAPE))
    assert (graph.layers, graph.filters) == ((), 0)
    assert found is not None
    assert (tuple(found.shape), tuple(extrema.shape)) == ((3, 4), (2, 3, 0))


def test_control_flow_on_values_is_refused_in_one_line() -> None:
    class Depends(Small):
        def forward(self, x: Tensor) -> object:
            return super().forward(x) if x.mean() > 0 else super().forward(-x)

    with pytest.raises(GraphError, match=r"Depends cannot be captured by torch\.export: .*control flow") as failure:
        build_graph(Depends(), SHAPE)
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 2, 2)])
def test_wrong_images_are_named_by_their_shape(shape: tuple[int, int, int]) -> None:
    with pytest.raises(
        GraphError, match=f"Small does not run on images of {shape[0]}×{shape[1]}×{shape[2]}"
    ) as failure:
        build_graph(Small(), shape)
    assert "\n" not in str(failure.value)


def test_failed_capture_logs_nothing() -> None:
    """torch logs a traceback, although the failure is told in one line."""

    class Uneven(Small):
        def forward(self, x: Tensor) -> object:
            return torch.cat((x[:, :, ::2], x[:, :, 1:-1:2]), 1)

    logged: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = logged.append  # type: ignore[method-assign]
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    logger.addHandler(handler)
    try:
        with pytest.raises(GraphError, match="Uneven does not run on images"):
            build_graph(Uneven(), SHAPE)
    finally:
        logger.removeHandler(handler)
    assert logged == []
    assert logging.root.manager.disable == logging.NOTSET


def test_attribute_set_while_running_holds_no_traced_tensor() -> None:
    class Remembers(Small):
        def __init__(self) -> None:
            super().__init__()
            self.last: Tensor | None = None

        def forward(self, x: Tensor) -> object:
            self.last = self.features(x)
            return self.last.mean((1, 2, 3))

    net = Remembers()
    assert [layer.key for layer in build_graph(net, SHAPE).layers] == ["conv"]
    assert net.last is None


def test_buffer_that_counts_calls_is_not_moved() -> None:
    class Counter(Small):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x: Tensor) -> object:
            self.calls += 1
            return super().forward(x)

    net = Counter()
    observed = observe(build_graph(net, SHAPE))
    observed(torch.zeros(2, *SHAPE))
    assert net.calls.item() == 0


class BatchStatistics(Small):
    def __init__(self) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(4, track_running_stats=False)


class Centred(Small):
    def forward(self, x: Tensor) -> object:
        return super().forward(x - x.mean(0, keepdim=True))


class Noisy(Small):
    def forward(self, x: Tensor) -> object:
        return super().forward(x + torch.rand_like(x))


@pytest.mark.parametrize(
    ("kind", "mixes"),
    [(BatchStatistics, True), (Centred, True), (Noisy, True), (Small, False), (ReturnsDict, False), (Normed, False)],
)
def test_answer_that_depends_on_the_rest_of_the_batch_is_told(kind: type[Small], mixes: bool) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    net = kind()
    drawn = torch.get_rng_state()
    assert build_graph(net, SHAPE).captured.mixes_images == mixes
    assert torch.equal(torch.get_rng_state(), drawn)
    assert not torch.equal(before, drawn)


@pytest.mark.parametrize("kind", [Small, BatchStatistics, ShadowsModules])
def test_audit_of_models_of_every_manner(kind: type[Small]) -> None:
    """One filter of four is planted dead; the report says where verdicts hold for these batches only."""
    torch.manual_seed(0)
    net = kind()
    for parameter in net.parameters():
        parameter.requires_grad_(False)
    net.bn.weight[1], net.bn.bias[1] = 0.0, -1.0
    pixels = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), np.uint8)
    model = audit(net, Corpus.from_arrays(pixels, np.arange(12) % 5), batch_size=5).models[0]
    assert [(layer.key, layer.scale, layer.activation) for layer in model.layers] == [("conv", [1], [1])]
    assert any("rest of its batch" in note for note in model.notes) == (kind is BatchStatistics)
    assert not any(parameter.requires_grad for parameter in net.parameters())
    assert all(part.training for part in nn.Module.modules(net))
