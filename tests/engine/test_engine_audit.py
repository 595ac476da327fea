"""``audit()``: a file, a module in memory, arrays as images, rules as objects; the same as the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from sparsity_audit import Corpus, audit
from sparsity_audit.cli.main import exit_code
from sparsity_audit.engine.rulepacks import load_rules
from sparsity_audit.errors import CheckpointError, ConfigError, DataError, UsageError
from sparsity_audit.schema.rule import Rule

DIGITS_MODEL = Path(__file__).resolve().parents[2] / "zoo" / "checkpoints" / "digits-adam-l2.safetensors"
MINE = Rule(
    id="MINE001",
    name="mine",
    scope="model",
    measure="dead_fraction",
    args={"criterion": "scale"},
    error={"max": 0.1},
    summary="x",
)


@pytest.fixture
def net():
    """A network of one feature layer: filter 0 silent, filter 1 constant, the others alive."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 3),
    )
    with torch.no_grad():
        model[1].weight[:] = torch.tensor([0.0, 0.0, 1.0, 1.0])
        model[1].bias[:] = torch.tensor([-1.0, 0.5, 3.0, 3.0])
    return model


@pytest.fixture
def images():
    generator = np.random.default_rng(0)
    return Corpus.from_arrays(generator.integers(0, 256, (24, 8, 8, 3), dtype=np.uint8), np.arange(24) % 3)


def test_a_module_in_memory_is_audited_and_left_alone(net, images):
    net.train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    report = audit(net, images)
    assert net.training
    assert all(module.training for module in net.modules())
    assert all((before[name] == tensor).all() for name, tensor in net.state_dict().items())
    (model,) = report.models
    (layer,) = model.layers
    assert (layer.key, layer.scale, layer.activation, layer.constant) == ("0", [0, 1], [0], [1])
    assert layer.maximum[1] == layer.minimum[1] == pytest.approx(0.5)
    assert (model.corpus.name, model.corpus.images) == ("arrays", 24)
    assert model.normalisation.source == "corpus"
    assert model.coverage.fraction == 1.0
    assert report.exit_code == 1


def test_rules_are_packs_files_objects_alone_or_together(net, images, tmp_path):
    (tmp_path / "own.toml").write_text('extends = "default"\nselect = ["SA904"]')

    def ids(rules, **settings):
        return sorted({result.rule for result in audit(net, images, rules, **settings).results()})

    assert ids("weights-only") == ["SA101", "SA104", "SA106", "SA203", "SA904"]
    assert ids(tmp_path / "own.toml") == ["SA904"]
    assert ids(MINE) == ["MINE001"]
    assert ids([tmp_path / "own.toml", MINE]) == ["MINE001", "SA904"]
    assert ids("default", select=["SA1"], ignore=["SA101"]) == [f"SA10{i}" for i in range(2, 8)]


def test_a_rule_object_replaces_the_packs_of_the_same_id_and_limits_apply(net, images):
    (strict,) = [rule for rule in load_rules(["default"]) if rule.id == "SA101"]
    laxer = strict.model_copy(update={"warning": None, "error": MINE.error.model_copy(update={"max": 0.5})})
    results = audit(net, images, ["default", laxer], select=["SA101"]).results()
    assert [(result.rule, result.outcome) for result in results] == [("SA101", "passed")]
    assert audit(net, images, select=["SA101"]).exit_code == 1
    assert (
        audit(net, images, select=["SA101"], limits={"SA101": {"warning": False, "error": {"max": 0.5}}}).exit_code == 0
    )


def test_settings_go_where_the_flags_go(net, images):
    (model,) = audit(net, images, limit=10, seed=3, batch_size=4, mean=[0.5] * 3, std=[1.0] * 3).models
    assert (model.corpus.images, model.corpus.available, model.corpus.seed) == (10, 24, 3)
    assert model.normalisation.source == "option"


def test_the_same_as_the_command_line_on_the_same_input(tmp_path, capsys):
    out = tmp_path / "out.json"
    code = exit_code(["run", str(DIGITS_MODEL), "--data", "digits", "--limit", "200", "--json", str(out), "-q"])
    capsys.readouterr()
    report = audit(DIGITS_MODEL, "digits", limit=200)
    printed, own = json.loads(out.read_text()), json.loads(report.to_json())
    assert own["models"] == printed["models"]
    assert own["exit_code"] == printed["exit_code"] == code == 1
    assert report.config.rules == ["default"]


def test_a_file_without_data_is_read_alone():
    (model,) = audit(str(DIGITS_MODEL)).models
    assert model.totals.lost["scale"].filters == 65
    assert model.corpus is None


def test_what_is_refused(net, images, tmp_path):
    with pytest.raises(UsageError, match="give audit"):
        audit(net)
    with pytest.raises(CheckpointError, match=r"absent\.pth"):
        audit(tmp_path / "absent.pth")
    with pytest.raises(DataError, match="did you mean 'digits'"):
        audit(DIGITS_MODEL, "digts")
    with pytest.raises(ConfigError, match="did you mean 'limit'"):
        audit(net, images, limt=3)
    with pytest.raises(UsageError, match="json is for the command line"):
        audit(net, images, json="out.json")
    with pytest.raises(UsageError, match="device warp"):
        audit(net, images, device="warp")
    with pytest.raises(ConfigError, match="did you mean 'dead_fraction'"):
        audit(net, images, MINE.model_copy(update={"measure": "dead_fractoin"}))
    with pytest.raises(ConfigError, match="no limit"):
        audit(net, images, MINE.model_copy(update={"error": None}))
