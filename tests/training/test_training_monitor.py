"""The monitor of somebody else's loop: right against plain hooks and whole arrays, and never noticed by the model."""

from __future__ import annotations

import copy
import inspect
import random
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from monitored import (
    basicnet,
    basicnet_layers,
    by_hooks,
    check_point,
    digits,
    photographs,
    plant,
    small_net,
    train_step,
)
from torch import Tensor, nn

import sparsity_audit
from sparsity_audit import SparsityMonitor
from sparsity_audit.errors import CheckpointError, UsageError
from sparsity_audit.graph.feature_graph import build_graph
from sparsity_audit.training.history import History
from sparsity_audit.training.tracked import affine_values, tracked_layers


def resnet_layers(model: nn.Module) -> dict[str, tuple[str, bool]]:
    found = {"conv1": ("bn1", True)}
    for path, part in model.named_modules():
        if isinstance(part, torchvision.models.resnet.BasicBlock):
            found |= {f"{path}.conv1": (f"{path}.bn1", True), f"{path}.conv2": (f"{path}.bn2", False)}
            if part.downsample is not None:
                found[f"{path}.downsample.0"] = (f"{path}.downsample.1", False)
    return found


def test_basicnet_with_planted_filters_against_hooks() -> None:
    model, (images, labels) = basicnet(), digits(150)
    train_step(model, images[:40], labels[:40])
    plant(model)
    monitor = SparsityMonitor(model, every=2, probe=images)
    layers = basicnet_layers(model)
    assert len(layers) == 7
    before = by_hooks(model, layers, images)
    for _ in range(2):
        train_step(model, images[:40], labels[:40])
        monitor.step()
    assert monitor.history.steps == [0, 2]
    check_point(monitor.history, before, 0)
    check_point(monitor.history, by_hooks(model, layers, images), 1)
    latest, first = monitor.latest(), next(iter(layers))
    scales = torch.cat([model.get_submodule(norm).weight for norm, _ in layers.values()])
    assert latest["inactive_by_scale"] == (scales.abs() < 1e-3).sum() >= 7
    assert before[f"inactive/{first}"][[0, 2]].all()
    assert not before[f"inactive/{first}"][1]


def test_resnet_with_planted_filters_against_hooks() -> None:
    torch.manual_seed(0)
    model, images = torchvision.models.resnet18(num_classes=10), photographs(6, 32)
    model(images)
    plant(model)
    layers = resnet_layers(model)
    monitor = SparsityMonitor(model, probe=images)
    expected = by_hooks(model, layers, images)
    check_point(monitor.history, expected)
    assert {name.partition("/")[2] for name in monitor.history.names} == set(layers)
    assert len(layers) == 20
    latest = monitor.latest()
    assert latest["inactive_by_scale"] == 2 * 20
    assert latest["inactive_by_activation"] == sum(v.sum() for n, v in expected.items() if n.startswith("inactive"))
    active = [
        expected[f"universality/{key}"][~expected[f"inactive/{key}"]] for key, (_, fires) in layers.items() if fires
    ]
    assert latest["selectivity"] == pytest.approx(1 - np.concatenate(active).mean(), abs=1e-6)
    assert latest["selectivity/conv1"] == pytest.approx(1 - active[0].mean(), abs=1e-6)
    assert "selectivity/layer1.0.conv2" not in latest  # it meets the shortcut before any nonlinearity


