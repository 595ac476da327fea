"""Bounds from the pixel range: by hand, against naive intervals on whole arrays, against images out to break them."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparsity_audit.checkpoints.checkpoint import read_checkpoint
from sparsity_audit.data.corpus import Corpus
from sparsity_audit.graph.feature_graph import FeatureGraph, build_graph
from sparsity_audit.models.load import load_model
from sparsity_audit.pruning.bounds import NormBounds, norm_bounds, pixel_max
from sparsity_audit.pruning.intervals import exactly, scaled
from sparsity_audit.schema.report import NormalisationInfo

SLACK = 1e-4
"""Relative: what the bounds allow for rounding over a few layers."""
NAMED = NormalisationInfo(
    mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225], pixel_scale=255.0, source="architecture"
)
PLAIN = NormalisationInfo(mean=[0.0], std=[1.0], pixel_scale=1.0, source="option")


def settle(net: nn.Module, seed: int = 0) -> nn.Module:
    """Give norms statistics, γ of both signs and β."""
    torch.manual_seed(seed)
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.3)  # type: ignore[union-attr]
            part.running_var.uniform_(0.2, 2)  # type: ignore[union-attr]
            if part.affine:
                part.weight.data.normal_(0, 1).add_(part.weight.data.sign() / 2)
                part.bias.data.normal_(0, 0.5)
    return net.eval()


def normed(pixels: Tensor, info: NormalisationInfo = NAMED) -> Tensor:
    """Return what the network sees of pixels 0 to 255."""
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (info.mean, info.std))
    return (pixels / info.pixel_scale - mean) / std


def test_two_layers_by_hand() -> None:
    net = nn.Sequential(
        nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2, eps=0.0), nn.ReLU(), nn.Conv2d(2, 1, 3, padding=1), nn.BatchNorm2d(1)
    )
    first, norm, _, second, last = net
    first.weight.data, first.bias.data = torch.tensor([2.0, -3.0]).view(2, 1, 1, 1), torch.tensor([1.0, 0.0])
    norm.running_mean, norm.running_var = torch.tensor([0.0, 1.0]), torch.tensor([4.0, 1.0])  # type: ignore[assignment]
    norm.weight.data, norm.bias.data = torch.tensor([1.0, -2.0]), torch.tensor([0.5, 1.0])
    second.weight.data = torch.cat([torch.ones(1, 1, 3, 3), -torch.ones(1, 1, 3, 3)], 1)
    second.bias.data = torch.tensor([3.0])
    last.eps = 1.0
    graph = build_graph(net.eval(), (1, 5, 5))
    # Pixels 0 to 16, x = (pixel / 16 - 0.5) / 0.25 from -2 to 2.
    found = norm_bounds(graph, NormalisationInfo(mean=[0.5], std=[0.25], pixel_scale=16, source="option"), 16.0)
    one, two = found["0"], found["3"]
    # 2x + 1 from -3 to 5, over √4; -3x from -6 to 6, less 1.
    assert one.least == pytest.approx([-1.5, -7], rel=SLACK)
    assert one.most == pytest.approx([2.5, 5], rel=SLACK)
    assert one.reach == pytest.approx([2.5, 7], rel=SLACK)
    assert one.low == pytest.approx([-1.0, -9.0], rel=SLACK)
    assert one.high == pytest.approx([3.0, 15.0], rel=SLACK)
    # Nine windows' places each of 0 to 3 and, taken away, 0 to 15, and 3; over √(1 + 1).
    assert two.least == pytest.approx([(3 - 9 * 15) / 2**0.5], rel=SLACK)
    assert two.most == pytest.approx([(3 + 9 * 3) / 2**0.5], rel=SLACK)
    for bounds, least in ((one, [-1.5, -7]), (two, [(3 - 9 * 15) / 2**0.5])):
        assert (bounds.least < least).all()


def conv_interval(low: Tensor, high: Tensor, conv: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """Return naive bounds of a convolution, element by element of whole arrays."""
    weight, bias = conv.weight.double(), None if conv.bias is None else conv.bias.double()
    options = (conv.stride, conv.padding, conv.dilation, conv.groups)
    up, down = weight.clamp(min=0), weight.clamp(max=0)
    base = torch.zeros(1) if bias is None else bias.view(-1, 1, 1)
    return (
        F.conv2d(low, up, None, *options) + F.conv2d(high, down, None, *options) + base,
        F.conv2d(high, up, None, *options) + F.conv2d(low, down, None, *options) + base,
    )


def norm_interval(low: Tensor, high: Tensor, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    ends = [copy.deepcopy(norm).double()(end) for end in (low, high)]
    return torch.minimum(*ends), torch.maximum(*ends)


@torch.no_grad()
def test_a_padded_network_against_naive_intervals_on_whole_arrays() -> None:
    net = settle(
        nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 12, 3, padding=1, stride=2, groups=4),
            nn.BatchNorm2d(12),
            nn.ReLU6(),
            nn.Conv2d(12, 6, (1, 3), padding=(0, 2), dilation=2),
            nn.BatchNorm2d(6),
        )
    )
    found = norm_bounds(build_graph(net, (3, 24, 24)), NAMED, 255.0)
    low, high = (normed(torch.full((1, 3, 24, 24), pixel)).double() for pixel in (0.0, 255.0))
    for place, part in enumerate(net):
        if isinstance(part, nn.Conv2d):
            low, high = conv_interval(low, high, part)
        elif isinstance(part, nn.BatchNorm2d):
            low, high = norm_interval(low, high, part)
            bounds = found[str(place - 1)]
            # Where 0 lies among the values the border adds nothing, so that both are the same but for the slack.
            assert bounds.low == pytest.approx(low.amin((0, 2, 3)).numpy(), rel=SLACK, abs=1e-3)
            assert bounds.high == pytest.approx(high.amax((0, 2, 3)).numpy(), rel=SLACK, abs=1e-3)
            assert (bounds.low < low.amin((0, 2, 3)).numpy()).all()
            assert (bounds.high > high.amax((0, 2, 3)).numpy()).all()
        else:
            low, high = part(low), part(high)


def test_the_first_layer_is_exact() -> None:
    """The image that each filter likes best reaches its bound, and the one it likes least the other."""
    net = settle(nn.Sequential(nn.Conv2d(3, 6, 5, padding=2), nn.BatchNorm2d(6)))
    conv, norm = net
    bounds = norm_bounds(build_graph(net, (3, 5, 5)), NAMED, 255.0)["0"]
    deviation = torch.sqrt(norm.running_var + norm.eps)  # type: ignore[operator]
    with torch.no_grad():
        for i in range(6):
            liked = (conv.weight[i] > 0).float()[None] * 255  # one window fills the plane
            ends = [
                (conv(normed(pixels))[0, i, 2, 2] - norm.running_mean[i]) / deviation[i]  # type: ignore[index]
                for pixels in (255 - liked, liked)
            ]
            assert float(ends[0]) == pytest.approx(bounds.least[i], rel=SLACK)
            assert float(ends[1]) == pytest.approx(bounds.most[i], rel=SLACK)
            assert bounds.least[i] < float(ends[0]) < float(ends[1]) < bounds.most[i]


class Borders(nn.Module):
    """A padded convolution, a padded average, and grouped transposed convolutions that leave taps out."""

    def __init__(self) -> None:
        super().__init__()
        self.padded, self.norm1 = nn.Conv2d(1, 1, 3, padding=1, bias=False), nn.BatchNorm2d(1, eps=0.0)
        self.averaged, self.norm2 = nn.Conv2d(1, 1, 1, bias=False), nn.BatchNorm2d(1, eps=0.0)
        self.spread, self.norm3 = (
            nn.ConvTranspose2d(2, 4, 3, stride=2, groups=2, bias=False),
            nn.BatchNorm2d(4, eps=0.0),
        )
        for conv in (self.padded, self.averaged, self.spread):
            conv.weight.data.fill_(1.0)
        self.spread.weight.data[1, 0], self.spread.weight.data[1, 1] = 10.0, -10.0

    def forward(self, x: Tensor) -> list[Tensor]:
        averaged = F.avg_pool2d(x, 3, stride=1, padding=1)
        both = torch.cat([x, x], 1)
        return [self.norm1(self.padded(x)), self.norm2(self.averaged(averaged)), self.norm3(self.spread(both))]


def test_borders_of_what_never_is_0() -> None:
    """With x from 1 to 2, a corner sees 4 of 9 places, and a gap of a stride one tap alone."""
    net = Borders().eval()
    info = NormalisationInfo(mean=[-1.0], std=[1.0], pixel_scale=255.0, source="option")
    found = norm_bounds(build_graph(net, (1, 6, 6)), info, 255.0)
    with torch.no_grad():
        ends = [net(normed(torch.full((1, 1, 6, 6), pixel), info)) for pixel in (0.0, 255.0)]
    for place, key in enumerate(["padded", "averaged", "spread"]):
        low = torch.minimum(ends[0][place], ends[1][place]).amin((0, 2, 3)).numpy()
        high = torch.maximum(ends[0][place], ends[1][place]).amax((0, 2, 3)).numpy()
        assert (found[key].low < low).all(), key
        assert (found[key].high > high).all(), key
    assert found["padded"].high == pytest.approx([18.0], rel=SLACK)
    assert found["averaged"].high == pytest.approx([2.0], rel=SLACK)
    assert found["spread"].high == pytest.approx([18.0, 18.0, 180.0, 0.0], rel=SLACK, abs=1e-2)
    assert found["spread"].low == pytest.approx([0.0, 0.0, 0.0, -180.0], rel=SLACK, abs=1e-2)


def test_roundings_of_float32_are_allowed_for() -> None:
    """A mean of 1e4 leaves float32 with an error of 1e-3 in x - mean, an error that float64 does not make."""
    net = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.BatchNorm2d(1, eps=0.0)).eval()
    net[0].weight.data.fill_(1.0)
    net[1].running_mean.fill_(1e4)  # type: ignore[union-attr, operator]
    bounds = norm_bounds(build_graph(net, (1, 2, 2)), PLAIN, 1.0)["0"]
    assert bounds.least[0] <= -1e4 - 1e4 * 2.0**-24
    assert bounds.most[0] >= 1 - 1e4 + 1e4 * 2.0**-24
    assert bounds.reach == pytest.approx([1e4], rel=1e-5)
    ends = scaled(exactly(0.0), torch.tensor([2.0]), torch.tensor([1e4]))  # 0 · 2 + 1e4
    assert float(ends.low) <= 1e4 * (1 - 2.0**-24)
    assert float(ends.high) >= 1e4 * (1 + 2.0**-24)


ACTIVATIONS: list[nn.Module] = [
    nn.SiLU(),
    nn.GELU(),
    nn.GELU("tanh"),
    nn.Hardswish(),
    nn.Mish(),
    nn.PReLU(1, -0.7),
    nn.LeakyReLU(0.1),
    nn.ELU(0.6),
    nn.CELU(2.0),
    nn.SELU(),
    nn.Softplus(),
    nn.Sigmoid(),
    nn.Hardsigmoid(),
    nn.Tanh(),
    nn.ReLU6(),
    nn.Hardtanh(-0.5, 2),
    nn.LogSigmoid(),
    nn.RReLU(),
    nn.Threshold(0.3, -1.0),
    nn.Threshold(0.3, 5.0),
]
FUNCTIONS = [
    torch.abs,
    torch.square,
    torch.neg,
    torch.exp,
    lambda x: 3 - 2 * x,
    lambda x: x / -4,
    lambda x: x.clamp_max(1),
]


class Bank(nn.Module):
    """One norm, every elementwise operation on its output, each seen by a filter of its own that does nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(1, 1, 1, bias=False), nn.BatchNorm2d(1, eps=0.0)
        self.first.weight.data.fill_(1.0)
        self.activations = nn.ModuleList(ACTIVATIONS)
        count = len(ACTIVATIONS) + len(FUNCTIONS)
        self.second = nn.Conv2d(count, count, 1, groups=count, bias=False)
        self.second.weight.data.fill_(1.0)
        self.last = nn.BatchNorm2d(count, eps=0.0)

    def values(self, x: Tensor) -> Tensor:
        x = self.norm(self.first(x))
        return torch.cat([*(act(x) for act in self.activations), *(function(x) for function in FUNCTIONS)], 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.second(self.values(x)))


