"""γ, β, dead filters and selectivity of a model that somebody else's loop trains."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray
from tabulate import tabulate
from torch import Tensor, nn

from sparsity_audit.checkpoints import norms, tensor
from sparsity_audit.engine.findings import gamma_inactive
from sparsity_audit.errors import SparsityAuditError, UsageError
from sparsity_audit.graph.capture import one_line
from sparsity_audit.stats.feature_stats import FeatureStats
from sparsity_audit.training.history import History
from sparsity_audit.training.probe import ProbeImages, Shadow
from sparsity_audit.training.tracked import TrackedLayer, affine_values, tracked_layers

Values = dict[str, NDArray[np.generic]]

HEADERS = ("layer", "filters", "inactive by scale", "inactive by activation", "selectivity")
ABSENT = "–"


class SparsityMonitor:
    """Watches the filters of a model while your own loop trains it.

    ::

        from sparsity_audit import SparsityMonitor

        monitor = SparsityMonitor(model, every=250)
        for images, labels in loader:
            optimizer.zero_grad()
            loss_function(model(images), labels).backward()
            optimizer.step()
            if monitor.step():                    # measured: every 250th call
                print(monitor.latest())           # flat scalars for TensorBoard or W&B
        print(monitor.summary())                  # a table: where it began, where it stands
        monitor.save("history.safetensors")

    Activations are measured on a probe: images [N, C, H, W], normalised as for training, or how many to take from the
    first forward passes in training mode (augmented, as the model gets them). Nothing is measured before the probe is
    there: at once where it is given (step 0), else by the first ``step()`` after that. From then on every ``every``-th
    call measures; the others only count.

    Measuring runs a float32 copy of the model, in eval mode (with the running statistics), on the model's device: the
    model itself is not touched. Keep the copy in mind where memory is short. Hooks of yours do not run on it.

    ``history`` holds, as the zoo trainer's does, ``gamma/<layer key>`` and ``beta/<layer key>``, float32 [T, filters];
    and, of the probe, ``universality/<layer key>``, float32 [T, filters] (Sec. 2.3; NaN where it is not defined: no
    nonlinearity follows, or activations were not finite), and ``inactive/<layer key>``, uint8 [T, filters] (1:
    inactive by activation, Sec. 2.1). A model that cannot be captured is watched by γ and β alone; a warning and
    ``notes`` say why.

    Models wrapped by ``torch.compile``, ``DataParallel`` or ``DistributedDataParallel`` are taken as they are called
    in the loop; of several processes, one needs a monitor.

    Args:
        model: the model, before or while it is trained.
        every: steps between two measurements.
        probe: the images, or their number.

    Attributes:
        history: everything measured.
        steps: calls of ``step()`` so far.
        notes: what is not measured, and why.

    Raises:
        UsageError: not a model with a batch norm or other normalisation that has γ; a bad ``every`` or ``probe``.
    """

    def __init__(self, model: nn.Module, every: int = 250, probe: Tensor | int = 256) -> None:
        if not isinstance(model, nn.Module):
            raise UsageError(f"model: needs a torch.nn.Module, got {type(model).__name__}")
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise UsageError(f"every: needs a number of steps of at least 1, got {every!r}")
        self.every = every
        self.steps = 0
        self.history = History()
        self.notes: list[str] = []
        self._model = _unwrapped(model)
        _check_has_norm(self._model)
        self._probe = ProbeImages(probe)
        self._shadow: Shadow | None = None
        self._latest: dict[str, float] = {}
        self._closed = False
        self.measure()
        self._probe.watch(model)

    def __enter__(self) -> SparsityMonitor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def step(self) -> bool:
        """Count an optimizer step, measure where it is due, and tell whether it was."""
        self.steps += 1
        return (self.steps % self.every == 0 or not self.history.steps) and self.measure()

    def measure(self) -> bool:
        """Measure now; False where this step is measured already, the probe is not there yet, or after ``close()``.

        Raises:
            UsageError: the model has other layers than when the history began.
        """
        if self._closed or not self._probe.settled or self.steps in self.history.steps[-1:]:
            return False
        values = self._values()
        if self.history.steps and _lengths(values) != _lengths(_point(self.history, -1)):
            raise UsageError(
                f"step {self.steps}: the model has other feature layers than when the history began; "
                "close this monitor and make another"
            )
        self.history.add(self.steps, values)
        self._latest = _scalars(values)
        return True

    def latest(self) -> dict[str, float]:
        """Return the last measurement as flat scalars; empty before the first.

        ``inactive_by_scale`` and ``inactive_by_activation`` (filters) and ``selectivity`` (mean over the active
        filters that a nonlinearity follows), of the model and, as ``inactive_by_scale/<layer key>`` and so on, of
        each layer. What is not measured or not defined has no entry.
        """
        return dict(self._latest)

    def summary(self) -> str:
        """Return a Markdown table of the layers, from the first measurement to the last."""
        notes = "".join(f"\n\n{note}" for note in self.notes)
        if not self.history.steps:
            return (
                f"Nothing measured in {self.steps} steps: {len(self._probe)} of {self._probe.wanted} probe images were "
                f"seen in forward passes in training mode; a smaller probe is there sooner.{notes}"
            )
        points = [_layer_states(_point(self.history, place)) for place in (0, -1)]
        rows = [_row(first, now) for first, now in zip(*points, strict=True)]
        rows.append(_row(*(_total(layers) for layers in points)))
        first, last = self.history.steps[0], self.history.steps[-1]
        return f"Step {first} → step {last}\n\n{_drawn(rows)}{notes}"

    def save(self, path: str | Path) -> None:
        """Write the history, whole or not at all; ``History.load`` and the plots read it.

        Raises:
            CheckpointError: it cannot be written.
        """
        self.history.save(Path(path))

    def resume(self, path: str | Path, step: int) -> None:
        """Go on with a saved history from a step; later points are dropped, as the loop will come by there again.

        Give the same probe as before: figures of other images do not compare.

        Raises:
            CheckpointError: the file is no history.
        """
        self.history = History.load(Path(path))
        self.history.truncate(step)
        self.steps = step
        self._latest = _scalars(_point(self.history, -1)) if self.history.steps else {}

    def close(self) -> None:
        """Measure no more, and leave nothing on the model; what was measured stays."""
        self._closed = True
        self._probe.close()
        self._shadow = None

    def _values(self) -> Values:
        stats = self._look()
        if stats is None or self._shadow is None:
            return affine_values(_norms_by_name(self._model))
        layers = self._shadow.graph.layers
        universality = np.where(stats.decided, stats.universality(), np.nan).astype(np.float32)
        inactive = stats.inactive().astype(np.uint8)
        return {
            **{f"universality/{layer.key}": universality[layer.span] for layer in layers},
            **{f"inactive/{layer.key}": inactive[layer.span] for layer in layers},
            **affine_values(tracked_layers(self._model, layers)),
        }

    def _look(self) -> FeatureStats | None:
        """Return what the probe does now; None for good where the first try fails."""
        if self.notes:
            return None
        if self._probe.refused is not None:
            return self._fall_back(self._probe.refused)
        try:
            if self._shadow is None or not self._shadow.fits(self._model):
                self._shadow = Shadow(self._model, self._probe.images)
            return self._shadow.look(self._model)
        except Exception as failure:  # whatever the model's own code raises: the training must go on
            if self.history.steps:
                raise
            known = isinstance(failure, SparsityAuditError)
            return self._fall_back(one_line(failure) if known else f"{type(failure).__name__}: {one_line(failure)}")

    def _fall_back(self, reason: str) -> None:
        self._shadow = None
        self.notes.append(f"activations are not measured, γ and β only: {reason}")
        warnings.warn(self.notes[-1], stacklevel=2)


@dataclass(frozen=True)
class _LayerState:
    """What one measurement says of a layer, or of all."""

    key: str
    filters: int
    scale: int | None
    activation: int | None
    shares: NDArray[np.generic]
    """Universality of the active filters that have one."""

    @property
    def selectivity(self) -> float | None:
        return 1 - float(self.shares.astype(np.float64).mean()) if len(self.shares) else None


def _layer_states(point: Values) -> list[_LayerState]:
    states = []
    for key in dict.fromkeys(name.partition("/")[2] for name in point):
        gamma, universality, inactive = (point.get(f"{kind}/{key}") for kind in ("gamma", "universality", "inactive"))
        shares = np.empty(0)
        if universality is not None and inactive is not None:
            shares = universality[(inactive == 0) & np.isfinite(universality.astype(np.float64))]
        states.append(
            _LayerState(
                key,
                next(len(values) for values in (gamma, inactive) if values is not None),
                None if gamma is None else int(gamma_inactive(gamma.astype(np.float64)).sum()),
                None if inactive is None else int(inactive.astype(np.int64).sum()),
                shares,
            )
        )
    return states


def _total(layers: list[_LayerState]) -> _LayerState:
    by_scale = [layer.scale for layer in layers if layer.scale is not None]
    by_activation = [layer.activation for layer in layers if layer.activation is not None]
    return _LayerState(
        "total",
        sum(layer.filters for layer in layers),
        sum(by_scale) if by_scale else None,
        sum(by_activation) if by_activation else None,
        np.concatenate([layer.shares for layer in layers]),
    )


def _scalars(point: Values) -> dict[str, float]:
    layers = _layer_states(point)
    named = [("", _total(layers)), *((f"/{layer.key}", layer) for layer in layers)]
    values = {
        f"{quantity}{suffix}": value
        for suffix, state in named
        for quantity, value in (
            ("inactive_by_scale", state.scale),
            ("inactive_by_activation", state.activation),
            ("selectivity", state.selectivity),
        )
    }
    return {name: float(value) for name, value in values.items() if value is not None}


def _point(history: History, place: int) -> Values:
    return {name: history.series(name)[place] for name in history.names}


def _lengths(values: Mapping[str, NDArray[np.generic]]) -> dict[str, int]:
    return {name: len(value) for name, value in values.items()}