def test_series_are_those_of_the_trainer_and_the_file_is_read_back(tmp_path: Path) -> None:
    model, (images, _) = basicnet(), digits(20)
    monitor = SparsityMonitor(model, every=1, probe=images)
    for _ in range(2):
        monitor.step()
    trainer = affine_values(tracked_layers(model, build_graph(copy.deepcopy(model), (1, 8, 8)).layers))
    monitor.save(tmp_path / "history.safetensors")
    history = History.load(tmp_path / "history.safetensors")
    assert history.steps == [0, 1, 2]
    keys = [name.removeprefix("gamma/") for name in trainer if name.startswith("gamma/")]
    own = {f"{kind}/{key}" for kind in ("universality", "inactive") for key in keys}
    assert set(history.names) == own | set(trainer)
    for name, values in trainer.items():
        assert history.series(name).dtype == np.float32
        assert history.series(name).shape == (3, len(values))
        assert (history.series(name)[-1] == values).all()
    for key in keys:
        filters = len(trainer[f"gamma/{key}"])
        assert history.series(f"universality/{key}").dtype == np.float32
        assert history.series(f"inactive/{key}").dtype == np.uint8
        assert history.series(f"inactive/{key}").shape == history.series(f"universality/{key}").shape == (3, filters)


def everything(model: nn.Module) -> list[object]:
    """Return all that could have changed, bit for bit."""
    cpu = torch.get_rng_state().numpy().tobytes()
    chance = [cpu, random.getstate(), np.random.get_state()[1].tobytes()]  # type: ignore[index]
    flags = [(path, part.training, len(part._forward_hooks)) for path, part in model.named_modules()]
    hooks = [len(part._forward_pre_hooks) for part in model.modules()]
    tensors = [
        (name, id(held), held._version, held.requires_grad, held.detach().numpy().tobytes())
        for name, held in [*model.named_parameters(), *model.named_buffers()]
    ]
    grads = [None if held.grad is None else held.grad.numpy().tobytes() for held in model.parameters()]
    return [chance, flags, hooks, tensors, grads]


def test_nothing_of_the_model_changes() -> None:
    model, (images, labels) = basicnet(), digits(40)
    train_step(model, images, labels)
    next(part for part in model.modules() if isinstance(part, nn.BatchNorm2d)).eval()  # a part that is frozen
    before = everything(model)
    monitor = SparsityMonitor(model, every=1, probe=images)
    monitor.step()
    assert monitor.history.steps == [0, 1]
    assert everything(model) == before
    monitor.close()
    assert everything(model) == before


def test_a_watched_training_is_the_same_bit_for_bit() -> None:
    images, labels = digits(160)

    def trained(every: int | None) -> list[bytes]:
        model = nn.Sequential(basicnet(), nn.Dropout(0.2))
        torch.manual_seed(3)
        monitor = None if every is None else SparsityMonitor(model, every=every, probe=60)
        for part, answers in zip(images.split(40), labels.split(40), strict=True):  # type: ignore[no-untyped-call]
            train_step(model, part, answers)
            if monitor is not None:
                monitor.step()
        assert monitor is None or len(monitor.history) == 3
        return [held.detach().numpy().tobytes() for held in model.state_dict().values()]

    assert trained(None) == trained(1)


def test_the_probe_is_what_the_model_sees_first_in_training_mode() -> None:
    model = small_net()
    monitor = SparsityMonitor(model, every=100, probe=5)
    model.eval()(photographs(8, seed=9))
    model.train()
    assert not monitor.step()
    assert "0 of 5 probe images" in monitor.summary()
    assert monitor.latest() == {}
    batches = [photographs(3, seed=2), photographs(3, side=20, seed=3), photographs(4, seed=4)]
    measured = []
    for images in batches:  # the second is of another size
        train_step(model, images)
        measured.append(monitor.step())
    assert measured == [False, False, True]
    assert monitor.history.steps == [4]
    assert not model._forward_pre_hooks
    probe = torch.cat([batches[0], batches[2][:2]])
    check_point(monitor.history, by_hooks(model, {"0": ("1", True)}, probe))
    for _ in range(196):
        monitor.step()
    assert monitor.history.steps == [4, 100, 200]


