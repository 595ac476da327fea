"""The shipped specs and studies: they resolve to what their ids say, agree with each other, and can be trained."""

from __future__ import annotations

import math
import re
from collections import Counter
from functools import cache
from typing import Any

import pytest

from sparsity_audit.resources import packaged
from sparsity_audit.schema.spec import ZooSpec
from sparsity_audit.specs.budget import decay_budget
from sparsity_audit.specs.load import load_spec
from sparsity_audit.specs.study import expand, load_study

BASES = (
    "basicnet-cifar10 basicnet-cifar100 basicnet-tinyimagenet basicnet-imagenet vgg16-cifar10 vgg16-cifar100 "
    "vgg16-tinyimagenet vgg16-imagenet vgg11-imagenet vgg19-cifar10 vgg19-cifar100"
).split()
DIGITS = (
    "adam-l2 adam-wd sgd-l2 sgd-wd adam-none adadelta-l2 adagrad-l2 amsgrad-l2 rmsprop-l2 adamax-l2 adam-gamma-l1"
).split()
QUARTER = (
    "10-adam-l2 10-adam-wd 10-sgd-l2 10-sgd-wd 10-adam-l2-1e-4 10-adam-none 10-amsgrad-l2 "
    "100-adam-l2 100-adam-wd 100-sgd-l2 100-adam-l2-1e-4"
).split()
SMALL = [f"digits-{name}" for name in DIGITS] + [f"cifar-quarter-{name}" for name in QUARTER]
TABLES = [f"table{n}" for n in range(1, 11)] + ["table8-imagenet"] + [f"supplement-table{n}" for n in range(1, 5)]
OWN_STUDIES = ["cifar-quarter-seeds", "cifar-quarter-study", "digits-study"]
"""Comparisons that a CPU trains; the rest are the paper's tables."""

IMAGES = {"cifar10": 50_000, "cifar100": 50_000, "tinyimagenet": 100_000, "imagenet": 1_281_167}
SEEDS = {"cifar10": [0, 1, 2], "cifar100": [0, 1, 2], "tinyimagenet": [0, 1], "imagenet": [0]}
"""Runs that the paper averages over (supplement Sec. 4)."""
RATES = {"sgd": 0.1, "adam": 1e-3, "adadelta": 1.0, "adagrad": 1e-2, "amsgrad": 1e-3, "rmsprop": 1e-3, "adamax": 2e-3}
"""Sec. 2.1 and supplement Figure 3."""
STEPS = {
    ("basicnet", "cifar"): (406_250, [312_500]),
    ("vgg16", "cifar"): (406_250, [312_500]),
    ("vgg19", "cifar"): (406_250, [312_500]),
    ("basicnet", "tinyimagenet"): (1_000_000, [625_000, 812_500]),
    ("vgg16", "tinyimagenet"): (1_000_000, [625_000, 812_500]),
    ("basicnet", "imagenet"): (800_760, [300_285, 600_570]),
    ("vgg11", "imagenet"): (1_281_180, [640_590, 1_067_650]),
    ("vgg16", "imagenet"): (1_601_500, [640_600, 1_281_200]),
}
"""Epochs of supplement Sec. 4 times the steps of an epoch at the batch size given there: total, milestones."""


def names(folder: str = "") -> list[str]:
    place = packaged("zoo").joinpath(folder) if folder else packaged("zoo")
    files = [entry.name for entry in place.iterdir() if entry.name != "claims.toml"]
    return sorted(name.removesuffix(".toml") for name in files if name.endswith(".toml"))


@cache
def first_runs() -> dict[str, ZooSpec]:
    """Return every row of the paper's tables with its first seed, 0."""
    runs = [run for name in TABLES for run in expand(load_study(name))]
    return {run.row_id: run.spec for run in runs if run.seed == 0}


def steps(spec: ZooSpec) -> tuple[int, list[int]]:
    """Return all steps and the steps of the milestones; a last short batch is a step."""
    epoch = math.ceil(IMAGES[spec.data.name] / spec.batch_size) if spec.schedule.unit == "epochs" else 1
    return spec.schedule.total * epoch, [milestone * epoch for milestone in spec.schedule.milestones]


def test_what_is_shipped() -> None:
    assert names() == sorted(BASES + SMALL)
    assert names("studies") == sorted(TABLES + OWN_STUDIES)


def test_every_id_is_used_once() -> None:
    studies = [load_study(name).spec for name in names("studies")]
    ids = names() + names("studies") + [row.id for study in studies for row in study.row]
    ids += [row.id for study in studies for row in study.reference]
    assert [name for name, count in Counter(ids).items() if count > 1] == []


