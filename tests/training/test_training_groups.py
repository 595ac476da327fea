"""Who is trained alike, and regularised."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from training_nets import STRENGTH, fresh, give, spec

from sparsity_audit.schema.spec import ZooSpec
from sparsity_audit.training.optimizers import Updater, parameter_groups

WEIGHTS = {"conv.weight", "conv.bias", "linear.weight", "linear.bias"}
GAMMA = {"norm.weight", "norm1d.weight"}
BETA = {"norm.bias", "norm1d.bias"}


@pytest.mark.parametrize(
    ("kind", "on", "reached"),
    [
        ("l2", "all", WEIGHTS | GAMMA | BETA),
        ("l2", "weights", WEIGHTS),
        ("l2", "norm", GAMMA | BETA),
        ("wd", "all", WEIGHTS | GAMMA | BETA),
        ("wd", "weights", WEIGHTS),
        ("wd", "norm", GAMMA | BETA),
        ("gamma_l1", "all", GAMMA),
        ("none", "all", set()),
    ],
)
def test_what_a_regulariser_is_on(kind: str, on: str, reached: set[str]) -> None:
    net = fresh()
    before = {path: parameter.detach().clone() for path, parameter in net.named_parameters()}
    give(net, {path: torch.zeros_like(value) for path, value in before.items()})
    the_spec = spec("sgd", kind, on=on)
    groups = parameter_groups(net, the_spec)
    Updater(the_spec, groups).step(1.0)
    changed = {path for path, parameter in net.named_parameters() if not torch.equal(parameter, before[path])}
    assert changed == reached
    told = {name for group in groups if group.record().strength for name in group.record().parameters}
    assert told == reached
    assert {group.kind for group in groups if not group.strength} <= {"none"}


def test_a_parameter_without_a_gradient_is_no_obstacle_to_gamma_l1() -> None:
    net = fresh()
    before = net.norm1d.weight.detach().clone()
    net.norm.weight.grad = torch.zeros(4)
    the_spec = spec("sgd", "gamma_l1", optimizer={"momentum": 0.0})
    gamma = net.norm.weight.detach().clone()
    Updater(the_spec, parameter_groups(net, the_spec)).step(1.0)
    assert torch.equal(net.norm1d.weight, before)
    assert torch.allclose(net.norm.weight, gamma - 0.1 * STRENGTH * gamma.sign(), atol=1e-7)


class Mixed(nn.Module):
    """Norms of all kinds, a module used twice, weights that are tied, a bare parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 6)
        self.second = nn.Linear(6, 6, bias=False)
        self.second.weight = self.first.weight
        self.group = nn.GroupNorm(2, 6)
        self.layer = nn.LayerNorm(6)
        self.layer_without_beta = nn.LayerNorm(6, bias=False)
        self.instance = nn.InstanceNorm2d(6, affine=True)
        self.instance_plain = nn.InstanceNorm2d(6)
        self.batch = nn.BatchNorm3d(6)
        self.batch_plain = nn.BatchNorm2d(6, affine=False)
        self.again = nn.ModuleList([self.group, nn.Embedding(3, 6)])
        self.scale = nn.Parameter(torch.ones(6))


def test_every_parameter_stands_in_exactly_one_group() -> None:
    net = Mixed()
    groups = {group.role: group for group in parameter_groups(net, spec("adam", "l2", on="norm"))}
    names = {which: set(group.names) for which, group in groups.items()}
    assert names == {
        "weights": {"scale", "first.weight", "first.bias", "again.1.weight"},
        "gamma": {f"{norm}.weight" for norm in ("group", "layer", "layer_without_beta", "instance", "batch")},
        "beta": {f"{norm}.bias" for norm in ("group", "layer", "instance", "batch")},
    }
    held = [id(parameter) for group in groups.values() for parameter in group.parameters]
    assert sorted(held) == sorted(id(parameter) for parameter in net.parameters())
    known = dict(net.named_parameters())
    for group in groups.values():
        assert all(known[name] is found for name, found in zip(group.names, group.parameters, strict=True))
    assert list(groups["weights"].names) == [name for name in known if name in names["weights"]]


def test_small_decay_is_not_lost_in_rounding() -> None:
    """The factor 1 − 1e-5 is not a float32: rounded, it would decay by another λ."""
    net = nn.Linear(200, 200, bias=False)
    base = spec("sgd", "wd").model_dump()
    the_spec = ZooSpec.model_validate({**base, "regularizer": {"kind": "wd", "strength": 1e-5}})
    updater = Updater(the_spec, parameter_groups(net, the_spec))
    before = net.weight.detach().double()
    for _ in range(1000):
        updater.step(1.0)
    folds = -torch.log(net.weight.detach().double() / before).median().item()
    assert folds == pytest.approx(1000 * 1e-5, rel=2e-4)


def test_tied_weights_are_decayed_once() -> None:
    net = Mixed()
    before = net.first.weight.detach().clone()
    the_spec = spec("sgd", "wd")
    Updater(the_spec, parameter_groups(net, the_spec)).step(0.5)
    assert torch.allclose(net.second.weight, before * (1 - STRENGTH * 0.5), rtol=1e-6)


def test_roles_without_parameters_make_no_group() -> None:
    groups = parameter_groups(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, affine=False)), spec())
    assert [(group.role, group.names) for group in groups] == [("weights", ("0.weight", "0.bias"))]


def test_records_tell_rates_and_strengths() -> None:
    the_spec = spec("adam", "wd", on="weights", lr_multipliers={"gamma": 0.5})
    records = [group.record() for group in parameter_groups(fresh(), the_spec)]
    assert [(r.role, r.lr, r.regularizer, r.strength) for r in records] == [
        ("weights", 1e-3, "wd", STRENGTH),
        ("gamma", 5e-4, "none", 0.0),
        ("beta", 1e-3, "none", 0.0),
    ]