def test_a_probe_larger_than_the_data_waits_and_says_so(tmp_path: Path) -> None:
    model = small_net()
    with SparsityMonitor(model, every=1, probe=100) as monitor:
        for _ in range(3):
            train_step(model, photographs(4))
            assert not monitor.step()
        assert "Nothing measured in 3 steps: 12 of 100 probe images" in monitor.summary()
        monitor.save(tmp_path / "empty.safetensors")
        assert model._forward_pre_hooks
    assert not model._forward_pre_hooks
    assert len(History.load(tmp_path / "empty.safetensors")) == 0


def test_a_model_always_in_eval_mode_needs_a_probe_given() -> None:
    model = small_net().eval()
    waiting, given = SparsityMonitor(model, every=1), SparsityMonitor(model, every=1, probe=photographs(4))
    model(photographs(4))
    assert not waiting.step()
    assert "in training mode" in waiting.summary()
    assert given.step()


def test_summary_tells_where_it_began_and_where_it_stands() -> None:
    model, images = small_net(), photographs(4)
    monitor = SparsityMonitor(model, every=1, probe=images)
    with torch.no_grad():
        model[1].weight[:3], model[1].bias[:3] = 0, torch.tensor([-1.0, -1.0, 1.0])
    monitor.step()
    was, now = (1 - by_hooks(m, {"0": ("1", True)}, images)["universality/0"] for m in (small_net(), model))
    lines = monitor.summary().splitlines()
    assert lines[0] == "Step 0 → step 1"
    cells = [cell.strip() for cell in lines[-1].strip("|").split("|")]
    assert cells == ["total", "6", "0 → 3", "0 → 2", f"{was.mean():.3f} → {now[2:].mean():.3f}"]


def test_resume_drops_what_comes_again(tmp_path: Path) -> None:
    path, model, images = tmp_path / "history.safetensors", small_net(), photographs(4)
    monitor = SparsityMonitor(model, every=2, probe=images)
    for _ in range(6):
        monitor.step()
    monitor.save(path)
    again = SparsityMonitor(model, every=2, probe=images)
    again.resume(path, 3)
    assert again.latest() == monitor.latest()
    assert [again.step() for _ in range(3)] == [True, False, True]
    assert again.history.steps == [0, 2, 4, 6]
    other = SparsityMonitor(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), probe=images)
    other.resume(path, 3)
    with pytest.raises(UsageError, match="other feature layers"):
        other.measure()
    with pytest.raises(CheckpointError, match="missing"):
        other.resume(tmp_path / "missing.safetensors", 3)


def test_closed_it_measures_no_more_and_keeps_what_it_has() -> None:
    monitor = SparsityMonitor(small_net(), every=1, probe=photographs(4))
    with monitor:
        assert monitor.step()
    assert not monitor.step()
    assert not monitor.measure()
    assert monitor.history.steps == [0, 1]


def test_the_example_in_the_docstring_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code = inspect.cleandoc(SparsityMonitor.__doc__ or "").split("::\n\n", 1)[1].split("\n\nActivations", 1)[0]
    images, labels = digits(1000)
    model = basicnet()

    def loader() -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, 1000, 40):
            yield images[start : start + 40], labels[start : start + 40]

    names = {
        "model": model,
        "loader": [batch for _ in range(10) for batch in loader()],
        "optimizer": torch.optim.Adam(model.parameters(), 1e-3, weight_decay=1e-3),
        "loss_function": nn.CrossEntropyLoss(),
    }
    exec(textwrap.dedent(code), names)  # noqa: S102 - our own docstring
    monitor = names["monitor"]
    assert isinstance(monitor, SparsityMonitor)
    assert History.load(tmp_path / "history.safetensors").steps == [7, 250]
    check_point(monitor.history, by_hooks(model, basicnet_layers(model), images[:256]))
    assert "Step 7 → step 250" in capsys.readouterr().out


def test_importing_the_package_stays_light() -> None:
    assert "SparsityMonitor" in sparsity_audit.__all__
    code = "import sys, sparsity_audit; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
