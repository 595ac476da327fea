"""The steps of a training: one after the other, watched at intervals, the device asked for nothing in between."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparsity_audit.schema.spec import ZooSpec
from sparsity_audit.training.batches import TrainingImages
from sparsity_audit.training.optimizers import Updater
from sparsity_audit.training.tracked import TrackedLayer, inactive_by_scale

LOOK_EVERY = 50
"""Steps between two looks at the losses, and so at whether they are finite."""
LOOK_SECONDS = 1.0
"""Longest time between two looks: steps of large networks take seconds."""


class DivergedError(Exception):
    """The loss of a step is not finite."""

    def __init__(self, step: int, loss: float) -> None:
        super().__init__(f"the loss is {loss} at step {step}")
        self.step = step


@dataclass(frozen=True)
class Progress:
    """How a training is going; loss and error are means over the training batches since the last look."""

    step: int
    total: int
    loss: float
    error: float
    inactive: int
    """Filters inactive by scale."""
    filters: int


class Keeper(Protocol):
    """Keeps what has to outlive the process."""

    def due(self, step: int) -> bool:
        """Tell whether something has to be kept after this step."""

    def keep(self, step: int, *, last: bool) -> None:
        """Keep it; after the last step of this process, everything."""


class Loop:
    """Trains a model in place."""

    def __init__(
        self,
        spec: ZooSpec,
        model: nn.Module,
        updater: Updater,
        images: TrainingImages,
        layers: Sequence[TrackedLayer],
    ) -> None:
        self.spec = spec
        self.model = model
        self.updater = updater
        self.images = images
        self.layers = layers
        self.total = spec.schedule.iterations(images.steps_per_epoch)
        self._losses: list[Tensor] = []
        self._wrong: list[Tensor] = []
        self._seen = 0

    def run(self, step: int, keeper: Keeper, stop: Callable[[], bool], tell: Callable[[Progress], None]) -> int:
        """Train from ``step``, counted from 0, to the end, or until ``stop`` says so; return the steps done.

        Raises:
            DivergedError: a loss that is not finite; nothing was kept since.
        """
        self.model.train()
        batches = self.images.batches(step)
        looked = time.monotonic()
        while step < self.total:
            images, labels = next(batches)
            self._step(step, images, labels)
            step += 1
            last, due, now = step == self.total or stop(), keeper.due(step), time.monotonic()
            if last or due or len(self._losses) >= LOOK_EVERY or now - looked > LOOK_SECONDS:
                tell(self._look(step))
                looked = now
            if last or due:
                keeper.keep(step, last=last)
            if last:
                break
        return step

    def _step(self, step: int, images: Tensor, labels: Tensor) -> None:
        logits = self.model(images)
        loss = F.cross_entropy(logits, labels)
        loss.backward()  # type: ignore[no-untyped-call]
        self.updater.step(self.spec.schedule.scale(step, self.images.steps_per_epoch))
        with torch.no_grad():
            self._losses.append(loss.detach())
            self._wrong.append((logits.argmax(dim=1) != labels).sum())
        self._seen += len(labels)

    def _look(self, step: int) -> Progress:
        losses = torch.stack(self._losses).tolist()
        wrong = int(torch.stack(self._wrong).sum())
        for number, loss in enumerate(losses, start=step - len(losses) + 1):
            if not math.isfinite(loss):
                raise DivergedError(number, loss)
        progress = Progress(
            step,
            self.total,
            sum(losses) / len(losses),
            wrong / self._seen,
            sum(inactive_by_scale(self.layers).values()),
            sum(len(layer.gamma) for layer in self.layers),
        )
        self._losses, self._wrong, self._seen = [], [], 0
        return progress