@pytest.fixture(scope="module")
def bank() -> tuple[Bank, FeatureGraph]:
    net = Bank().eval()
    return net, build_graph(net, (1, 3, 3))


@pytest.mark.parametrize(("low", "high"), [(-4.0, 3.0), (-1.0, -0.2), (-6.0, -2.0), (0.5, 2.0)])
def test_functions_against_a_dense_grid(bank: tuple[Bank, FeatureGraph], low: float, high: float) -> None:
    net, graph = bank
    info = NormalisationInfo(mean=[-low / (high - low)], std=[1 / (high - low)], pixel_scale=255.0, source="option")
    bounds = norm_bounds(graph, info, 255.0)["second"]
    with torch.no_grad():
        grid = (
            copy.deepcopy(net)
            .double()
            .values(torch.linspace(low, high, 40_001, dtype=torch.float64).view(-1, 1, 1, 1))
            .flatten(1)
        )
    least, most = grid.amin(0).numpy(), grid.amax(0).numpy()
    known = np.isfinite(bounds.least)
    assert np.flatnonzero(~known).tolist() == [19]  # the threshold that jumps down
    assert (bounds.least[known] <= least[known] + 1e-12).all()
    assert (bounds.most[known] >= most[known] - 1e-12).all()
    assert bounds.least[known] == pytest.approx(least[known], rel=1e-3, abs=1e-3)
    assert bounds.most[known] == pytest.approx(most[known], rel=1e-3, abs=1e-3)


