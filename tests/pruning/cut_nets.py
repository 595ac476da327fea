"""Small networks of what can stand between a filter and its reader; images [N, 3, 8, 8] → [N, 4]."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.fx import Interpreter, Node
from torch.fx.node import map_aggregate

from sparsity_audit.graph.feature_graph import FeatureGraph, build_graph
from sparsity_audit.graph.parameters import tensors_in
from sparsity_audit.pruning.holds import Holds, held_node
from sparsity_audit.pruning.structure import CutOptions
from sparsity_audit.slimming.slim import Slim, slim_module

SHAPE = (3, 8, 8)

Make = Callable[[], nn.Module]


class Wired(nn.Module):
    """Parts, and what is done with them and an image."""

    def __init__(self, wiring: Callable[..., object], **parts: object) -> None:
        super().__init__()
        self.wiring = wiring
        for name, part in parts.items():
            if isinstance(part, Tensor) and not isinstance(part, nn.Parameter):
                self.register_buffer(name, part)
            else:
                setattr(self, name, part)

    def forward(self, x: Tensor) -> object:
        return self.wiring(self, x)


class Side(nn.Module):
    """Networks side by side on the same images: one capture for all of them."""

    def __init__(self, makes: Mapping[str, Make]) -> None:
        super().__init__()
        self.rows = nn.ModuleDict({name: make() for name, make in makes.items()})

    def forward(self, x: Tensor) -> list[object]:
        return [row(x) for row in self.rows.values()]


class Activated(nn.BatchNorm2d):
    """A norm that applies its nonlinearity itself, as timm's do."""

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(super().forward(x), 0.2) * 1.5


class Biasless(nn.Conv2d):
    """A convolution that would not read a bias."""

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, None, self.stride, self.padding)


def conv(channels: int = 3, filters: int = 8, kernel: int = 3, **options: object) -> nn.Conv2d:
    options = {"padding": kernel // 2, "bias": False, **options}
    return nn.Conv2d(channels, filters, kernel, **options)  # type: ignore[arg-type]


def norm(features: int = 8) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(features)


def pooled(x: Tensor) -> Tensor:
    return x.flatten(2).mean(2)


def first(m: nn.Module, x: Tensor) -> Tensor:
    return F.relu(m.b(m.c(x)))


def read_by(reading: Callable[[nn.Module, Tensor], Tensor], features: int = 6, **parts: object) -> nn.Module:
    """Return a network whose first filters, relu(b(c(image))), are read by a function; the mean of that is told."""
    return Wired(
        lambda m, x: m.h(pooled(reading(m, first(m, x)))), c=conv(), b=norm(), **parts, h=nn.Linear(features, 4)
    )


def between(make: Make, channels: int = 8, **reader: object) -> nn.Module:
    """Return c → b → something → r → mean → h."""
    return Wired(
        lambda m, x: m.h(pooled(F.relu(m.r(m.s(m.b(m.c(x))))))),
        c=conv(),
        b=norm(),
        s=make(),
        r=conv(channels, 6, **reader),
        h=nn.Linear(6, 4),
    )


def row(*makes: Make) -> Make:
    return lambda: nn.Sequential(*[make() for make in makes])


BETWEEN: dict[str, Make] = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "leaky": nn.LeakyReLU,
    "prelu": lambda: nn.PReLU(8),
    "prelu_of_one": nn.PReLU,
    "silu": nn.SiLU,
    "hardswish": nn.Hardswish,
    "gelu": nn.GELU,
    "nothing": nn.Identity,
    "in_place": lambda: nn.ReLU(inplace=True),
    "dropout": row(nn.Dropout2d, nn.ReLU, nn.Dropout),
    "relu_norm": row(nn.ReLU, norm),
    "two_norms": row(norm, nn.ReLU, norm),
    "no_affine": row(lambda: nn.BatchNorm2d(8, affine=False), nn.ReLU),
    "max_pool": row(nn.ReLU, lambda: nn.MaxPool2d(3, 2, 1)),
    "max_pool_ceil": lambda: nn.MaxPool2d(3, 2, ceil_mode=True),
    "avg_pool_not_counting": lambda: nn.AvgPool2d(3, 2, 1, count_include_pad=False),
    "adaptive": lambda: nn.AdaptiveAvgPool2d(3),
    "upsample": lambda: nn.Upsample(scale_factor=2),
    "bilinear": lambda: nn.Upsample(scale_factor=2, mode="bilinear"),
    "reflect_pad": lambda: nn.ReflectionPad2d(1),
    "circular_pad": lambda: nn.CircularPad2d(1),
}
"""What a constant comes through."""

BREAKING: dict[str, Make] = {
    "avg_pool": lambda: nn.AvgPool2d(3, 2, 1),
    "avg_pool_ceil": lambda: nn.AvgPool2d(3, 2, ceil_mode=True),
    "avg_pool_divisor": lambda: nn.AvgPool2d(2, divisor_override=3),
    "zero_pad": lambda: nn.ZeroPad2d(1),
    "constant_pad": lambda: nn.ConstantPad2d(1, 0.3),
}
"""What no constant but 0 comes through, or (the last one) none but another."""

