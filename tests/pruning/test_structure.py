"""Which filters go, which stay for what reason, and which carry the constants of others: by hand on small networks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from cut_joins import JOINS, deconvolved, excited, grouped, mobile
from cut_nets import (
    SHAPE,
    Biasless,
    Make,
    Side,
    Wired,
    assert_exact,
    between,
    conv,
    first,
    images,
    norm,
    prepared,
    read_by,
    scattering,
)
from cut_sharing import SHARING
from torch import Tensor, nn

from sparsity_audit.graph.feature_graph import build_graph
from sparsity_audit.models.cifar_resnet import OptionA
from sparsity_audit.pruning.holds import Holds
from sparsity_audit.pruning.structure import Cut, CutOptions
from sparsity_audit.slimming.slim import channel_classes, slim_module

ALIVE = "a layer that reads it finds it alive"
NARROW = "its layer can't be narrower"
EVEN = "the groups of a convolution must lose equally many"
ALONE = "under zero padding a constant stays, and there is no other for it to carry"
DEAD = {1: -0.5, 4: 0.0}


class Outcome:
    """What became of each layer's filters; that the slim network is exact has been checked."""

    def __init__(self, net: nn.Module, holds: Holds, **options: Any) -> None:
        graph = build_graph(prepared(net), SHAPE)
        self.classes = channel_classes(net, graph)
        slim = slim_module(net, graph, holds, CutOptions(**options), self.classes)
        self.cut: Cut = slim.cut
        assert_exact(graph, slim.cut.holds, slim.exact, images())
        items = {layer.key: self.classes.classes(self.classes.outputs[layer.call]) for layer in graph.layers}
        self.gone = {key: [i for i, item in enumerate(row) if item in self.cut.gone] for key, row in items.items()}
        self.gone = {key: gone for key, gone in self.gone.items() if gone}
        held = self.cut.holds
        self.carriers = {
            key: [i for i, item in enumerate(row) if item in self.cut.carriers and i in held.get(key, {})]
            for key, row in items.items()
        }
        self.carriers = {key: carriers for key, carriers in self.carriers.items() if carriers}

    def kept(self, key: str) -> Mapping[int, str]:
        return self.cut.held_back.get(key, {})


def test_nothing_held_nothing_gone() -> None:
    outcome = Outcome(JOINS["residual"](), {"c": {}})
    assert (outcome.gone, outcome.cut.holds, outcome.cut.held_back) == ({}, {}, {})


def test_dead_filters_of_a_plain_layer_go() -> None:
    outcome = Outcome(between(nn.ReLU), {"c": DEAD, "r": {0: -1.0}})
    assert outcome.gone == {"c": [1, 4], "r": [0]}
    assert outcome.cut.holds == {"c": DEAD, "r": {0: -1.0}}
    assert not outcome.carriers
    assert not outcome.cut.held_back


def test_under_zero_padding_the_strongest_constant_carries_the_others() -> None:
    outcome = Outcome(between(nn.ReLU), {"c": {**DEAD, 2: 0.3, 5: 0.7, 6: 0.5}})
    assert outcome.gone == {"c": [1, 2, 4, 6]}
    assert outcome.carriers == {"c": [5]}


def test_readers_share_a_carrier() -> None:
    outcome = Outcome(JOINS["four_readers"](), {"c": {2: 0.3, 5: 0.7, 6: 0.5}})
    assert outcome.gone == {"c": [2, 6]}
    assert outcome.carriers == {"c": [5]}


def test_a_carrier_that_serves_two_readers_is_preferred() -> None:
    def wiring(m: nn.Module, x: Tensor) -> Tensor:
        left, right = first(m, x), F.relu(m.b2(m.c2(x)))
        return m.r(torch.cat([left, right], 1)) + m.r2(left)

    parts = {"c": conv(), "b": norm(), "c2": conv(), "b2": norm(), "r": conv(16, 6), "r2": conv(8, 6)}
    outcome = Outcome(Wired(wiring, **parts), {"c": {2: 0.3, 3: 0.4}, "c2": {5: 0.7}})
    assert outcome.carriers == {"c": [3]}
    assert outcome.gone == {"c": [2], "c2": [5]}


