"""Verification tells right surgery from wrong, on slim networks made by hand, and its figures are the differences."""

from __future__ import annotations

import copy
import functools
import json
import re
from collections.abc import Callable
from dataclasses import asdict

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparsity_audit.graph.feature_graph import FeatureGraph, build_graph
from sparsity_audit.schema.report import NormalisationInfo
from sparsity_audit.slimming.inputs import other_size, random_images, resized_graph
from sparsity_audit.slimming.verification import Verification
from sparsity_audit.slimming.verify import verify
from sparsity_audit.stats.collect import Normaliser

SHAPE = (3, 8, 8)
FILTERS = 8
GONE, CONSTANT = (1, 6), (2, 5)
HOLDS = {"conv1": {1: -0.5, 6: -2.0, 2: 0.75, 5: 0.25}}
KEPT = [0, 3, 4, 7]


class Net(nn.Module):
    """Two padded convolutions; the first has filters with γ = 0, two of them constant after the ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, FILTERS, 3, padding=1, bias=False), nn.BatchNorm2d(FILTERS)
        self.conv2, self.bn2 = nn.Conv2d(FILTERS, 5, 3, padding=1), nn.BatchNorm2d(5)
        self.linear = nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        return self.linear(F.relu(self.bn2(self.conv2(x))).mean((2, 3)))


def whole() -> Net:
    torch.manual_seed(11)
    net = Net()
    for index, value in HOLDS["conv1"].items():
        net.bn1.weight.data[index], net.bn1.bias.data[index] = 0.0, value
    net.bn1.running_mean, net.bn1.running_var = torch.randn(FILTERS) / 5, torch.rand(FILTERS) + 0.5  # type: ignore[assignment]
    net.linear.weight.data *= 20
    net.linear.bias.data -= net.eval()(images(64)).mean(0)  # else every image gets the same answer
    return net


def slim_of(net: Net, *, scale: float = 1.0, kept: list[int] = KEPT, rounded: bool = False) -> Net:
    """Return the network in float64 without its dead filters, their constants in one carrier channel of 1.

    ``scale`` falsifies the constants; ``rounded`` folds them in float32.
    """
    slim = copy.deepcopy(net).double()
    carrier = len(kept)
    for name in ("weight", "bias", "running_mean", "running_var"):
        part = getattr(slim.bn1, name)
        part.data = torch.cat([part.data[kept], part.data.new_tensor([0.0 if name != "running_var" else 1.0])])
    slim.bn1.weight.data[carrier], slim.bn1.bias.data[carrier] = 0.0, 1.0
    slim.conv1.weight.data = torch.cat([slim.conv1.weight.data[kept], torch.zeros(1, 3, 3, 3)])
    values = net.bn1.bias.data[list(CONSTANT)].double() * scale
    folded = (slim.conv2.weight.data[:, CONSTANT] * values.view(1, -1, 1, 1)).sum(1, keepdim=True)
    folded = folded.float().double() if rounded else folded
    slim.conv2.weight.data = torch.cat([slim.conv2.weight.data[:, kept], folded], 1)
    return slim


def images(count: int = 24, shape: tuple[int, int, int] = SHAPE) -> Tensor:
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(0))


@functools.cache
def captured(net: nn.Module) -> FeatureGraph:
    return build_graph(net.eval(), SHAPE)


@pytest.fixture(scope="module")
def net() -> Net:
    return whole()


def checked(net: nn.Module, slim: nn.Module, slim64: nn.Module | None, *, exact: bool = True) -> Verification:
    return verify(captured(net), HOLDS, slim, {"random": [images()]}, exact=exact, slim64=slim64)


def single(slim64: nn.Module) -> nn.Module:
    return copy.deepcopy(slim64).float()


def test_right_surgery_passes_at_the_noise_floor(net: Net) -> None:
    slim64 = slim_of(net)
    found = checked(net, single(slim64), slim64)
    assert found.failure is None
    assert found.passed
    assert [(c.against, c.inputs, c.images, c.changed) for c in found.comparisons] == [
        ("held", "random", 24, 0),
        ("untouched", "random", 24, 0),
    ]
    for comparison in found.comparisons:
        assert 0 < comparison.delta_fp32 < 3 * comparison.noise_floor
        assert comparison.delta_fp64 < 1e-13 * comparison.scale
    assert json.loads(json.dumps(asdict(found)))["failure"] is None


def border_ignored(net: Net) -> Net:
    """Fold the constants into the bias of the next convolution, as if its zero padding were not there."""
    slim = slim_of(net)
    slim.conv2.bias.data += slim.conv2.weight.data[:, -1].sum((1, 2))
    slim.conv2.weight.data[:, -1] = 0
    return slim


def swapped(net: Net) -> Net:
    """Read two filters in each other's place."""
    slim = slim_of(net)
    slim.conv2.weight.data[:, [0, 1]] = slim.conv2.weight.data[:, [1, 0]]
    return slim