PINNING: dict[str, tuple[Make, int, str]] = {
    "group_norm": (lambda: nn.GroupNorm(2, 8), 8, "group_norm takes statistics of the images"),
    "instance_norm": (lambda: nn.InstanceNorm2d(8, affine=True), 8, "instance_norm takes statistics of the images"),
    "instance_norm_plain": (lambda: nn.InstanceNorm2d(8), 8, "instance_norm takes statistics of the images"),
    "live_norm": (lambda: nn.BatchNorm2d(8, track_running_stats=False), 8, "batch_norm takes statistics of the images"),
    "layer_norm": (lambda: nn.LayerNorm([8, 8, 8]), 8, "layer_norm is not understood"),
    "softmax": (nn.Softmax2d, 8, "softmax is not understood"),
    "pixel_shuffle": (lambda: nn.PixelShuffle(2), 2, "pixel_shuffle tells channels by their position"),
    "channel_shuffle": (lambda: nn.ChannelShuffle(2), 8, "channel_shuffle tells channels by their position"),
}
"""What a channel has to stay for, whatever it holds; how many channels come out; what is said of it."""

READERS: dict[str, Make] = {
    "bias": lambda: conv(8, 6, padding=0, bias=True),
    "same": lambda: conv(8, 6, padding="same"),
    "one_by_one": lambda: conv(8, 6, 1, padding="same"),
    "valid": lambda: conv(8, 6, padding="valid"),
    "reflect": lambda: conv(8, 6, padding_mode="reflect"),
    "circular": lambda: conv(8, 6, padding_mode="circular"),
    "dilated": lambda: conv(8, 6, stride=2, dilation=2),
    "biasless": lambda: Biasless(8, 6, 3, bias=False),
    "transposed": lambda: nn.ConvTranspose2d(8, 6, 3, stride=2),
}


def prepared(net: nn.Module, seed: int = 0) -> nn.Module:
    """Return a network in evaluation mode, with γ, β and statistics that differ from channel to channel."""
    generator = torch.Generator().manual_seed(seed)
    for part in nn.Module.modules(net):
        weight, mean = getattr(part, "weight", None), getattr(part, "running_mean", None)
        if isinstance(part, nn.BatchNorm2d | nn.BatchNorm1d | nn.BatchNorm3d | nn.GroupNorm) and weight is not None:
            weight.data.uniform_(0.5, 1.5, generator=generator)
            part.bias.data.uniform_(-0.3, 0.3, generator=generator)
        if mean is not None:
            mean.uniform_(-0.2, 0.2, generator=generator)
            part.running_var.uniform_(0.3, 1.5, generator=generator)
    return nn.Module.eval(net)


def images(count: int = 3, shape: tuple[int, ...] = SHAPE, seed: int = 0) -> Tensor:
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class HeldRun(Interpreter):
    """Runs a captured program in float64 as it is, and overwrites held channels: what ``hold`` has to agree with.

    Attributes:
        read: what each call with weights of its own read, [N, channels, …].
    """

    def __init__(self, graph: FeatureGraph, holds: Holds) -> None:
        super().__init__(graph.captured.program)
        layers = {layer.key: layer for layer in graph.layers}
        self.held = {held_node(layers[key]): values for key, values in holds.items()}
        self.read: dict[Node, Tensor] = {}

    def call_function(self, target: object, args: tuple, kwargs: dict) -> object:
        args, kwargs = map_aggregate((args, kwargs), lambda part: torch.float64 if part is torch.float32 else part)
        return super().call_function(target, args, kwargs)

    def run_node(self, n: Node) -> object:
        if n.op == "get_attr":
            value = self.fetch_attr(str(n.target))
            return value.detach().double() if isinstance(value, Tensor) and value.is_floating_point() else value
        if n.op == "call_function" and n.args and isinstance(n.args[0], Node):
            source = self.env[n.args[0]]
            if isinstance(source, Tensor):
                self.read[n] = source
        value = super().run_node(n)
        if n in self.held:
            value = value.clone()
            for channel, constant in self.held[n].items():
                value[:, channel] = constant
        return value


def held_outputs(graph: FeatureGraph, holds: Holds, x: Tensor) -> list[Tensor]:
    """Return all output tensors of the original with filters held, float64."""
    with torch.no_grad():
        return tensors_in(HeldRun(graph, holds).run(x))


def random_holds(graph: FeatureGraph, seed: int, values: tuple[float, ...] = (0.0, -0.5, 0.3, 0.7, -1.1)) -> Holds:
    """Return about two of five filters of most layers, at random values."""
    generator = torch.Generator().manual_seed(seed)

    def drawn() -> Iterator[tuple[str, dict[int, float]]]:
        for layer in graph.layers:
            share = 0.4 if float(torch.rand((), generator=generator)) < 0.8 else 0.0
            chosen = (torch.rand(layer.filters, generator=generator) < share).nonzero().flatten().tolist()
            which = torch.randint(len(values), (len(chosen),), generator=generator).tolist()
            if chosen:
                yield layer.key, {i: values[place] for i, place in zip(chosen, which, strict=True)}

    return dict(drawn())


def assert_exact(graph: FeatureGraph, holds: Holds, slim: nn.Module, x: Tensor, names: list[str] | None = None) -> None:
    """Compare each output with the held original's, relative to its own scale."""
    with torch.no_grad():
        found = tensors_in(slim(x))
    wanted = held_outputs(graph, holds, x)
    assert len(found) == len(wanted)
    for place, (ours, theirs) in enumerate(zip(found, wanted, strict=True)):
        assert theirs.isfinite().all()
        scale = max(float(theirs.abs().max()), 1e-3)
        assert ours.shape == theirs.shape
        assert float((ours - theirs).abs().max()) <= 1e-10 * scale, names[place] if names else place


def slimmed(net: nn.Module, holds: Holds, **options: Any) -> Slim:
    """Return the slim network, which was compared with the held original."""
    graph = build_graph(prepared(net), SHAPE)
    slim = slim_module(net, graph, holds, CutOptions(**options))
    assert_exact(graph, slim.cut.holds, slim.exact, images())
    return slim


def scattering(_layer: object, _gone: int) -> bool:
    return True