@pytest.mark.parametrize("reader", [{"padding": 0}, {"kernel": 1}, {"padding_mode": "reflect"}, {"padding": "valid"}])
def test_without_zero_padding_no_carrier_is_needed(reader: dict[str, Any]) -> None:
    outcome = Outcome(read_by(lambda m, y: m.r(y), r=conv(8, 6, **reader)), {"c": {2: 0.3, 5: 0.7}})
    assert outcome.gone == {"c": [2, 5]}
    assert not outcome.carriers


def test_a_constant_that_would_carry_nothing_stays_as_it_was() -> None:
    outcome = Outcome(between(nn.ReLU), {"c": {1: -0.5, 5: 0.7}})
    assert outcome.gone == {"c": [1]}
    assert outcome.cut.holds == {"c": {1: -0.5}}
    assert outcome.kept("c") == {5: ALONE}


def test_a_carrier_is_no_thousandth_of_what_it_carries() -> None:
    outcome = Outcome(between(nn.SiLU), {"c": {2: 0.7, 3: -20.0, 4: 0.1}})
    assert outcome.gone == {"c": [3, 4]}
    assert outcome.carriers == {"c": [2]}
    scales = nn.PReLU(8)
    scales.weight.data[2] = 1e-5
    parts = {"c": conv(), "b": norm(), "p": scales, "r": conv(8, 6), "r2": conv(8, 6)}
    net = Wired(lambda m, x: m.r(y := m.b(m.c(x))) + m.r2(m.p(y)), **parts)
    outcome = Outcome(net, {"c": {2: -0.7, 3: -0.1, 5: -0.2}})  # the strongest for r is next to nothing for r2
    assert outcome.carriers == {"c": [2, 5]}
    assert outcome.gone == {"c": [3]}


def test_a_residual_channel_goes_where_every_producer_agrees() -> None:
    holds = {"c": {0: -0.5, 1: -0.5, 2: -0.5}, "c3": {0: 0.0, 1: -2.0}, "c5": {0: 0.0, 2: 0.0}}
    outcome = Outcome(JOINS["residual"](), holds)
    assert outcome.gone == {"c": [0], "c3": [0], "c5": [0]}
    assert outcome.kept("c") == {1: ALIVE, 2: ALIVE}
    scattered = Outcome(JOINS["residual"](), holds, may_scatter=scattering)
    assert scattered.cut.scattered == {"c": [1, 2], "c3": [1], "c5": [2]}
    assert not scattered.cut.held_back


def test_producers_may_hold_different_constants() -> None:
    net = read_by(lambda m, y: m.r(F.relu(m.b2(m.c2(y)) + y)), c2=conv(8, 8), b2=norm(), r=conv(8, 6))
    outcome = Outcome(net, {"c": {0: 0.5, 3: 0.25, 5: -1.0}, "c2": {0: 0.25, 3: 1.5, 5: -1.0}})
    assert outcome.gone == {"c": [3, 5], "c2": [3, 5]}
    assert outcome.carriers == {"c": [0], "c2": [0]}


def test_channels_beside_a_padded_shortcut() -> None:
    holds = {"c": {0: 0.5, 1: -1.0}, "c2": {0: -1.0, 2: 0.3, 3: 0.0, 5: 0.5}, "c3": {0: 0.0, 2: -1.0, 3: 0.0, 5: -1.0}}
    outcome = Outcome(JOINS["option_a"](), holds)
    # Filter 2 of c2 meets filter 0 of c: relu(0.3 + 0.5), then relu(0.8 − 1); 3 meets a dead one, 0 meets padding.
    # c and c2 are read by padded convolutions: c's constant would have to carry, and stays alone.
    assert outcome.gone == {"c": [1], "c2": [0, 3], "c3": [0, 3]}
    both = Outcome(JOINS["option_a"](), {**holds, "c": {0: 0.5, 1: -1.0, 7: 0.25}})
    assert both.carriers == {"c": [0]}
    assert both.gone["c"] == [1, 7]


