"""The monitor on models of other precisions, wrapped, changed, or not to be captured."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monitored import (
    by_hooks,
    check_point,
    photographs,
    plant,
    small_net,
    train_step,
)
from torch import Tensor, nn
from torch.nn.utils import prune

from sparsity_audit import SparsityMonitor
from sparsity_audit.errors import UsageError


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions(dtype: torch.dtype) -> None:
    model, images = small_net().to(dtype), photographs(4).to(dtype)
    with torch.no_grad():
        model[1].weight[:2] = 0
        model[1].bias[:2] = torch.tensor([-0.5, 0.5])
    monitor = SparsityMonitor(model, every=1, probe=4)
    model(images)
    assert monitor.step()
    assert model[0].weight.dtype == dtype
    assert monitor.history.series("gamma/0").dtype == np.float32
    assert monitor.history.series("inactive/0")[0].tolist() == [1, 0, 0, 0, 0, 0]
    check_point(monitor.history, by_hooks(model.float(), {"0": ("1", True)}, images.float()))


def test_within_autocast_and_on_channels_last() -> None:
    model = small_net().to(memory_format=torch.channels_last)
    images = photographs(4).to(memory_format=torch.channels_last)
    monitor = SparsityMonitor(model, every=1, probe=4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        train_step(model, images)
        assert monitor.step()
    check_point(monitor.history, by_hooks(model, {"0": ("1", True)}, images))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_model_on_the_gpu_and_one_that_moves_there() -> None:
    model, images = small_net(), photographs(70)
    plant(model)
    expected = by_hooks(model, {"0": ("1", True)}, images)
    monitor = SparsityMonitor(model, every=1, probe=images)
    model.cuda()
    before = torch.cuda.get_rng_state()
    monitor.step()
    assert torch.equal(before, torch.cuda.get_rng_state())
    on_gpu = SparsityMonitor(model, probe=images.cuda())
    for history in (monitor.history, on_gpu.history):
        check_point(history, expected)


def test_weights_that_are_replaced_are_seen() -> None:
    model, images = small_net(), photographs(4)
    monitor = SparsityMonitor(model, every=1, probe=images)
    other = {name: held.clone() * 0.5 for name, held in model.state_dict().items()}
    other["1.weight"][:2], other["1.bias"][:2] = 0, -1
    model.load_state_dict(other, assign=True)
    model[1].running_mean = model[1].running_mean + 3  # a new tensor, not the old one changed
    monitor.step()
    check_point(monitor.history, by_hooks(model, {"0": ("1", True)}, images))
    assert monitor.latest()["inactive_by_scale/0"] == 2
    prune.l1_unstructured(model[0], "weight", 0.5)  # its weight is computed from other parameters now
    monitor.step()
    prune.remove(model[0], "weight")
    check_point(monitor.history, by_hooks(model, {"0": ("1", True)}, images))


def test_a_model_that_gets_other_layers_is_refused() -> None:
    model = small_net()
    monitor = SparsityMonitor(model, every=1, probe=photographs(4))
    model[0], model[1], model[5] = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2)
    with pytest.raises(UsageError, match="step 1: the model has other feature layers"):
        monitor.step()


@pytest.mark.parametrize("wrap", ["compile", "compile inside", "DataParallel", "DataParallel of compile"])
def test_wrapped_models(wrap: str) -> None:
    torch._dynamo.reset()  # compiled code of an earlier case is used again, hooks or not
    plain, images = small_net(), photographs(4)
    called = watched = plain
    if "compile" in wrap:
        called = watched = torch.compile(plain, backend="eager")
    if wrap == "compile inside":
        watched = plain
    if "DataParallel" in wrap:
        called = watched = nn.DataParallel(called)
    monitor = SparsityMonitor(watched, every=1, probe=6)
    for _ in range(3):
        train_step(called, images)
        monitor.step()
    assert monitor.history.steps == [2, 3]
    assert monitor.history.names == ["universality/0", "inactive/0", "gamma/0", "beta/0"]
    check_point(monitor.history, by_hooks(plain, {"0": ("1", True)}, torch.cat([images, images[:2]])))


class Branching(nn.Module):
    """Cannot be captured: what it computes depends on the image."""

    def __init__(self) -> None:
        super().__init__()
        self.net = small_net()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x) if x.mean() > 100 else self.net(-x)


class OfDicts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = small_net()

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return self.net(batch["images"])


@pytest.mark.parametrize(
    ("model", "batch", "reason"),
    [
        (Branching(), photographs(4), "Branching cannot be captured by torch.export"),
        (OfDicts(), {"images": photographs(4)}, "OfDicts is not called with images"),
    ],
)
def test_a_model_that_cannot_be_captured_is_watched_by_its_scales(model: nn.Module, batch: object, reason: str) -> None:
    monitor = SparsityMonitor(model, every=1, probe=4)
    model(batch)
    with pytest.warns(UserWarning, match="activations are not measured, γ and β only: " + reason):
        monitor.step()
    with torch.no_grad():
        model.net[1].weight[:2] = 5e-4
    monitor.step()
    assert monitor.history.names == ["gamma/net.0", "beta/net.0"]
    assert monitor.latest() == {"inactive_by_scale": 2, "inactive_by_scale/net.0": 2}
    assert "| total   |         6 |               0 → 2 |" in monitor.summary()
    assert reason in monitor.summary()


def test_hooks_of_others_run_neither_at_capture_nor_after() -> None:
    model, calls = small_net(), []
    model[0].register_forward_hook(lambda *_: calls.append("hook"))
    monitor = SparsityMonitor(model, every=1, probe=photographs(4))
    monitor.step()
    assert calls == []


def test_activations_that_are_not_finite_are_not_defined() -> None:
    model, images = small_net(), photographs(4)
    with torch.no_grad():
        model[0].weight[1] = torch.nan
    monitor = SparsityMonitor(model, probe=images)
    assert np.isnan(monitor.history.series("universality/0")[0]).tolist() == [False, True] + [False] * 4
    assert monitor.history.series("inactive/0")[0].tolist() == [0] * 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()),), "Sequential has no batch norm"),
        (("model.pt",), "model: needs a torch.nn.Module, got str"),
        ((small_net(), 0), "every: needs a number of steps of at least 1, got 0"),
        ((small_net(), 2.5), "every: needs a number"),
        ((small_net(), 1, 0), "probe: needs a tensor of images or a number of at least 1, got 0"),
        ((small_net(), 1, torch.zeros(3, 8, 8)), r"probe: needs images \[N, C, H, W\], got \[3, 8, 8\]"),
        ((small_net(), 1, torch.zeros(0, 3, 8, 8)), "probe: needs images"),
    ],
)
def test_bad_arguments_get_one_line(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        SparsityMonitor(*arguments)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