WRONG: dict[str, Callable[[Net], Net]] = {
    "constant off by a millionth": lambda net: slim_of(net, scale=1 + 1e-6),
    "constants dropped": lambda net: slim_of(net, scale=0.0),
    "a live filter gone": lambda net: slim_of(net, kept=[0, 3, 4]),
    "filters swapped": swapped,
    "a dead filter in a live one's place": lambda net: slim_of(net, kept=[0, 1, 4, 7]),
    "border ignored": border_ignored,
    "folded in single precision": lambda net: slim_of(net, rounded=True),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_surgery_fails(net: Net, name: str) -> None:
    slim64 = WRONG[name](net)
    found = checked(net, single(slim64), slim64)
    assert not found.passed
    assert found.failure is not None
    assert "against the original with the same filters held, 24 random images" in found.failure


def test_constants_rounded_to_single_precision_pass_where_nothing_better_is_there(net: Net) -> None:
    found = checked(net, single(slim_of(net, rounded=True)), None)
    assert found.passed
    assert found.comparisons[0].delta_fp64 > 1e-9 * found.comparisons[0].scale


def test_another_order_of_the_filters_is_no_error(net: Net) -> None:
    slim64 = slim_of(net, kept=[3, 7, 0, 4])
    assert checked(net, single(slim64), slim64).passed


def test_figures_are_the_differences(net: Net) -> None:
    slim = copy.deepcopy(net)
    slim.linear.bias.data[2] += 0.25
    with torch.no_grad():
        before, after = net(images()), slim(images())
        double = copy.deepcopy(net).double()(images().double())
    found = verify(captured(net), {}, slim, {"corpus": [images()[:7], images()[7:]]}, exact=True)
    (comparison,) = found.comparisons  # nothing is held: held and untouched are one
    assert (comparison.against, comparison.inputs, comparison.images) == ("held", "corpus", 24)
    changed = int((before.argmax(1) != after.argmax(1)).sum())
    assert changed > 0
    assert (comparison.changed, found.changed(), found.changed("untouched")) == (changed, changed, 0)
    assert comparison.scale == pytest.approx(float(double.abs().max()))
    assert comparison.noise_floor == pytest.approx(float((before.double() - double).abs().max()), rel=0.5)
    assert comparison.delta_fp32 == pytest.approx(0.25, rel=1e-4)
    assert comparison.delta_fp64 == pytest.approx(0.25, rel=1e-6)
    limit = max(10 * comparison.noise_floor, 1e-6 * comparison.scale)
    assert (comparison.limit_fp32, comparison.limit_fp64) == (limit, limit)  # no slim64
    assert found.worst() == comparison
    assert found.worst("untouched") is None


@pytest.mark.parametrize("sizes", [(7, 17), (17, 7)])
def test_one_wrong_batch_is_enough(net: Net, sizes: tuple[int, int]) -> None:
    slim = Broken(net, lambda x: x + (0.25 if len(x) == 7 else 0.0))
    found = verify(captured(net), {}, slim, {"random": images().split(sizes)}, exact=False)
    assert not found.passed
    assert found.comparisons[0].delta_fp32 == pytest.approx(0.25, rel=1e-4)
    assert found.comparisons[0].delta_fp64 == pytest.approx(0.25, rel=1e-6)


def test_an_error_in_single_precision_alone_fails(net: Net) -> None:
    slim64 = slim_of(net)
    slim = single(slim64)
    slim.linear.bias.data[0] += 1e-3  # type: ignore[operator, union-attr]
    found = checked(net, slim, slim64, exact=False)
    assert not found.passed
    assert found.comparisons[0].delta_fp64 < found.comparisons[0].limit_fp64


def test_lossless_is_compared_with_the_untouched_too() -> None:
    net = whole()
    slim64 = slim_of(net)
    net.bn1.weight.data[2] = 1e-3  # no constant any more: held it is one
    assert checked(net, single(slim64), slim64, exact=False).passed
    found = checked(net, single(slim64), slim64)
    assert found.failure is not None
    assert "against the untouched original" in found.failure
    assert found.worst("held") != found.worst("untouched")


def test_a_quarter_unit_in_the_last_place_is_no_error() -> None:
    net = whole()
    slim64 = slim_of(net)
    net.bn1.weight.data[2] = 1e-9  # times |x̂| of at most 8 it is a fourth of the step between float32 numbers at 0.75
    found = checked(net, single(slim64), slim64)
    assert found.passed
    _, untouched = found.comparisons
    assert untouched.delta_fp64 > 1e-9 * untouched.scale / 10  # the limit of the held one would not do


class Headed(nn.Module):
    """A second answer in a dict of outputs, and one that is no tensor."""

    def __init__(self, net: Net, wrong: float = 0.0) -> None:
        super().__init__()
        self.net = net
        self.wrong = wrong

    def forward(self, x: Tensor) -> dict[str, object]:
        answer = self.net(x)
        return {"logits": answer, "count": 3, "more": [answer.mean(1) * (1 + self.wrong)]}


def test_every_output_tensor_is_compared(net: Net) -> None:
    holds = {f"net.{key}": values for key, values in HOLDS.items()}
    graph = captured(Headed(net))
    for wrong in (0.0, 1e-5):
        slim64 = Headed(slim_of(net), wrong)
        slim = Headed(copy.deepcopy(slim64.net).float(), wrong)
        found = verify(graph, holds, slim, {"random": [images()]}, exact=False, slim64=slim64)
        assert [(c.output, c.passed) for c in found.comparisons] == [(0, True), (1, not wrong)]
        assert found.passed is (wrong == 0)


class Broken(nn.Module):
    """Answers in place of a network with what a function makes of the right answer."""

    def __init__(self, net: nn.Module, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.net = net
        self.change = change

    def forward(self, x: Tensor) -> Tensor:
        return self.change(self.net(x))


def put(value: float) -> Callable[[Tensor], Tensor]:
    """Return a function that puts a value in one place of each answer."""
    return lambda x: torch.where(torch.arange(x.shape[1]) == 1, value, x)


@functools.cache
def with_value(net: nn.Module, value: float) -> FeatureGraph:
    return captured(Broken(net, put(value)))


@pytest.mark.parametrize(
    ("original", "slim", "passes"),
    [
        (torch.nan, torch.nan, True),
        (torch.inf, torch.inf, True),
        (torch.inf, -torch.inf, False),
        (torch.inf, torch.nan, False),
        (torch.nan, 0.5, False),
        (0.5, torch.nan, False),
        (0.5, torch.inf, False),
    ],
)
def test_answers_that_are_not_finite_must_be_the_same(net: Net, original: float, slim: float, passes: bool) -> None:
    graph = with_value(net, original)
    found = verify(graph, {}, Broken(net, put(slim)), {"random": [images()]}, exact=False)
    assert found.passed is passes
    assert found.comparisons[0].scale < 1e4
    assert (found.comparisons[0].delta_fp64 == torch.inf) is not passes


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda x: x @ torch.ones(7, 4), "the slim network fails (.*) on random images"),
        (lambda x: x[:, :3], r"the slim network puts out \[24, 3\], not \[24, 4\], on random images"),
    ],
)
def test_a_slim_network_that_fails_is_told(net: Net, change: Callable[[Tensor], Tensor], said: str) -> None:
    found = checked(net, Broken(net, change), None)
    assert found.failure is not None
    assert re.fullmatch(said, found.failure)
    assert not found.comparisons