def test_a_constant_goes_through_a_shortcut_as_a_number() -> None:
    def reading(m: nn.Module, y: Tensor) -> Tensor:
        return m.r(F.relu(m.b2(m.c2(y)) + m.s(y)))

    parts = {"c2": conv(8, 12, 1, stride=2), "b2": norm(12), "s": OptionA(8, 12, 2), "r": conv(12, 6, 1)}
    outcome = Outcome(read_by(reading, **parts), {"c": {0: 0.5, 1: -1.0}})
    assert outcome.gone == {"c": [0, 1]}


def test_a_depthwise_filter_goes_with_its_channel() -> None:
    outcome = Outcome(mobile(), {"c": {0: -1.0, 1: 0.5, 2: 0.0, 3: 0.5}, "d": {1: 0.0, 2: 0.5, 4: 0.0}})
    # d makes a constant of zeros: 0 goes, and so does 4, whose channel nobody needs; 3 is no constant at the border.
    assert outcome.gone == {"c": [0, 1, 4], "d": [0, 1, 4]}
    assert outcome.carriers == {"c": [2], "d": [2]}
    assert outcome.cut.held_back == {"c": {3: ALIVE}}
    assert outcome.cut.holds["d"] == {1: 0.0, 2: 0.5, 4: 0.0}


def test_both_filters_of_a_channel_have_to_be_dead() -> None:
    outcome = Outcome(mobile(2), {"d": {2: -1.0, 3: -1.0, 4: -1.0}})
    assert outcome.gone == {"c": [1], "d": [2, 3]}
    assert outcome.kept("d") == {4: ALIVE}


def test_groups_lose_equally_many() -> None:
    holds = {"c": {0: -1.0, 1: -1.0, 5: -1.0}, "g": {0: -1.0, 2: -1.0, 7: -1.0, 8: -1.0, 9: -1.0}}
    outcome = Outcome(grouped(2), holds)
    assert outcome.gone == {"c": [0, 5], "g": [0, 2, 7, 8]}
    assert outcome.kept("c") == {1: EVEN}
    assert outcome.kept("g") == {9: EVEN}