@pytest.mark.parametrize("name", BASES)
def test_a_base_is_the_papers_usual_training(name: str) -> None:
    network, data = name.split("-")
    spec = load_spec(name).spec
    assert (spec.network.name, spec.data.name) == (network, data)
    assert spec.network.head is None
    assert spec.optimizer.model_dump() == {
        "name": "adam",
        "lr": 1e-4 if data == "imagenet" else 1e-3,
        "betas": [0.9, 0.99],
        "eps": 1e-8,
    }
    assert (spec.regularizer.kind, spec.regularizer.strength, spec.regularizer.on) == ("l2", 1e-4, "all")
    assert spec.batch_size == {"vgg19": 64, "basicnet-imagenet": 64, "vgg11": 60}.get(
        name if name == "basicnet-imagenet" else network, 40
    )
    assert (spec.data.flip, spec.init.weights) == (True, "xavier")
    assert (spec.data.resize, spec.data.crop) == ((256, 224) if data == "imagenet" else (None, None))


def test_every_training_of_a_network_on_a_data_set_has_the_same_steps() -> None:
    """So batch sizes compare at equal iterations (Sec. 4)."""
    found = [(name, load_spec(name).spec) for name in BASES]
    found += first_runs().items()
    for name, spec in found:
        family = "cifar" if spec.data.name.startswith("cifar") else spec.data.name
        assert steps(spec) == STEPS[spec.network.name, family], name
        assert spec.schedule.factor == 0.1, name


@pytest.mark.parametrize("study", TABLES)
def test_a_row_is_what_its_id_says(study: str) -> None:
    spec = load_study(study).spec
    for row in spec.row:
        run = first_runs()[row.id]
        assert row.id.startswith(f"{study.removesuffix('-imagenet')}-{run.data.name}"), row.id
        assert spec.seeds == SEEDS[run.data.name], row.id
        assert settings(run) == said(row.id), row.id


def said(row_id: str) -> dict[str, Any]:
    """Return what a row's id tells of its settings; what it leaves out is the paper's usual."""

    def part(pattern: str) -> list[str]:
        found = re.search(pattern, row_id)
        return [group or "" for group in found.groups()] if found else []

    name = (part(r"-(sgd|adam|adadelta|adagrad|amsgrad|rmsprop|adamax)-") or ["adam"])[0]
    kind, strength = part(r"-(l2|wd)-(0|\de-\d)(?=-|$)") or ("l2", "1e-4")
    batch = part(r"-b(\d+)$") or ["40"]
    first, width = part(r"-(\d+)-([\d.]+)x$") or ("64", "1")
    slope = part(r"-leaky-([\d.]+)-")
    sign, beta = part(r"-beta-init-(minus-)?([\d.]+)$") or ("", "0")
    told: dict[str, Any] = {
        "optimizer": name,
        "lr": 1e-4 if "-imagenet-" in row_id else RATES[name],
        "kind": kind,
        "strength": float(strength),
        "slope": float(slope[0]) if slope else None,
        "beta": -float(beta) if sign else float(beta),
        "gamma_rate": 1.0,
        "beta_rate": 1.0,
        "batch_size": int(batch[0]),
        "width": (int(first), float(width)),
    }
    if rate := part(r"-(gamma|beta)-lr-([\d.]+)$"):
        told[f"{rate[0]}_rate"] = float(rate[1])
    return told


def settings(spec: ZooSpec) -> dict[str, Any]:
    return {
        "optimizer": spec.optimizer.name,
        "lr": spec.optimizer.lr,
        "kind": spec.regularizer.kind,
        "strength": spec.regularizer.strength,
        "slope": spec.network.negative_slope if spec.network.activation == "leaky_relu" else None,
        "beta": spec.init.beta,
        "gamma_rate": spec.lr_multipliers.gamma,
        "beta_rate": spec.lr_multipliers.beta,
        "batch_size": spec.batch_size,
        "width": (spec.network.first or 64, spec.network.width or 1.0),
    }


@pytest.mark.parametrize(
    "same",
    [
        "table1-cifar100-adam-l2-1e-3 table2-cifar100-adam-l2-1e-3 table3-cifar100-adam-l2-1e-3-b40 "
        "supplement-table2-cifar100-adam-l2-1e-3",
        "basicnet-cifar100 table1-cifar100-adam-l2-1e-4 table2-cifar100-adam-l2-1e-4 "
        "table3-cifar100-adam-l2-1e-4-b40 table4-cifar100-64-1x supplement-table2-cifar100-adam-l2-1e-4 "
        "supplement-table3-cifar100-baseline",
        "basicnet-cifar10 table1-cifar10-adam-l2-1e-4 supplement-table1-cifar10-adam-l2-1e-4 "
        "table3-cifar10-adam-l2-1e-4-b40 table4-cifar10-64-1x",
        "table1-cifar10-sgd-wd-5e-4 supplement-table1-cifar10-sgd-wd-5e-4",
        "table1-cifar100-adam-wd-2e-4 table2-cifar100-adam-wd-2e-4",
        "supplement-table2-cifar100-amsgrad-l2-1e-4 supplement-table4-cifar100-amsgrad-l2-1e-4",
        "basicnet-tinyimagenet table5-tinyimagenet-adam-b40",
        "basicnet-imagenet table6-imagenet-b64",
        "vgg16-cifar10 table7-cifar10-b40",
        "vgg16-cifar100 table7-cifar100-b40",
        "vgg16-tinyimagenet table8-tinyimagenet-b40",
        "vgg16-imagenet table8-imagenet-b40",
        "vgg11-imagenet table9-imagenet-b60",
        "vgg19-cifar100 table10-cifar100-b64",
    ],
)
def test_the_same_training_has_one_digest_whatever_table_it_stands_in(same: str) -> None:
    digests = {name: load_spec(name).spec.digest() for name in same.split()}
    assert len(set(digests.values())) == 1, digests


