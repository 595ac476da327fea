"""Which channels go together, and what each has to stay for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

import pytest
import torch
import torch.nn.functional as F
from cut_joins import JOINS
from cut_nets import PINNING, READERS, SHAPE, Make, Side, Wired, between, conv, first, norm, pooled, prepared, read_by
from cut_sharing import SHARING
from torch import Tensor, nn

from sparsity_audit.graph.feature_graph import build_graph
from sparsity_audit.models.cifar_resnet import OptionA
from sparsity_audit.pruning.channels import ChannelClasses
from sparsity_audit.pruning.positions import keeps_channels
from sparsity_audit.slimming.slim import channel_classes


class Told:
    """The classes of a network, by layer key and filter."""

    def __init__(self, net: nn.Module) -> None:
        torch.manual_seed(0)
        self.graph = build_graph(prepared(net), SHAPE)
        self.classes: ChannelClasses = channel_classes(net, self.graph)
        self.items = {layer.key: self.classes.outputs[layer.call] for layer in self.graph.layers}

    def together(self, *filters: tuple[str, int]) -> bool:
        return len({self.classes.find(self.items[key][i]) for key, i in filters}) == 1

    def why(self, key: str, index: int = 0) -> str | None:
        return self.classes.why_pinned(self.items[key][index])

    def free(self, key: str) -> list[int]:
        return [i for i, item in enumerate(self.items[key]) if self.classes.is_free(item)]


@cache
def side(kind: str) -> Told:
    return Told(Side(SIDES[kind]))


OPERATIONS: dict[str, tuple[Callable[[nn.Module, Tensor], Tensor], str | None]] = {
    "where": (lambda m, y: m.r(torch.where(y > 0, y, 2 * y)), "gt is not understood"),
    "sum": (lambda m, y: m.r(y.sum(1, keepdim=True).expand_as(y)), "sum reads it together with other channels"),
    "flip": (lambda m, y: m.r(y.flip(1)), "flip tells channels by their position"),
    "roll": (lambda m, y: m.r(y.roll(1, 1)), "roll tells channels by their position"),
    "cat": (lambda m, y: m.r(torch.cat([y, y], 2)), "cat joins along another axis than the channels'"),
    "constant": (lambda m, y: m.r(y + torch.arange(8.0).view(8, 1, 1)), "no filter produces"),
    "padded and sliced": (
        lambda m, y: m.r(F.pad(y, (0, 0, 0, 0, 0, 1))[:, 1:]),
        "pad adds channels at fixed positions",
    ),
    "batch norm": (lambda m, y: m.r(F.batch_norm(y, m.p - 1, m.p + 1)), "computed while the network runs"),
    "computed slopes": (lambda m, y: m.r(F.prelu(y, m.p.exp())), "computed while the network runs"),
    "slopes of its own": (lambda m, y: m.r(F.prelu(y, m.p)), "its parameters belong to a Wired, which can't be cut"),
    "a norm read elsewhere": (lambda m, y: m.r(y) * m.b.weight.mean(), "b.weight is used elsewhere, too"),
    "flattened": (lambda m, y: m.r(y.flatten(2)[..., None]), None),
    "transposed": (lambda m, y: m.r(y.transpose(2, 3)), None),
    "a slice of all": (lambda m, y: m.r(y[:, :8, ::2, 1:]), None),
    "scaled": (lambda m, y: m.r(y * m.p.mean()), None),
    "places": (lambda m, y: m.r(y + torch.rand(8, 8)), None),
    "unsqueezed": (lambda m, y: m.r(y[:, :, :, None].squeeze(3).clone()), None),
}
"""Ways to read channels, and what is said of those that have to stay for it."""

SIDES: dict[str, Mapping[str, Make]] = {
    "pinning": {
        name: lambda make=make, width=width: between(make, width) for name, (make, width, _) in PINNING.items()
    },
    "readers": {name: lambda make=make: read_by(lambda m, y: m.r(y), r=make()) for name, make in READERS.items()},
    "joins": JOINS | SHARING,
    "operations": {
        name: lambda reading=reading: read_by(reading, r=conv(8, 6), p=nn.Parameter(torch.rand(8) + 0.5))
        for name, (reading, _) in OPERATIONS.items()
    },
}


def test_filters_of_plain_layers_go_one_by_one() -> None:
    told = Told(between(nn.ReLU))
    assert told.free("c") == list(range(8))
    assert told.free("r") == list(range(6))
    assert not told.together(("c", 0), ("c", 1))


def test_a_residual_stream_goes_together() -> None:
    told = Told(JOINS["residual"]())
    for i in range(8):
        assert told.together(("c", i), ("c3", i), ("c5", i))
    assert not told.together(("c", 0), ("c", 1))
    assert not told.together(("c2", 0), ("c4", 0))


def test_a_shortcut_by_an_index_couples_beyond_itself_alone() -> None:
    told = Told(JOINS["option_a"]())
    assert told.together(("c2", 3), ("c3", 3))
    assert not told.together(("c", 1), ("c2", 3))  # two channels are added before
    assert told.free("c") == list(range(8))
    ((read, given),) = told.classes.shortcuts.values()
    assert read == told.items["c"]
    assert told.classes.classes(given) == told.classes.classes(told.items["c2"])


def test_depthwise_filters_go_with_what_they_read() -> None:
    told = Told(JOINS["depthwise_doubled"]())
    assert told.together(("c", 3), ("d", 6), ("d", 7))
    assert not told.together(("c", 3), ("d", 3))
    assert [reader.node.args[1].target for reader in told.classes.readers] == ["c.weight", "r.weight", "h.weight"]  # type: ignore[union-attr]


def test_what_is_joined_side_by_side_goes_apart() -> None:
    told = Told(JOINS["inception"]())
    reader = next(reader for reader in told.classes.readers if reader.node.args[1].target == "r.weight")  # type: ignore[union-attr]
    assert told.classes.classes(reader.items) == told.classes.classes(
        [*told.items["c2"], *told.items["c3"], *told.items["c"]]
    )


def test_a_plane_is_read_as_several_features() -> None:
    told = Told(JOINS["flattened"]())
    reader = next(reader for reader in told.classes.readers if reader.node.args[1].target == "r.weight")  # type: ignore[union-attr]
    assert told.classes.classes(reader.items) == [item for item in told.items["c"] for _ in range(9)]
    assert told.free("c") == list(range(8))


@pytest.mark.parametrize("kind", ["squeeze_excite", "squeeze_excite_linear"])
def test_a_gate_goes_with_what_it_scales(kind: str) -> None:
    told = Told(JOINS[kind]())
    assert told.free("c") == list(range(8))
    if kind == "squeeze_excite":
        assert told.together(("c", 2), ("e", 2))
        assert told.free("q") == list(range(4))
    else:
        features = {str(node.args[1].target): items for node, items in told.classes.features.items()}  # type: ignore[union-attr]
        assert told.classes.find(features["e.weight"][2]) == told.classes.find(told.items["c"][2])


def test_a_single_channel_that_scales_all_couples_none() -> None:
    told = Told(JOINS["attention_over_the_plane"]())
    assert told.free("c") == list(range(8))
    assert told.why("a") == "mul spreads it over other channels"
    assert told.why("a2") == "expand spreads it over other channels"


def test_calls_of_one_weight_go_together() -> None:
    told = Told(SHARING["called_twice_with_norms"]())
    assert told.together(("c2", 1), ("c2@2", 1), ("c", 1))
    told = Told(SHARING["called_on_two"]())
    assert told.together(("c", 1), ("c2", 1))
    assert told.together(("c3", 1), ("c3@2", 1))
    told = Told(SHARING["one_norm_for_two"]())
    assert told.together(("c", 1), ("c2", 1))
    assert told.free("c") == list(range(8))


@pytest.mark.parametrize("name", PINNING)
def test_what_pins_is_named(name: str) -> None:
    told = side("pinning")
    assert PINNING[name][2] in str(told.why(f"rows.{name}.c"))
    assert told.free(f"rows.{name}.c") == []
    assert told.free(f"rows.{name}.r") == list(range(6))


@pytest.mark.parametrize(
    ("name", "key", "said"),
    [
        ("norm_called_twice", "c", None),
        ("option_a_twice", "c", "pad adds channels at fixed positions"),
        ("transposed_groups", "c", "a transposed convolution with groups reads or makes it"),
        ("shuffled", "c", "split tells channels by their position"),
        ("tied", "c3", "c3.weight belongs to several modules"),
        ("two_names", "c3", None),
        ("weight_norm", "c", "a weight that reads or makes it is computed while the network runs"),
        ("weight_norm", "c2", "a weight that reads or makes it is computed while the network runs"),
        ("weight_norm_by_hook", "c2", "a weight that reads or makes it is computed while the network runs"),
        ("masked", "c", "a weight that reads or makes it is computed while the network runs"),
        ("frozen_norm", "c2", "in mul it meets a parameter of the network"),
        ("synchronised", "c2", None),
        ("layer_scale", "c", "in mul it meets a parameter of the network"),
        ("computed_scale", "c", "in mul it meets a parameter of the network"),
        ("one_scale", "c", None),
        ("weight_alone", "c", "its parameters belong to a Wired, which can't be cut"),
        ("weight_turned", "c", "is used elsewhere, too"),
        ("weight_read_elsewhere", "c", "is used elsewhere, too"),
        ("bias_unused", "c", "the Conv2d with bias is called in an unusual way"),
        ("weights_exchanged", "c", "which can't be cut"),
        ("stacked", "c", "stack tells channels by their position"),
        ("in_three_dimensions", "c", None),
        ("in_one_dimension", "c", None),
        ("rows_as_channels", "c", None),
        ("every_second_channel", "c", "max_pool3d takes every n-th channel"),
        ("chosen_channels", "c", "slice tells channels by their position"),
        ("chosen_channels", "c2", "index tells channels by their position"),
        ("pooled_with_indices", "c", None),
        ("over_channels", "c", "linalg_vector_norm"),
        ("tokens", "c", "transpose tells channels by their position"),
        ("several_outputs", "c", "it is the network's own output"),
        ("several_outputs", "c2", "it is the network's own output"),
        ("shadowing", "c", None),
    ],
)
def test_networks_that_have_to_be_left_alone(name: str, key: str, said: str | None) -> None:
    why = side("joins").why(f"rows.{name}.{key}")
    assert (why is None) if said is None else (said in str(why))


@pytest.mark.parametrize("name", READERS)
def test_every_reader_reads_channels_one_by_one(name: str) -> None:
    assert side("readers").free(f"rows.{name}.c") == list(range(8))


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations(name: str) -> None:
    why, said = side("operations").why(f"rows.{name}.c"), OPERATIONS[name][1]
    assert (why is None) if said is None else (said in str(why))


def test_a_branch_of_the_program_pins_what_it_reads() -> None:
    def wiring(m: nn.Module, x: Tensor) -> Tensor:
        return m.h(pooled(m.r(torch.cond(x.amax() > 0, lambda t: t.relu(), lambda t: t.neg(), (first(m, x),)))))

    told = Told(Wired(wiring, c=conv(), b=norm(), r=conv(8, 6), h=nn.Linear(6, 4)))
    assert told.why("c") == "cond is not understood"
    assert told.free("r") == list(range(6))


def test_a_linear_layer_on_more_than_features_pins() -> None:
    told = Told(read_by(lambda m, y: m.r(y.flatten(2)), 8, r=nn.Linear(64, 5)))
    assert told.why("c") == "linear reads it together with other channels"


def test_a_shortcut_with_an_index_already_is_left_alone() -> None:
    shortcut = OptionA(8, 12, 2)
    shortcut.register_buffer("source", torch.tensor([8, 8, 0, 1, 2, 3, 4, 5, 6, 7, 8, 8]))
    parts = {"c": conv(), "b": norm(), "s": shortcut, "r": conv(12, 6)}
    told = Told(Wired(lambda m, x: m.r(m.s(first(m, x))), **parts))
    assert told.why("c") == "pad adds channels at fixed positions"


@pytest.mark.parametrize(
    ("before", "after", "kept"),
    [
        ([5, 6], [5, 6], True),
        ([5, 6], [5, 5, 6, 6], True),
        ([5, 6], [5, 6, 5, 6], False),
        ([5, 6], [6, 5], False),
        ([5, 6], [5], False),
        ([5, 6, 7], [5, 6], False),
        ([], [], False),
    ],
)
def test_positions(before: list[int], after: list[int], kept: bool) -> None:
    labels = [torch.tensor(row, dtype=torch.int64).view(1, -1, 1).expand(2, len(row), 3) for row in (before, after)]
    assert keeps_channels(labels[0], labels[1]) == kept
    assert not keeps_channels(labels[0], [labels[1]])
    assert not keeps_channels(labels[0], labels[1].transpose(1, 2) if before else labels[1])