def test_nothing_compared_is_not_passed(net: Net) -> None:
    slim = slim_of(net).float()
    assert not verify(captured(net), HOLDS, slim, {}, exact=True).passed
    assert not verify(captured(net), HOLDS, slim, {"corpus": [], "random": [images(0)]}, exact=True).passed
    nothing = Broken(net, lambda x: x * torch.nan)
    found = verify(captured(nothing), {}, nothing, {"random": [images()]}, exact=True)
    assert found.failure == "nothing to compare: no images, or no output that is finite"


def test_neither_network_is_changed(net: Net) -> None:
    slim = slim_of(net).float().train()
    before = [copy.deepcopy(part.state_dict()) for part in (net, slim)]
    assert checked(net, slim, None).passed
    assert slim.training
    for part, state in zip((net, slim), before, strict=True):
        assert all(torch.equal(value, state[name]) for name, value in part.state_dict().items())
        assert all(value.dtype == state[name].dtype for name, value in part.state_dict().items())


class Shuffling(nn.Module):
    """Channel shuffle: a captured program has the plane's size written into it. Casts its images, too."""

    def __init__(self, net: Net) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        count, channels, height, width = x.shape
        x = x.view(count, 1, channels, height, width).transpose(1, 2).reshape(count, channels, height, width)
        return self.net(x.to(torch.float32))


