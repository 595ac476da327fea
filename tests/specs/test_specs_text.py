"""Numbers, slugs, one-line settings, and TOML that reads back as the same spec."""

from __future__ import annotations

import math
import random
import re
import tomllib

import pytest

from sparsity_audit.schema.spec import ZooSpec
from sparsity_audit.schema.study import PrintedValues
from sparsity_audit.specs.describe import percent, printed_line, settings_line
from sparsity_audit.specs.load import load_spec
from sparsity_audit.specs.slug import short_number, slug
from sparsity_audit.specs.toml_text import spec_toml


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1e-3, "1e-3"),
        (0.0005, "5e-4"),
        (1e-8, "1e-8"),
        (0.00125, "1.25e-3"),
        (0.1, "0.1"),
        (0.5, "0.5"),
        (1.0, "1"),
        (12.0, "12"),
        (100, "100"),
        (0.0, "0"),
        (1e5, "1e5"),
        (-0.1, "-0.1"),
        (-1e-3, "-1e-3"),
        (math.inf, "inf"),
    ],
)
def test_numbers(value, text):
    assert short_number(value) == text


def test_numbers_read_back_exactly():
    dice = random.Random(3)  # noqa: S311
    for _ in range(2000):
        value = dice.uniform(-1, 1) * 10 ** dice.randrange(-300, 300)
        assert float(short_number(value)) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("Leaky_ReLU", "leaky-relu"),
        ({"name": "sgd", "lr": 0.05}, "sgd-5e-2"),
        ([512, 256], "512-256"),
        ([], "none"),
        ({}, "none"),
        (True, "true"),
        (-0.1, "0.1"),
        ("imagefolder:/a b", "imagefolder-a-b"),
        ("ß", "none"),
    ],
)
def test_slugs(value, text):
    assert slug(value) == text
    assert re.fullmatch(r"[a-z0-9][a-z0-9.-]*", text)


TRAINED = [
    ([], "basicnet 8-0.125x head 32, digits, adam 5e-4, l2 1e-3 on weights, batch 40, 100 iterations"),
    (
        ["network.name=vgg16", "data.name=cifar10", "optimizer.name=sgd", "regularizer.kind=none"],
        "vgg16, cifar10, sgd 0.1, no regularizer, batch 40, 100 iterations, no flips",
    ),
    (
        ["network.activation=leaky_relu", "init.beta=-0.1", "lr_multipliers.gamma=10", "regularizer.on=all"],
        "basicnet 8-0.125x head 32 leaky_relu 1e-2, digits, adam 5e-4, l2 1e-3, batch 40, 100 iterations, "
        "β from -0.1, γ rate × 10",
    ),
    (
        ["network={name='basicnet', first=32, head=[]}", "init={weights='default', gamma=0.5}", "optimizer.eps=1e-5"],
        "basicnet 32 head none, digits, adam 5e-4, l2 1e-3 on weights, batch 40, 100 iterations, "
        "default init, γ from 0.5",
    ),
]


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(("sets", "line"), TRAINED)
def test_settings_in_one_line(sets, line):
    assert settings_line(load_spec("own.toml", sets).spec) == line


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize("sets", [sets for sets, _ in TRAINED])
def test_toml_reads_back_as_the_same_spec(sets):
    spec = load_spec("own.toml", sets).spec
    text = spec_toml(spec)
    again = ZooSpec.model_validate(tomllib.loads(text))
    assert again == spec
    assert again.digest() == spec.digest()
    assert spec_toml(again) == text


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize("name", ['a"b\\c', "tab\tnew\nline\x00\x1b\x7f\x85", "Maße/日本/😀", "'''", ""])
def test_any_text_survives_in_toml(name):
    spec = load_spec("own.toml").spec
    odd = spec.model_copy(update={"data": spec.data.model_copy(update={"name": name})})
    assert ZooSpec.model_validate(tomllib.loads(spec_toml(odd))) == odd


@pytest.mark.usefixtures("own")
def test_whole_numbers_stay_floats_where_they_were():
    content = tomllib.loads(spec_toml(load_spec("own.toml", ["optimizer.lr=1", "schedule.factor=1"]).spec))
    assert isinstance(content["optimizer"]["lr"], float)
    assert isinstance(content["schedule"]["factor"], float)
    assert isinstance(content["batch_size"], int)


def test_printed_numbers():
    printed = PrintedValues(by_scale=0.07, error=0.285, train_loss=0.29, layers=[0.59, 0.0], filters_pruned=3016)
    assert printed_line(printed) == (
        "7 % inactive by scale, error 28.5 %, training loss 0.29, by scale layer by layer 59 0 %, 3016 filters pruned"
    )
    assert printed_line(PrintedValues()) == ""
    assert (percent(0.1053), percent(0.57), percent(None), percent(0.0)) == ("10.53", "57", "", "0")
    everything = {name: [0.5] if name == "layers" else 0.5 for name in PrintedValues.model_fields}
    everything["filters_pruned"] = 5
    assert printed_line(PrintedValues.model_validate(everything)).count(",") == len(PrintedValues.model_fields) - 1
