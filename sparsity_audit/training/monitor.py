"""γ, β, dead filters and selectivity of a model that somebody else's loop trains."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import TracebackType

import numpy as np
from torch import Tensor, nn

from sparsity_audit.checkpoints.norms import find_norms, find_unnormed
from sparsity_audit.checkpoints.tensor import Tensor as NamedTensor
from sparsity_audit.errors import SparsityAuditError, UsageError
from sparsity_audit.graph.capture import one_line
from sparsity_audit.stats.feature_stats import FeatureStats
from sparsity_audit.training.history import History
from sparsity_audit.training.point import Point, layer_states, point, scalars, table, total
from sparsity_audit.training.probe import ProbeImages, Shadow
from sparsity_audit.training.tracked import TrackedLayer, affine_values, tracked_layers


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

    Wrapped by ``torch.compile``, ``DataParallel`` or ``DistributedDataParallel``, pass what your loop calls: compiled
    code that has run before does not notice a probe being taken inside it. Of several processes, one needs a monitor.

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
        if self.history.steps and _lengths(values) != _lengths(point(self.history, -1)):
            raise UsageError(
                f"step {self.steps}: the model has other feature layers than when the history began; "
                "close this monitor and make another"
            )
        self.history.add(self.steps, values)
        self._latest = scalars(values)
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
                f"seen in forward passes in training mode; a smaller one, probe=N, is there sooner.{notes}"
            )
        first, now = (layer_states(point(self.history, place)) for place in (0, -1))
        drawn = table([*first, total(first)], [*now, total(now)])
        return f"Step {self.history.steps[0]} → step {self.history.steps[-1]}\n\n{drawn}{notes}"

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
        self._latest = scalars(point(self.history, -1)) if self.history.steps else {}

    def close(self) -> None:
        """Measure no more, and leave nothing on the model; what was measured stays."""
        self._closed = True
        self._probe.close()
        self._shadow = None

    def _values(self) -> Point:
        stats = self._look()
        if stats is None or self._shadow is None:
            return self._by_name()
        layers, shares = self._shadow.graph.layers, stats.universality()
        assert shares is not None  # a probe has at least one image
        universality = np.where(stats.decided, shares, np.nan).astype(np.float32)
        inactive = stats.inactive().astype(np.uint8)
        return {
            **{f"universality/{layer.key}": universality[layer.span] for layer in layers},
            **{f"inactive/{layer.key}": inactive[layer.span] for layer in layers},
            **affine_values(tracked_layers(self._model, layers)),
        }

    def _by_name(self) -> Point:
        layers = _norms_by_name(self._model)
        if not layers:
            raise UsageError(f"{type(self._model).__name__} has no batch norm with γ by its names; {self.notes[-1]}")
        return affine_values(layers)

    def _look(self) -> FeatureStats | None:
        """Return what the probe does now; None for good where the first try fails."""
        if self.notes:
            return None
        if self._probe.refused is not None:
            self._fall_back(self._probe.refused)
            return None
        try:
            if self._shadow is None or not self._shadow.fits(self._model):
                self._shadow = Shadow(self._model, self._probe.images)
            return self._shadow.look(self._model)
        except Exception as failure:  # whatever the model's own code raises: the training must go on
            if self.history.steps:
                raise
            known = isinstance(failure, SparsityAuditError)
            self._fall_back(one_line(failure) if known else f"{type(failure).__name__}: {one_line(failure)}")
            return None

    def _fall_back(self, reason: str) -> None:
        self._shadow = None
        self.notes.append(f"activations are not measured, γ and β only: {reason}")
        warnings.warn(self.notes[-1], stacklevel=2)


def _lengths(values: Point) -> dict[str, int]:
    return {name: len(value) for name, value in values.items()}


def _unwrapped(model: nn.Module) -> nn.Module:
    """Return the network inside torch's wrappers, under whose names its parameters are saved."""
    while True:
        if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            inner = model.module
        else:
            inner = model._modules.get("_orig_mod")  # of torch.compile, whose class is dear to import
        if not isinstance(inner, nn.Module):
            return model
        model = inner


def _check_has_norm(model: nn.Module) -> None:
    found = _shapes_only(model)
    if not find_norms(found) and not find_unnormed(found):
        raise UsageError(
            f"{type(model).__name__} has no batch norm or other normalisation, so no γ and β to watch; "
            "is it the whole model?"
        )


def _norms_by_name(model: nn.Module) -> list[TrackedLayer]:
    """Return every batch norm with γ, named by its convolution where names tell it: as of a file alone."""
    parameters = dict(nn.Module.named_parameters(model, remove_duplicate=False))
    layers = []
    for norm in find_norms(_shapes_only(model)):
        prefix = f"{norm.path}." if norm.path else ""
        gamma = parameters.get(f"{prefix}weight")
        if gamma is not None:
            layers.append(TrackedLayer(norm.conv or norm.path, gamma, parameters.get(f"{prefix}bias")))
    return layers


def _shapes_only(model: nn.Module) -> dict[str, NamedTensor]:
    """Return the floating-point tensors of a model as those of a file, all zeros: names and shapes decide."""
    return {
        name: NamedTensor(name, "F32", tuple(held.shape), memoryview(bytes(4 * held.numel())))
        for name, held in nn.Module.state_dict(model).items()
        if isinstance(held, Tensor) and held.is_floating_point()
    }