class Mapped(nn.Module):
    """Keeps constants as a map of the full size, which a convolution's output is added to."""

    def __init__(self, net: Net, holds: dict[int, float]) -> None:
        super().__init__()
        self.net = net
        constant = torch.zeros(1, FILTERS, *SHAPE[1:], dtype=torch.float64)
        for index, value in holds.items():
            constant[:, index] = max(value, 0.0)
        with torch.no_grad():
            weight = net.conv2.weight.double()
            self.register_buffer("map", F.conv2d(constant, weight, net.conv2.bias.double(), padding=1))  # type: ignore[union-attr]

    def forward(self, x: Tensor) -> Tensor:
        net = self.net
        x = F.relu(net.bn1(net.conv1(x)))[:, KEPT]
        x = F.conv2d(x, net.conv2.weight[:, KEPT], padding=1) + self.map
        return net.linear(F.relu(net.bn2(x)).mean((2, 3)))


def test_images_of_another_size(net: Net) -> None:
    holds = {f"net.{key}": values for key, values in HOLDS.items()}
    original = Shuffling(net).eval()
    graph = captured(original)
    resized = resized_graph(original, graph)
    assert resized is not None
    assert resized.captured.input_shape == other_size(SHAPE) == (3, 24, 24)
    batches = {"random": [images()], "other size": [images(4, (3, 24, 24))]}
    right, mapped = Shuffling(slim_of(net)), Mapped(copy.deepcopy(net).double(), HOLDS["conv1"])
    found = verify(graph, holds, single(right), batches, exact=True, slim64=right, resized=resized)
    assert found.passed
    assert [(c.inputs, c.images) for c in found.comparisons] == [
        *[("random", 24)] * 2,
        *[("other size", 4)] * 2,
    ]
    slim = single(mapped)
    assert verify(graph, holds, slim, {"random": [images()]}, exact=True, slim64=mapped).passed
    rests = verify(graph, holds, slim, batches, exact=True, slim64=mapped, resized=resized)
    assert rests.failure is not None
    assert rests.failure.startswith("the slim network fails")
    with pytest.raises(ValueError, match=r"no graph was captured for images of \(3, 24, 24\)"):
        verify(graph, holds, slim, batches, exact=True)


def test_a_network_of_one_size_only() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 2)).eval()
    assert resized_graph(net, build_graph(net, SHAPE)) is None


class Joining(nn.Module):
    """Takes batches of five images and no others, and shows every image another of them."""

    def __init__(self, net: Net) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        answer = self.net(x)
        return answer.view(5, -1) + 0.1 * answer[[1, 2, 3, 4, 0]] * x.view(5, 3, -1).mean((1, 2)).view(5, 1)


def test_batches_that_the_network_fixes(net: Net) -> None:
    holds = {f"net.{key}": values for key, values in HOLDS.items()}
    graph = build_graph(Joining(net).eval(), SHAPE, static_batch=5)
    assert graph.captured.batch == 5
    right, wrong = Joining(slim_of(net)), Joining(slim_of(net, scale=1.01))
    for slim64, passes in ((right, True), (wrong, False)):
        found = verify(graph, holds, single(slim64), {"corpus": [images(12)]}, exact=False, slim64=slim64)
        assert found.passed is passes
        assert found.comparisons[0].images == 12
    opposite = verify(graph, {}, Broken(Joining(net), torch.neg), {"corpus": [images(12)]}, exact=False)
    assert opposite.changed() == 12  # what the last batch is filled up with does not count


@pytest.mark.parametrize(("scale", "pixel_max"), [(255.0, 255), (16.0, 16)])
def test_random_images_are_pixels_of_the_declared_range(scale: float, pixel_max: int) -> None:
    info = NormalisationInfo(mean=[0.5, 0.4, 0.3], std=[0.2, 0.3, 0.5], pixel_scale=scale, source="option")
    normalise = Normaliser(info, "cpu")
    found = random_images((3, 6, 10), 400, normalise, pixel_max=pixel_max, seed=4)
    assert found.shape == (400, 3, 6, 10)
    assert found.dtype == torch.float32
    pixels = (found * torch.tensor(info.std).view(3, 1, 1) + torch.tensor(info.mean).view(3, 1, 1)) * scale
    torch.testing.assert_close(pixels, pixels.round(), rtol=0, atol=1e-2)
    assert set(pixels[1::2].round().int().flatten().tolist()) == {0, pixel_max}
    uniform = pixels[::2].round().int().flatten()
    counts = torch.bincount(uniform)
    assert len(counts) == pixel_max + 1
    assert bool((counts > 0.6 * uniform.numel() / len(counts)).all())
    assert torch.equal(found, random_images((3, 6, 10), 400, normalise, pixel_max=pixel_max, seed=4))
    assert not torch.equal(found, random_images((3, 6, 10), 400, normalise, pixel_max=pixel_max, seed=5))