class Everything(nn.Module):
    """What moves, pools, joins, gates and pads channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.SiLU())
        self.pooled = nn.AvgPool2d(3, stride=1, padding=1)
        self.cut = nn.MaxPool2d(2)
        self.depthwise = nn.Sequential(nn.Conv2d(8, 16, 3, groups=8), nn.BatchNorm2d(16), nn.Hardswish())
        self.up = nn.Sequential(
            nn.ConvTranspose2d(16, 12, 3, stride=2, padding=1, output_padding=1, groups=2),
            nn.BatchNorm2d(12, affine=False),
        )
        self.squeeze, self.excite = nn.Linear(12, 4), nn.Linear(4, 12)
        self.grown = nn.Parameter(torch.tensor([1.5, -2.0, 0.1]).repeat(8).view(24, 1, 1))
        self.mixed = nn.Sequential(nn.Conv2d(24, 8, 1), nn.BatchNorm2d(8), nn.PReLU(8, -0.3))
        self.strided = nn.MaxPool3d((1, 3, 3), stride=(2, 1, 1))
        self.last = nn.Sequential(nn.Conv2d(4, 5, 3, padding=1), nn.BatchNorm2d(5))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = self.depthwise(torch.cat([self.cut(x)[:, 2:], self.cut(self.pooled(x))[:, :2]], 1))
        x = self.up(x)
        x = x * torch.sigmoid(self.excite(F.relu(self.squeeze(x.mean((2, 3)))))[:, :, None, None])
        x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 6, 6)) - 0.5 * F.interpolate(
            x, size=x[:, :, ::2, ::2].shape[2:]
        ).repeat(1, 2, 1, 1)
        x = x * self.grown
        x = x.view(x.shape[0], 2, 12, x.shape[2], x.shape[3]).transpose(1, 2).reshape(x.shape)
        x = self.mixed(F.interpolate(x, scale_factor=2.0, mode="bilinear"))
        x = torch.maximum(x, x.flip(1)) / (1.5 + x.square())
        return self.last(self.strided(x))


def seen(net: nn.Module, images: Tensor) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return the extremes [channels] of what every batch norm of the eager network puts out."""
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def look(name: str) -> object:
        def hook(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            found[name] = output.amin((0, 2, 3)).numpy(), output.amax((0, 2, 3)).numpy()

        return hook

    hooks = [
        part.register_forward_hook(look(name))  # type: ignore[arg-type]
        for name, part in net.named_modules()
        if isinstance(part, nn.BatchNorm2d)
    ]
    with torch.no_grad():
        net(images)
    for hook in hooks:
        hook.remove()
    return found


def trying(size: int, seed: int) -> Tensor:
    """Return pixels of every kind: uniform, black and white, flat, stripes, single bright ones."""
    torch.manual_seed(seed)
    uniform = torch.randint(0, 256, (40, 3, size, size))
    binary = torch.randint(0, 2, (40, 3, size, size)) * 255
    flat = (torch.randint(0, 2, (20, 3, 1, 1)) * 255).expand(-1, -1, size, size)
    stripes = (torch.randint(0, 2, (20, 3, 1, size)) * 255).expand(-1, -1, size, -1)
    sparse = (torch.rand(20, 3, size, size) > 0.95) * 255
    return torch.cat([uniform, binary, flat, stripes, sparse]).float()


def check_never_exceeded(net: nn.Module, graph: FeatureGraph, bounds: dict[str, NormBounds], size: int) -> None:
    extremes = seen(net, normed(trying(size, 1)))
    for layer in graph.layers:
        if layer.key in bounds:
            low, high = extremes[layer.norm or ""]
            assert (low >= bounds[layer.key].low).all(), layer.key
            assert (high <= bounds[layer.key].high).all(), layer.key


def test_no_image_exceeds_the_bounds_of_a_network_of_everything() -> None:
    net = settle(Everything(), 3)
    graph = build_graph(net, (3, 12, 12))
    bounds = norm_bounds(graph, NAMED, 255.0)
    assert list(bounds) == ["stem.0", "depthwise.0", "up.0", "mixed.0", "last.0"]
    assert all(np.isfinite(found.reach).all() for found in bounds.values())
    check_never_exceeded(net, graph, bounds, 12)
    check_never_exceeded(net, graph, bounds, 20)  # they hold for images of any size


def test_what_is_not_understood_is_not_bounded_until_something_bounds_it_again() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.norm_a = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)
            self.b, self.norm_b = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
            self.c, self.norm_c = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
            self.b.weight.data[2, :3] = 0.0  # the third filter reads the last channel alone, which is dead

        def forward(self, x: Tensor) -> Tensor:
            x = F.relu(self.norm_a(self.a(x)))
            x = x * torch.cumsum(x, 2)
            return self.norm_c(self.c(torch.sigmoid(self.norm_b(self.b(x)))))

    net = settle(Net())
    net.norm_a.weight.data[3], net.norm_a.bias.data[3] = 0.0, -1.0
    found = norm_bounds(build_graph(net, (3, 6, 6)), NAMED, 255.0)
    assert np.isfinite(found["a"].reach).all()
    assert np.isinf(found["b"].reach).tolist() == [True, True, False, True]
    assert np.isinf(found["b"].low[[0, 1, 3]]).all()
    weight = net.c.weight[:, :, 0, 0].detach().double().numpy()  # of gates from 0 to 1, and one that is constant
    constant = 1 / (1 + np.exp(-float(found["b"].high[2])))
    live = weight[:, [0, 1, 3]]
    assert isinstance(net.norm_c.running_mean, Tensor)
    assert isinstance(net.norm_c.running_var, Tensor)
    centre = weight[:, 2] * constant + net.c.bias.detach().double().numpy() - net.norm_c.running_mean.double().numpy()
    deviation = np.sqrt(net.norm_c.running_var.double().numpy() + net.norm_c.eps)
    assert found["c"].most == pytest.approx((np.maximum(live, 0).sum(1) + centre) / deviation, rel=SLACK, abs=SLACK)
    assert found["c"].least == pytest.approx((np.minimum(live, 0).sum(1) + centre) / deviation, rel=SLACK, abs=SLACK)


