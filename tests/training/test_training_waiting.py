"""No host waits for its device between two looks at the losses: neither for a batch, nor for a step of training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from training_images import AUGMENTATIONS, corpus_of, pixels_of, shown, taken

from sparsity_audit.schema.spec import ZooSpec
from sparsity_audit.training.batches import TrainingImages
from sparsity_audit.training.corpora import Augmentation
from sparsity_audit.training.loop import Loop
from sparsity_audit.training.optimizers import Updater, parameter_groups
from sparsity_audit.training.tracked import TrackedLayer

READS = ("_local_scalar_dense", "item", "nonzero", "is_nonzero", "equal", "masked_select", "unique", "bincount")


class NoReading(TorchDispatchMode):
    """Raises where the host would wait for the device: a value read, or a shape that depends on values.

    On a GPU the same is true of copies between it and pageable memory, which ``copies`` forbids: no operation may
    name another device than its tensors have. Counts of steps that an optimizer keeps on the host may be read.
    """

    def __init__(self, on_host: Iterator[Tensor] | None = None, *, copies: bool = True) -> None:
        super().__init__()
        self.on_host = {id(tensor) for tensor in on_host or ()}
        self.copies = copies

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in READS and not any(id(argument) in self.on_host for argument in args):
            raise AssertionError(f"{func} waits for the device")
        if name == "index" and any(index is not None and index.dtype == torch.bool for index in args[1]):
            raise AssertionError("indexing by a mask waits for the device")
        result = func(*args, **(kwargs or {}))
        if not self.copies and name in ("_to_copy", "copy_", "to"):
            devices = {found.device for found in (*args, result) if isinstance(found, Tensor)}
            assert len(devices) == 1, f"{func} copies between {devices}"
        return result


def test_the_oracle_sees_what_waits() -> None:
    values = torch.arange(3.0)
    for act in (
        lambda: values.sum().item(),
        lambda: values[values > 1],
        lambda: values.nonzero(),
        lambda: int(values[0]),
    ):
        with pytest.raises(AssertionError, match="waits"), NoReading():
            act()
    with pytest.raises(AssertionError, match="copies"), NoReading(copies=False):
        torch.zeros(3).to("meta")


@pytest.mark.parametrize("augmentation", AUGMENTATIONS)
def test_a_batch_asks_the_device_for_nothing(augmentation: Augmentation) -> None:
    images = shown(corpus_of(pixels_of(15)), augmentation)
    with NoReading():  # the beginnings of epochs included
        taken(images, 0, 10)


@pytest.mark.parametrize("augmentation", AUGMENTATIONS)
def test_a_batch_copies_nothing_to_the_device(augmentation: Augmentation) -> None:
    """The meta device stands for a GPU: what is on it cannot be read, and a copy to it can be seen."""
    images = TrainingImages(corpus_of(pixels_of(15)), augmentation, 4, 0, "meta")
    batches = images.batches(0)
    next(batches)  # order, flips and corners go to the device at the beginning of an epoch
    with NoReading(copies=False):
        values, labels = next(batches)
        next(batches)
    assert values.device.type == labels.device.type == "meta"
    side = augmentation.crop or 6
    assert (values.shape, labels.shape) == ((4, 3, side, side), (4,))


def training(name: str, kind: str) -> tuple[Loop, nn.Module, Updater]:
    the_spec = ZooSpec.model_validate(
        {
            "network": {"name": "basicnet"},
            "data": {"name": "digits"},
            "optimizer": {"name": name},
            "regularizer": {"kind": kind, "strength": 0.01},
            "schedule": {"unit": "iterations", "total": 9, "milestones": [4]},
            "batch_size": 4,
        }
    )
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2)
    ).append(nn.Linear(4, 15))
    model = model.to(memory_format=torch.channels_last).train()
    updater = Updater(the_spec, parameter_groups(model, the_spec))
    images = shown(corpus_of(pixels_of(15)), Augmentation(flip=True, crop=5))
    norm = model[1]
    assert isinstance(norm, nn.BatchNorm2d)
    return Loop(the_spec, model, updater, images, [TrackedLayer("0", norm.weight, norm.bias)]), model, updater


@pytest.mark.parametrize("kind", ["l2", "wd", "gamma_l1"])
@pytest.mark.parametrize("name", ["sgd", "adam", "adadelta", "adagrad", "amsgrad", "rmsprop", "adamax"])
def test_a_step_of_training_asks_the_device_for_nothing(name: str, kind: str) -> None:
    loop, model, updater = training(name, kind)
    batches = loop.images.batches(0)
    loop._step(0, *next(batches))  # makes the optimizer's state
    counts = [value for state in updater.optimizer.state.values() for value in state.values() if value_of_count(value)]
    if updater.optimizer.defaults.get("fused"):
        counts = []  # these lie on the device and are never read
    before = model[0].weight.detach().clone()
    with NoReading(iter(counts)):
        for step in range(1, 6):  # past a milestone, and into the next epoch
            loop._step(step, *next(batches))
    assert not torch.equal(model[0].weight, before)
    assert loop._look(6).step == 6


def value_of_count(value: object) -> bool:
    return isinstance(value, Tensor) and value.dim() == 0
