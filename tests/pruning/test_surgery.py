"""Slim networks compute what the originals compute whose filters are held, and the originals stay as they are."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import pytest
import torch
from cut_joins import JOINS
from cut_nets import (
    BETWEEN,
    BREAKING,
    PINNING,
    READERS,
    SHAPE,
    Make,
    Side,
    Wired,
    between,
    conv,
    held_outputs,
    images,
    norm,
    pooled,
    prepared,
    random_holds,
    read_by,
)
from cut_sharing import SHARING
from torch import Tensor, nn

from sparsity_audit.graph.feature_graph import FeatureGraph, build_graph
from sparsity_audit.graph.parameters import tensors_in
from sparsity_audit.models.slim import resize
from sparsity_audit.pruning.holds import Holds
from sparsity_audit.pruning.structure import CutOptions
from sparsity_audit.slimming.slim import Slim, slim_module

LARGER = (3, 13, 10)

ROWS: dict[str, dict[str, Make]] = {
    "padded": {
        name: lambda make=make, width=width: between(make, width)
        for name, (make, width) in {
            **{name: (make, 8) for name, make in {**BETWEEN, **BREAKING}.items()},
            **{name: (make, width) for name, (make, width, _) in PINNING.items()},
        }.items()
    },
    "unpadded": {
        name: lambda make=make: between(make, padding=0) for name, make in {**BETWEEN, **BREAKING}.items()
    }
    | {name: lambda make=make: read_by(lambda m, y: m.r(y), r=make()) for name, make in READERS.items()},
    "joins": JOINS,
    "sharing": SHARING,
}
OPTIONS: dict[str, CutOptions] = {
    "plain": CutOptions(),
    "scattered": CutOptions(may_scatter=lambda _layer, _gone: True),
    "rounded": CutOptions(round_to=4, may_scatter=lambda _layer, _gone: True),
    "wide": CutOptions(min_width=3, worth={"rows.residual.c": {1: 2.0, 4: 1.0}}),
}


@cache
def side(kind: str) -> tuple[nn.Module, FeatureGraph]:
    net = made(kind)
    return net, build_graph(net, SHAPE)


def made(kind: str) -> nn.Module:
    torch.manual_seed(0)
    return prepared(Side(ROWS[kind]))


def state(net: nn.Module) -> dict[str, Any]:
    """Return everything of a network that a cut could change."""
    flags = {path: part.training for path, part in nn.Module.named_modules(net)}
    wanted = {name: parameter.requires_grad for name, parameter in nn.Module.named_parameters(net)}
    values = {name: (value.clone(), value.data_ptr()) for name, value in nn.Module.state_dict(net).items()}
    return {"training": flags, "requires_grad": wanted, "values": values}


def assert_same(before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    assert before["training"] == after["training"]
    assert before["requires_grad"] == after["requires_grad"]
    assert before["values"].keys() == after["values"].keys()
    for name, (value, place) in before["values"].items():
        assert torch.equal(value, after["values"][name][0]), name
        assert place == after["values"][name][1], name


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


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("kind", ROWS)
def test_slim_is_the_held_original(kind: str, options: str) -> None:
    net, graph = side(kind)
    before = state(net)
    for seed in (1, 2):
        holds = random_holds(graph, seed)
        slim = slim_module(net, graph, holds, OPTIONS[options])
        names = list(ROWS[kind]) if kind != "sharing" else None
        assert_exact(graph, slim.cut.holds, slim.exact, images(), names)
        kept = {key: set(values) - set(slim.cut.holds.get(key, {})) for key, values in holds.items()}
        assert {key: set(why) for key, why in slim.cut.held_back.items()} == {k: v for k, v in kept.items() if v}
        assert all(slim.cut.holds[key][i] == holds[key][i] for key in slim.cut.holds for i in slim.cut.holds[key])
    assert_same(before, state(net))