@pytest.mark.parametrize("study", TABLES)
def test_the_rows_of_a_table_are_different_trainings(study: str) -> None:
    digests = [first_runs()[row.id].digest() for row in load_study(study).spec.row]
    assert len(set(digests)) == len(digests)


def test_rows_with_reconstructed_settings_say_so() -> None:
    studies = [load_study(name).spec for name in TABLES]
    noted = {row.id for study in studies for row in study.row if row.note}
    open_ones = {name for name, spec in first_runs().items() if spec.optimizer.name in ("amsgrad", "rmsprop", "adamax")}
    assert len(open_ones) == 21
    assert noted >= open_ones | {"table5-tinyimagenet-sgd-b40"}


@pytest.mark.parametrize("name", SMALL)
def test_a_scaled_down_spec_is_what_its_id_says(name: str) -> None:
    data, optimizer, kind, strength = re.fullmatch(  # type: ignore[union-attr]
        r"(digits|cifar-quarter-10|cifar-quarter-100)-([a-z]+)-(l2|wd|none|gamma-l1)(?:-(\de-\d))?", name
    ).groups()
    spec = load_spec(name).spec
    assert spec.data.name == data.replace("-quarter-", "")
    assert (spec.optimizer.name, spec.optimizer.lr) == (optimizer, RATES[optimizer])
    assert spec.regularizer.kind == kind.replace("-", "_")
    assert spec.regularizer.strength == (0.0 if kind == "none" else float(strength or 1e-3))
    network = (spec.network.first, spec.network.width, spec.network.head)
    observed = (spec.observe.history_every, spec.observe.snapshots)
    if data == "digits":
        assert (network, steps_given(spec)) == ((8, 0.125, [32]), (12_000, [9_200]))
        assert observed == (250, [4000, 8000])
    else:
        assert (network, steps_given(spec)) == ((32, 0.25, None), (10_000, [7_700]))
        assert observed == (250, [2500, 5000, 7500])
    assert (spec.batch_size, spec.seed, spec.data.flip) == (40, 0, data != "digits")


def steps_given(spec: ZooSpec) -> tuple[int, list[int]]:
    assert spec.schedule.unit == "iterations"
    return spec.schedule.total, spec.schedule.milestones


@pytest.mark.parametrize("name", [name for name in SMALL if re.search("-wd$|-sgd-l2$", name)])
def test_a_scaled_down_spec_can_reach_the_threshold_by_decay_alone(name: str) -> None:
    """Every factor that the regulariser alone puts on a scale, one step after the other, takes 1 below 1e-3."""
    spec = load_spec(name).spec
    lr, strength, kind = spec.optimizer.lr, spec.regularizer.strength, spec.regularizer.kind
    momentum = spec.optimizer.model_dump().get("momentum", 0.0)
    scale, velocity = 1.0, 0.0
    for step in range(spec.schedule.total):
        rate = spec.schedule.scale(step, per_epoch=1)
        velocity = momentum * velocity + strength * scale
        scale = scale * (1 - strength * rate) if kind == "wd" else scale - lr * rate * velocity
    assert abs(scale) < 1e-3
    budget = strength * sum(spec.schedule.scale(step, per_epoch=1) for step in range(spec.schedule.total))
    assert budget * (1.0 if kind == "wd" else lr / (1 - momentum)) >= math.log(1 / 1e-3)


def test_the_first_shipped_specs_digest_stays() -> None:
    """Runs are found by it."""
    assert load_spec("digits-adam-l2").spec.digest().startswith("64e22487")


def test_own_studies_have_the_decay_budget_and_leave_snapshots() -> None:
    """From 1 to 1e-3 takes ln(1000) = 6.9 e-folds; an arm without them would be compared to no purpose."""
    for name in OWN_STUDIES:
        for run in expand(load_study(name)):
            budget = decay_budget(run.spec, math.ceil(IMAGES.get(run.spec.data.name, 1400) / run.spec.batch_size))
            assert budget is None or budget > math.log(1e3), run.row_id
            assert run.spec.observe.history_every
            assert run.spec.observe.snapshots
            assert run.spec.schedule.unit == "iterations"  # so batch sizes compare at equal steps