def test_norms_of_live_statistics_are_left_out() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.GroupNorm(2, 4), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4, track_running_stats=False)
    )
    assert norm_bounds(build_graph(net.eval(), (3, 6, 6)), NAMED, 255.0) == {}


def test_a_dead_channel_adds_nothing() -> None:
    """γ = 0 and β < 0: the next layer's bounds are those of a network without that channel, to the last bit."""
    net = settle(
        nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.BatchNorm2d(5)
        )
    )
    net[1].weight.data[1], net[1].bias.data[1] = 0.0, -0.5
    first = norm_bounds(build_graph(net, (3, 6, 6)), NAMED, 255.0)["3"]
    net[3].weight.data[:, 1] *= 100
    second = norm_bounds(build_graph(net, (3, 6, 6)), NAMED, 255.0)["3"]
    assert first.least.tolist() == second.least.tolist()
    assert first.most.tolist() == second.most.tolist()


@pytest.mark.parametrize(
    ("largest", "scale", "expected"),
    [(16, 16.0, 16.0), (255, 255.0, 255.0), (255, 1.0, 255.0), (200, 255.0, 255.0), (17, 16.0, 255.0)],
)
def test_pixel_range(largest: int, scale: float, expected: float) -> None:
    images = np.zeros((2, 3, 3, 1), np.uint8)
    images[1, 2, 2] = largest
    assert pixel_max(Corpus.from_arrays(images, [0, 1], pixel_scale=scale)) == expected


