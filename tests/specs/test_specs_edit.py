"""Changes by dotted key and by table, and ``key=value`` texts."""

from __future__ import annotations

import copy
import itertools
import tomllib
from pathlib import Path

import pytest

from sparsity_audit.errors import UsageError
from sparsity_audit.specs.edit import anchored, edited, parsed_sets

BASE = {
    "network": {"name": "basicnet", "first": 8, "width": 0.125, "head": [32], "activation": "leaky_relu"},
    "data": {"name": "digits", "test_size": 397, "split_seed": 3, "flip": False, "resize": 64, "crop": 56},
    "optimizer": {"name": "adam", "lr": 5e-4, "betas": [0.8, 0.9]},
    "regularizer": {"kind": "l2", "strength": 1e-3, "on": "weights"},
    "batch_size": 40,
}


@pytest.mark.parametrize(
    ("changes", "section", "expected"),
    [
        ({"optimizer.lr": 0.01}, "optimizer", {"name": "adam", "lr": 0.01, "betas": [0.8, 0.9]}),
        ({"optimizer.name": "sgd"}, "optimizer", {"name": "sgd"}),
        ({"optimizer.name": "adam"}, "optimizer", BASE["optimizer"]),
        ({"optimizer.name": "sgd", "optimizer.lr": 0.3}, "optimizer", {"name": "sgd", "lr": 0.3}),
        ({"optimizer": {"name": "sgd"}}, "optimizer", {"name": "sgd"}),
        ({"optimizer": {"name": "adam"}}, "optimizer", {"name": "adam"}),
        ({"optimizer": {"name": "sgd", "lr": 1.0}, "optimizer.lr": 0.3}, "optimizer", {"name": "sgd", "lr": 0.3}),
        (
            {"optimizer": {"name": "sgd", "lr": 1.0}, "optimizer.name": "adam"},
            "optimizer",
            {"name": "adam", "lr": 1.0},
        ),
        ({"regularizer.kind": "wd"}, "regularizer", {"kind": "wd", "strength": 1e-3, "on": "weights"}),
        ({"regularizer.kind": "none"}, "regularizer", {"kind": "none", "on": "weights"}),
        (
            {"regularizer.kind": "none", "regularizer.strength": 0.5},
            "regularizer",
            {"kind": "none", "strength": 0.5, "on": "weights"},
        ),
        ({"regularizer": {"kind": "wd"}}, "regularizer", {"kind": "wd"}),
        ({"network.name": "vgg16"}, "network", {"name": "vgg16", "activation": "leaky_relu"}),
        (
            {"network.name": "vgg16", "network.head": [64]},
            "network",
            {"name": "vgg16", "head": [64], "activation": "leaky_relu"},
        ),
        ({"data.name": "cifar10"}, "data", {"name": "cifar10", "flip": False}),
        (
            {"data.name": "cifar10", "data.flip": True, "data.split_seed": 1},
            "data",
            {"name": "cifar10", "flip": True, "split_seed": 1},
        ),
        ({"batch_size": 80}, "batch_size", 80),
        ({"observe.history_every": 5}, "observe", {"history_every": 5}),
        ({"optimiser.lr": 1}, "optimiser", {"lr": 1}),
    ],
)
def test_one_edit_changes_its_section_and_nothing_else(changes, section, expected):
    untouched = copy.deepcopy(BASE)
    for order in itertools.permutations(changes.items()):
        result = edited(BASE, dict(order))
        assert result[section] == expected
        assert {key: result[key] for key in BASE if key != section} == {
            key: BASE[key] for key in BASE if key != section
        }
    assert untouched == BASE


def test_results_share_nothing_with_what_they_were_made_of():
    table = {"name": "sgd", "lr": 0.1}
    result = edited(BASE, {"optimizer": table, "optimizer.momentum": 0.5})
    result["network"]["head"].append(1)
    assert table == {"name": "sgd", "lr": 0.1}
    assert BASE["network"]["head"] == [32]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"batch_size.x": 1}, "batch_size.x: batch_size is no table"),
        ({"optimizer.betas.0": 1}, "optimizer.betas.0: optimizer.betas is no table"),
        ({"observe.x.y": 1, "observe.x": 2}, "observe.x is no table"),
        ({"optimizer": "sgd", "optimizer.lr": 1}, "optimizer is no table"),
        ({"optimizer..lr": 1}, "empty key"),
        ({"": 1}, "empty key"),
    ],
)
def test_bad_keys(changes, said):
    with pytest.raises(ValueError, match=said):
        edited(BASE, changes)


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("optimizer.lr=0.01", "optimizer.lr", 0.01),
        ("optimizer.lr = 1e-2", "optimizer.lr", 0.01),
        ("optimizer.name=sgd", "optimizer.name", "sgd"),
        ('network.activation="leaky_relu"', "network.activation", "leaky_relu"),
        ("schedule.milestones=[]", "schedule.milestones", []),
        ("data.flip=true", "data.flip", True),
        ('optimizer={name = "sgd", lr = 0.5}', "optimizer", {"name": "sgd", "lr": 0.5}),
        ("data.name=parquet:/a=b", "data.name", "parquet:/a=b"),
        ("batch_size=1\nseed=2", "batch_size", "1\nseed=2"),
        ("data.name=", "data.name", ""),
        ("data.name=" + "[" * 5000, "data.name", "[" * 5000),
    ],
)
def test_texts_of_set(text, key, value):
    assert parsed_sets([text]) == {key: value}


def test_the_later_of_two_texts_wins():
    assert parsed_sets(["seed=1", "batch_size=2", "seed=3"]) == {"seed": 3, "batch_size": 2}


@pytest.mark.parametrize("text", ["optimizer.lr", "=3", ".lr=3", "optimizer.=3", ""])
def test_bad_texts_of_set(text):
    with pytest.raises(UsageError, match="--set") as failure:
        parsed_sets([text])
    assert repr(text) in str(failure.value)
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("imagefolder:photos", "imagefolder:/home/of/specs/photos"),
        ("parquet:../x", "parquet:/home/of/x"),
        ("parquet:/abs", "parquet:/abs"),
        ("./cifar-10", "/home/of/specs/cifar-10"),
        ("imagefolder:", "imagefolder:"),
        ("imagefolder:~nobody-of-this-name/x", "imagefolder:~nobody-of-this-name/x"),
        ("cifar10", "cifar10"),
        (3, 3),
    ],
)
def test_paths_of_data_start_from_the_folder(name, expected):
    folder = Path("/home/of/specs")
    assert anchored({"data": {"name": name, "flip": True}}, folder) == {"data": {"name": expected, "flip": True}}
    assert anchored({"data.name": name, "seed": 1}, folder) == {"data.name": expected, "seed": 1}
    assert anchored({"data": "x/y"}, folder) == {"data": "x/y"}


def test_home_folders_are_found(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert anchored({"data.name": "parquet:~/x"}, Path("/elsewhere")) == {"data.name": "parquet:/home/me/x"}


def test_tables_of_toml_replace_a_section_too():
    changes = tomllib.loads('set = { regularizer = { kind = "wd" }, "optimizer.lr" = 1.0 }')["set"]
    result = edited(BASE, changes)
    assert (result["regularizer"], result["optimizer"]["lr"]) == ({"kind": "wd"}, 1.0)
