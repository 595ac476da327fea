"""Networks rebuilt from the shapes of slim tensors; filters put among constants; shortcuts that take an index."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparsity_audit.errors import ArchitectureError
from sparsity_audit.models.cifar_resnet import CifarResNet, OptionA
from sparsity_audit.models.shapes import Shape
from sparsity_audit.models.skeleton import build_skeleton, fill, module_shapes
from sparsity_audit.models.slim import adjust, resize, scatter

INDEX = torch.tensor([4, 0, 3])
FILL = torch.tensor([9.0, -0.5, 2.0, 9.0, 9.0])


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.c1, self.b1 = nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8)
        self.d, self.p = nn.Conv2d(8, 8, 3, groups=8), nn.PReLU(8)
        self.s = OptionA(8, 12, 1)
        self.h = nn.Linear(12, 4, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.h(self.s(self.p(self.d(F.relu(self.b1(self.c1(x)))))).mean((2, 3)))


@pytest.mark.parametrize("plane", [(), (5,), (5, 4), (3, 5, 4)])
def test_filters_stand_among_constants(plane: tuple[int, ...]) -> None:
    kinds: dict[int, type[nn.Module]] = {0: nn.BatchNorm1d, 1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
    kind = kinds[len(plane)]
    part = kind(3) if kind is nn.BatchNorm1d else kind(2, 3, 1)  # type: ignore[call-arg, arg-type]
    part.eval()
    plain = copy.deepcopy(part)
    x = torch.randn(2, 3 if kind is nn.BatchNorm1d else 2, *plane)
    scatter(part, INDEX, FILL)
    narrow, wide = plain(x), part(x)
    assert wide.shape == (2, 5, *plane)
    for channel in range(5):
        place = INDEX.tolist().index(channel) if channel in INDEX else None
        wanted = torch.full(plane, FILL[channel].item()) if place is None else narrow[:, place]
        assert torch.equal(wide[:, channel], wanted.expand(2, *plane))


def test_scattering_changes_one_module_and_adds_two_tensors() -> None:
    one, other = nn.BatchNorm2d(3).eval(), nn.BatchNorm2d(3).eval()
    scatter(one, INDEX, FILL)
    assert isinstance(one, nn.BatchNorm2d)
    assert type(other) is nn.BatchNorm2d
    assert one.state_dict().keys() == {*other.state_dict(), "scatter_index", "scatter_fill"}
    x = torch.randn(1, 3, 2, 2)
    assert torch.equal(copy.deepcopy(one)(x), one(x))
    assert one.double()(x.double()).dtype == torch.float64
    scatter(one, INDEX, FILL + 1)
    assert one(x.double())[0, 1, 0, 0] == 0.5


@pytest.mark.parametrize("stride", [1, 2])
def test_a_shortcut_that_takes_an_index(stride: int) -> None:
    plain, slim = OptionA(4, 8, stride), OptionA(4, 8, stride)
    kept_in, kept_out = [0, 2, 3], [1, 2, 3, 5, 7]  # two channels are added before and two behind
    slim.register_buffer("source", torch.tensor([3, 0, 3, 2, 3]))
    for size in (6, 7):
        x = torch.randn(2, 4, size, size)
        x[:, 1] = 0
        assert torch.equal(slim(x[:, kept_in]), plain(x)[:, kept_out])
        x[:, 1] = 0.5
        slim.register_buffer("fill", torch.tensor([0, 0, 0.5, 0, 0]))
        assert torch.equal(slim(x[:, kept_in]), plain(x)[:, kept_out])
        del slim.fill
    assert plain.state_dict() == {}


def narrowed() -> tuple[nn.Module, dict[str, Tensor], dict[str, int]]:
    """Return a slim network made by hand, its tensors and groups."""
    torch.manual_seed(0)
    net = Small().eval()
    net.c1.weight = nn.Parameter(torch.randn(5, 3, 3, 3))
    net.c1.register_parameter("bias", nn.Parameter(torch.randn(5)))
    net.b1 = nn.BatchNorm2d(5).eval()
    scatter(net.b1, torch.tensor([0, 1, 2, 4, 5]), torch.tensor([0, 0, 0, 0.7, 0, 0]))
    net.d, net.p = nn.Conv2d(6, 6, 3, groups=6), nn.PReLU(6)
    net.s.register_buffer("source", torch.tensor([6, 6, 0, 1, 2, 3, 5, 6, 6, 6]))
    net.s.register_buffer("fill", torch.tensor([0, 0, 0, 0, 0, 0, 0, 0.3, 0, 0]))
    net.h = nn.Linear(10, 4)
    adjust(net, {"d": 6})
    return net, net.state_dict(), {"d": 6}


@pytest.mark.parametrize("skeleton", [True, False])
def test_a_network_takes_the_shapes_of_its_tensors(skeleton: bool) -> None:
    net, tensors, groups = narrowed()
    fresh = build_skeleton(Small) if skeleton else Small()
    resize(fresh, {name: tuple(value.shape) for name, value in tensors.items()}, groups)
    assert module_shapes(fresh) == module_shapes(net)
    fill(fresh, tensors)
    x = torch.randn(2, 3, 9, 9)
    torch.testing.assert_close(fresh.eval()(x), net(x), rtol=1e-4, atol=1e-4)
    told = (fresh.c1.out_channels, fresh.b1.num_features, fresh.d.groups, fresh.d.in_channels, fresh.d.out_channels)
    assert told == (5, 5, 6, 6, 6)
    assert (fresh.p.num_parameters, fresh.h.in_features, fresh.h.out_features) == (6, 10, 4)


def test_what_has_its_shape_already_keeps_its_values() -> None:
    net = Small()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    resize(net, module_shapes(net), {})
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_a_module_of_two_names_is_one() -> None:
    net = nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU())
    net.append(net[0])
    narrow: dict[str, Shape] = {"weight": (3, 3, 1, 1), "bias": (3,)}
    shapes = {f"{place}.{leaf}": shape for place in (0, 2) for leaf, shape in narrow.items()}
    resize(net, shapes, {})
    assert net[0] is net[2]
    assert module_shapes(net) == shapes
    assert (net[0].in_channels, net[0].out_channels) == (3, 3)


@pytest.mark.parametrize(
    ("tensors", "groups", "said"),
    [
        ({"c3.weight": (1, 1, 1, 1)}, {}, "tensor c3.weight is not one of a slim Small"),
        ({"c1.weight": (5, 3, 3)}, {}, "tensor c1.weight is not one of a slim Small"),
        ({"c1.bias": (5, 1)}, {}, "c1.bias"),
        ({"c1.scale": (5,)}, {}, "c1.scale"),
        ({"h.scatter_index": (3,)}, {}, "h.scatter_index"),
        ({"b1.scatter_index": (3, 1)}, {}, "b1.scatter_index"),
        ({"b1.scatter_index": (3,)}, {}, "tensor b1.scatter_fill is missing beside b1.scatter_index"),
        ({"c1.scatter_fill": (9,)}, {}, "tensor c1.scatter_index is missing beside c1.scatter_fill"),
        ({"c1.source": (12,)}, {}, "c1.source"),
        ({"s.fill": (12,)}, {}, "tensor s.source is missing beside s.fill"),
        ({"s.weight": (12,)}, {}, "s.weight"),
        ({"s.bias": (12,)}, {}, "s.bias"),
        ({}, {"nowhere": 2}, "nowhere with groups is no convolution of a Small"),
        ({}, {"b1": 2}, "b1 with groups is no convolution of a Small"),
    ],
)
def test_tensors_that_no_slim_form_has(tensors: dict[str, Shape], groups: dict[str, int], said: str) -> None:
    with pytest.raises(ArchitectureError, match=said):
        resize(Small(), tensors, groups)


def test_the_zoo_network_is_what_it_was() -> None:
    net = CifarResNet("resnet20", 3, 10)
    assert not [name for name in net.state_dict() if "source" in name or "fill" in name]
    x = torch.randn(1, 16, 5, 5)
    shortcut = net.layer2[0].shortcut(x)
    assert torch.equal(shortcut[:, 8:24], x[:, :, ::2, ::2])
    assert not shortcut[:, [*range(8), *range(24, 32)]].any()