def proved(graph: FeatureGraph, state: dict[str, Tensor], info: NormalisationInfo) -> tuple[int, int]:
    """Return how many filters are dead by scale, and of how many |γ| B ≤ -β or |γ| B ≤ ulp(β) / 4 proves it."""
    dead = sure = 0
    bounds = norm_bounds(graph, info, 255.0)
    for layer in graph.layers:
        if layer.gamma is None or layer.beta is None:
            continue
        gamma, beta = (state[path].double().numpy() for path in (layer.gamma, layer.beta))
        off = np.abs(gamma) * bounds[layer.key].reach
        ulp = np.abs(np.nextafter(beta.astype(np.float32), np.float32(np.inf)) - beta.astype(np.float32)).astype(float)
        zero = (off <= -beta) & (layer.nonlinearity == "relu")
        dead += int((np.abs(gamma) < 1e-3).sum())
        sure += int(((np.abs(gamma) < 1e-3) & (zero | (off <= ulp / 4))).sum())
    return dead, sure


@pytest.mark.shared
def test_public_models(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load_model(read_checkpoint(shared / "models" / "resnet20-12fca82f.th"), None)
    graph = build_graph(loaded.module, (3, 32, 32))
    assert proved(graph, loaded.module.state_dict(), NAMED) == (17, 1)
    bounds = norm_bounds(graph, NAMED, 255.0)
    check_never_exceeded(loaded.module, graph, bounds, 32)
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "graph")
    from lprnet import LPRNet

    net = LPRNet()
    net.load_state_dict(torch.load(shared / "models" / "lprnet-plates.pth", map_location="cpu", weights_only=True))
    plates = NormalisationInfo(mean=[0.498] * 3, std=[0.502] * 3, pixel_scale=255.0, source="option")
    assert proved(build_graph(net.eval(), (3, 24, 94)), net.state_dict(), plates) == (791, 784)