def test_a_carrier_counts_as_a_filter_of_its_group() -> None:
    outcome = Outcome(grouped(2), {"g": {0: 0.5, 1: 0.5, 6: 0.25, 7: 0.25}})
    assert len(outcome.carriers["g"]) == 1
    assert [len([i for i in outcome.gone["g"] if i // 6 == group]) for group in (0, 1)] == [1, 1]
    assert outcome.kept("g") == {7: EVEN}
    uneven = Outcome(grouped(2), {"g": {0: 0.5, 6: 0.25, 7: 0.3}})
    assert uneven.carriers == {"g": [7]}
    assert uneven.gone == {"g": [0, 6]}


def test_groups_that_pad_read_no_constant_but_zero() -> None:
    outcome = Outcome(grouped(2), {"c": {0: 0.5, 5: 0.5, 1: -1.0, 6: -1.0}})
    assert outcome.gone == {"c": [1, 6]}
    assert outcome.kept("c") == dict.fromkeys((0, 5), "conv2d reads its constant in groups, under zero padding")
    outcome = Outcome(grouped(4, padding=0), {"c": {0: 0.5, 2: 0.3, 4: -1.0, 6: 0.7}})
    assert outcome.gone == {"c": [0, 2, 4, 6]}


def test_transposed_convolutions() -> None:
    outcome = Outcome(deconvolved(10, 1), {"c": {0: 0.0, 1: 0.5}})
    assert outcome.gone == {"c": [0]}
    assert outcome.kept("c") == {1: "conv_transpose2d makes more of its constant than a constant"}
    holds = {"c": {0: 0.0, 1: 0.5, 2: 0.0}, "d": {0: 0.0, 1: 0.0, 4: 0.0, 5: 0.0}}
    outcome = Outcome(deconvolved(16, 8), holds)  # depthwise, two filters a channel
    assert outcome.gone == {"c": [0, 2], "d": [0, 1, 4, 5]}
    assert outcome.kept("c") == {1: ALIVE}


def test_a_concatenation_is_read_piece_by_piece() -> None:
    outcome = Outcome(JOINS["inception"](), {"c": {3: 0.0}, "c2": {1: -0.5}, "c3": {0: 0.5, 2: 0.25}})
    assert outcome.gone == {"c": [3], "c2": [1], "c3": [2]}
    assert outcome.carriers == {"c3": [0]}


def test_a_norm_on_a_concatenation_is_cut_with_it() -> None:
    outcome = Outcome(JOINS["dense"](), {"convs.0": {1: 0.0, 2: 0.0}})
    assert outcome.gone == {"convs.0": [1]}
    assert outcome.carriers == {"convs.0": [2]}


@pytest.mark.parametrize("linear", [True, False])
def test_a_gate_goes_with_a_channel_of_zeros(linear: bool) -> None:
    squeeze = (nn.Linear(8, 4), nn.Linear(4, 8)) if linear else (conv(8, 4, 1, bias=True), conv(4, 8, 1, bias=True))
    net = excited(*squeeze)
    outcome = Outcome(net, {"c": {1: -0.5, 4: 0.5}})
    assert outcome.gone == ({"c": [1]} if linear else {"c": [1], "e": [1]})
    assert outcome.kept("c") == {4: ALIVE}


def test_what_is_multiplied_by_zero_goes_unheld() -> None:
    parts = {"c": conv(), "b": norm(), "c2": conv(), "b2": norm(), "r": conv(8, 6)}
    wired = Wired(lambda m, x: m.r(first(m, x) * F.relu(m.b2(m.c2(x)))), **parts)
    outcome = Outcome(wired, {"c2": {3: -0.5}})
    assert outcome.gone == {"c": [3], "c2": [3]}
    assert outcome.cut.holds == {"c2": {3: -0.5}}


def test_a_layer_keeps_one_filter_of_its_own() -> None:
    outcome = Outcome(between(nn.ReLU), {"c": dict.fromkeys(range(8), -0.5)})
    assert outcome.gone == {"c": [1, 2, 3, 4, 5, 6, 7]}
    assert outcome.kept("c") == {0: NARROW}
    assert 0 not in outcome.cut.holds["c"]


def test_a_layer_of_constants_alone_is_read_to_the_end() -> None:
    net = read_by(lambda m, y: m.r(F.relu(m.b2(m.c2(y)))), c2=conv(8, 8, padding=0), b2=norm(), r=conv(8, 6))
    outcome = Outcome(net, {"c": dict.fromkeys(range(8), 0.5)})
    assert outcome.gone == {"c": [1, 2, 3, 4, 5, 6, 7]}
    assert outcome.kept("c") == {0: NARROW}


def test_a_least_width_and_what_is_worth_most() -> None:
    holds = {"c": dict.fromkeys((0, 2, 3, 4, 6, 7), -0.5)}
    outcome = Outcome(between(nn.ReLU), holds, min_width=4, worth={"c": {4: 2.0, 6: 1.0}})
    assert outcome.gone == {"c": [0, 2, 3, 7]}
    assert outcome.kept("c") == {4: NARROW, 6: NARROW}


def test_widths_are_rounded_up_in_coupled_layers_too() -> None:
    net = JOINS["residual"]()
    dead = dict.fromkeys((0, 2, 3, 4, 6), -1.0)
    outcome = Outcome(net, {"c": dead, "c3": dead, "c5": dead, "c2": {0: -1.0}, "c4": {0: -1.0, 3: -1.0}}, round_to=4)
    assert {key: len(gone) for key, gone in outcome.gone.items()} == {"c": 4, "c3": 4, "c5": 4, "c4": 2}
    assert outcome.gone["c"] == outcome.gone["c3"] == [2, 3, 4, 6]
    assert outcome.kept("c2") == {0: "the width is rounded up"}


def test_scattered_filters_leave_a_multiple_too() -> None:
    holds = {"c": {0: -1.0, 2: -1.0, 3: 0.5}}
    net = JOINS["residual"]()
    outcome = Outcome(net, holds, may_scatter=scattering, round_to=2, worth={"c": {2: 1.0}})
    assert outcome.cut.scattered == {"c": [0, 3]}
    assert set(outcome.kept("c")) == {2}
    asked: list[tuple[str, int]] = []
    Outcome(JOINS["residual"](), holds, may_scatter=lambda layer, gone: bool(asked.append((layer.key, gone))))
    assert ("c", 3) in asked


def test_what_cannot_be_scattered() -> None:
    norms = (nn.GroupNorm(2, 8), nn.InstanceNorm2d(8), nn.BatchNorm2d(8, track_running_stats=False))
    makes: dict[str, Make] = {
        type(part).__name__: lambda part=part: Wired(lambda m, x: m.r(m.b(m.c(x))), c=conv(), b=part, r=conv(8, 6))
        for part in norms
    }
    names = "grouped transposed_groups called_twice one_norm_for_two norm_called_twice tied weight_norm several_outputs"
    makes |= {name: (JOINS | SHARING)[name] for name in [*names.split(), "slopes_between"]}
    keys = {**dict.fromkeys(makes, "c"), "grouped": "g", "transposed_groups": "d", "called_twice": "c2", "tied": "c3"}
    keys |= {"weight_norm": "c2", "several_outputs": "c2"}
    holds = {f"rows.{name}.{keys[name]}": {0: 0.5, 1: 0.5} for name in makes}
    outcome = Outcome(Side(makes), holds, may_scatter=scattering)
    assert not outcome.cut.scattered
    assert not outcome.gone.keys() - {"rows.slopes_between.c"}


@pytest.mark.parametrize(
    ("reader", "said"),
    [
        (lambda: Biasless(8, 6, 3, bias=False), "conv2d has no bias that could take its constant over"),
        (lambda: nn.ConvTranspose2d(8, 6, 3), "conv_transpose2d makes more of its constant than a constant"),
    ],
)
def test_readers_that_cannot_make_up_for_a_constant(reader: Make, said: str) -> None:
    outcome = Outcome(read_by(lambda m, y: m.r(y), r=reader()), {"c": {0: 0.5, 1: 0.5, 2: -1.0}})
    assert outcome.gone == {"c": [2]}
    assert outcome.kept("c") == {0: said, 1: said}


def test_a_layer_that_is_called_twice_takes_no_constant_over() -> None:
    holds = {"c": {0: 0.5, 1: -1.0}, "c2": {0: 0.25, 1: -1.0}}
    outcome = Outcome(SHARING["called_on_two"](), holds)
    assert outcome.gone == {"c": [1], "c2": [1]}
    assert outcome.kept("c") == {0: "a layer that is called several times reads its constant"}


def test_a_norm_of_two_layers_carries_where_both_hold_one_value() -> None:
    both = {"c": {0: 0.5, 1: 0.3, 2: -1.0}, "c2": {0: 0.5, 1: 0.3, 2: -1.0}}
    outcome = Outcome(SHARING["one_norm_for_two"](), both)
    assert outcome.gone == {"c": [1, 2], "c2": [1, 2]}
    assert outcome.carriers == {"c": [0], "c2": [0]}
    unlike = {"c": {0: 0.5, 1: 0.3, 2: -1.0}, "c2": {0: 0.4, 1: 0.2, 2: -1.0}}
    outcome = Outcome(SHARING["one_norm_for_two"](), unlike)
    assert outcome.gone == {"c": [2], "c2": [2]}
    assert outcome.kept("c") == dict.fromkeys((0, 1), "under zero padding no other constant can make up for it")


def test_one_refusal_does_not_stop_the_rest() -> None:
    net = read_by(lambda m, y: m.r(F.relu(m.b2(m.c2(torch.softmax(y, 1))))), c2=conv(8, 8), b2=norm(), r=conv(8, 6))
    outcome = Outcome(net, {"c": {0: -1.0}, "c2": {0: -1.0}})
    assert outcome.gone == {"c2": [0]}
    assert outcome.kept("c") == {0: "softmax is not understood"}


def test_the_logits_stay() -> None:
    net = Wired(lambda m, x: m.r(first(m, x)).mean((2, 3)), c=conv(), b=norm(), r=conv(8, 6))
    outcome = Outcome(net, {"c": {0: -1.0}, "r": {0: 0.5}}, may_scatter=scattering)
    assert outcome.gone == {"c": [0]}
    assert outcome.kept("r") == {0: "it is the network's own output"}
