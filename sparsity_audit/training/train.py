"""Training a spec into a run folder: from nothing, or from where it stopped."""

from __future__ import annotations

import contextlib
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sparsity_audit.checkpoints.safetensors_io import write_safetensors
from sparsity_audit.data.corpus import Corpus
from sparsity_audit.engine.session import check_device
from sparsity_audit.errors import CheckpointError, ConfigError, DataError, GraphError, TrainingError, UsageError
from sparsity_audit.graph.feature_graph import build_graph
from sparsity_audit.models.init import initialise
from sparsity_audit.models.metadata import metadata_entries
from sparsity_audit.models.registry import build_network
from sparsity_audit.schema.record import ScaleCount, SessionRecord, SplitResult, TrainingRecord
from sparsity_audit.schema.spec import ModelMetadata, ZooSpec
from sparsity_audit.specs.budget import decay_budget, rate_sum
from sparsity_audit.specs.load import NamedSpec
from sparsity_audit.training.batches import TrainingImages
from sparsity_audit.training.corpora import augmentation, training_corpora
from sparsity_audit.training.interrupt import stop_requested
from sparsity_audit.training.keeper import RunKeeper
from sparsity_audit.training.loop import DivergedError, Loop, Progress
from sparsity_audit.training.optimizers import ParameterGroup, Updater, parameter_groups
from sparsity_audit.training.run_folder import RunFolder
from sparsity_audit.training.surroundings import chance_apart, deterministic, session_record
from sparsity_audit.training.testing import split_result
from sparsity_audit.training.tracked import TrackedLayer, inactive_by_scale, tracked_layers

CHECKPOINT_SECONDS = 30.0


@dataclass(frozen=True)
class TrainOptions:
    """How a spec is trained; none of it changes a weight."""

    resume: bool = False
    """Go on from the last checkpoint, or from nothing where there is none yet."""
    device: str = "cpu"
    data_root: Path | None = None
    checkpoint_seconds: float = CHECKPOINT_SECONDS
    """Seconds between two checkpoints: what a killed run loses at most."""


class TrainListener:
    """Is told what a training does while it does it; this one does nothing."""

    def started(self, record: TrainingRecord, step: int) -> None:
        """Training goes on from a step."""

    def working(self, label: str, done: int, total: int) -> None:
        """Something other than training steps went on."""

    def progress(self, progress: Progress) -> None:
        """Steps were trained."""

    def note(self, text: str) -> None:
        """Something that the user should know."""


def default_folder(named: NamedSpec) -> Path:
    """Return where a run goes if nobody says: a folder of its own for every digest."""
    return Path("runs") / f"{named.id}-{named.spec.digest()[:8]}"


def train(
    named: NamedSpec, path: Path, options: TrainOptions | None = None, listener: TrainListener | None = None
) -> TrainingRecord:
    """Train a spec into the folder ``path`` and return its record: finished, or interrupted by a signal.

    A finished run of the same spec is returned as it is. Two runs of one spec on one machine with the same number
    of threads give the same weights bit for bit, however often they were interrupted, or killed, and resumed.

    Raises:
        UsageError: the folder holds another run, or an unfinished one without ``resume``; another process trains
            there; a device that is not there.
        DataError: data that is absent, bad, or does not fit the network.
        CheckpointError: something cannot be written or read; the last good checkpoint is still there.
        TrainingError: the loss is not finite any more.
    """
    options, listener = options or TrainOptions(), listener or TrainListener()
    folder = RunFolder(path)
    folder.create()
    try:
        with folder.locked():
            before = folder.read_record()
            if before is not None:
                _check_same(folder, before, named.spec, options)
                if before.status == "finished":
                    if before.spec.observe != named.spec.observe:
                        listener.note(f"observe: {path} is finished, and keeps what it observed; -o names another")
                    return before
            check_device(options.device)
            return _Run(named, folder, options, listener).train(before)
    finally:
        folder.discard()


def _check_same(folder: RunFolder, found: TrainingRecord, spec: ZooSpec, options: TrainOptions) -> None:
    if found.digest != spec.digest():
        raise UsageError(
            f"{folder.path}: holds a run of another spec ({found.name}, digest {found.digest[:8]}, "
            f"not {spec.digest()[:8]}); name another folder with -o"
        )
    if found.status == "finished" and not folder.model.exists():
        raise UsageError(f"{folder.path}: the run is finished and {folder.model.name} is gone; name another folder")
    if found.status == "diverged":
        raise TrainingError(f"{folder.path}: this run diverged ({found.message}), and would again; change the spec")
    if found.status != "finished" and not options.resume:
        raise UsageError(
            f"{folder.path}: holds an unfinished run ({found.steps} of {found.total_steps} steps); "
            "continue it with --resume, or name another folder with -o"
        )


class _Run:
    """One call of ``train``."""

    def __init__(self, named: NamedSpec, folder: RunFolder, options: TrainOptions, listener: TrainListener) -> None:
        self.named = named
        self.spec = named.spec
        self.folder = folder
        self.options = options
        self.listener = listener
        self.clock = time.monotonic()

    def train(self, before: TrainingRecord | None) -> TrainingRecord:
        device = self.options.device
        corpora = self._corpora()
        with chance_apart(device), deterministic(device):
            model, layers = self._network(corpora[0])
            groups = parameter_groups(model, self.spec)
            updater = Updater(self.spec, groups)
            images = TrainingImages(
                corpora[0], augmentation(self.spec.data), self.spec.batch_size, self.spec.seed, device
            )
            record = self._record(before, groups, images.steps_per_epoch)
            keeper = RunKeeper(
                self.folder, record, model, updater, layers, self.options.checkpoint_seconds, self._session
            )
            start = keeper.start()
            keeper.write_record(steps=start)
            self._note_changes(before, keeper, start)
            try:
                done = self._loop(Loop(self.spec, model, updater, images, layers), keeper, start)
                if done < record.total_steps:
                    keeper.write_record(status="interrupted", message=f"stopped after step {done}")
                else:
                    self._finish(keeper, model, layers, corpora)
            except DivergedError as failure:
                keeper.write_record(status="diverged", message=str(failure))
                raise TrainingError(
                    f"{self.folder.path}: diverged: {failure} of {record.total_steps}; the record is kept; "
                    "try a lower learning rate or λ"
                ) from None
            return keeper.record

    def _corpora(self) -> tuple[Corpus, Corpus]:
        try:
            return training_corpora(self.spec.data, self.options.data_root, self.listener.working)
        except DataError as failure:
            raise DataError(f"{self.named.origin}: data: {failure}") from None

    def _network(self, corpus: Corpus) -> tuple[nn.Module, list[TrackedLayer]]:
        torch.manual_seed(self.spec.seed)
        try:
            model = build_network(self.spec.network, corpus.shape[0], len(corpus.class_names))
            initialise(model, self.spec.init)
            graph = build_graph(model, self._input_shape(corpus))
        except (UsageError, GraphError) as failure:
            raise ConfigError(f"{self.named.origin}: network: {failure}") from None
        model = model.to(self.options.device).to(memory_format=torch.channels_last)
        torch.manual_seed(self.spec.seed)  # dropout's chance must not depend on what came before
        return model, tracked_layers(model, graph.layers)

    def _record(self, before: TrainingRecord | None, groups: list[ParameterGroup], per_epoch: int) -> TrainingRecord:
        return TrainingRecord(
            name=self.named.id,
            spec=self.spec,
            digest=self.spec.digest(),
            seed=self.spec.seed,
            status="running",
            steps=before.steps if before is not None else 0,
            total_steps=self.spec.schedule.iterations(per_epoch),
            steps_per_epoch=per_epoch,
            decay_budget=decay_budget(self.spec, per_epoch),
            rate_sum=rate_sum(self.spec, per_epoch),
            parameter_groups=[group.record() for group in groups],
            sessions=before.sessions if before is not None else [],
        )

    def _note_changes(self, before: TrainingRecord | None, keeper: RunKeeper, start: int) -> None:
        """Say what will not be as the spec has it, or as it was before: bits may differ, or a file have gaps."""
        late = [step for step in self.spec.observe.snapshots if step > keeper.record.total_steps]
        if late:
            self.listener.note(f"no snapshot of step {late[0]}: training ends at step {keeper.record.total_steps}")
        if start and self.spec.observe.history_every is not None and not len(keeper.history):
            self.listener.note(f"{self.folder.history} is gone: the history begins after step {start}")
        if before is None or not before.sessions or start == 0:
            return
        was, now = before.sessions[-1], self._session(start, start)
        for what in ("device", "threads", "torch"):
            if getattr(was, what) != getattr(now, what):
                self.listener.note(
                    f"{what}: {getattr(now, what)} now, {getattr(was, what)} before: "
                    "the weights will not be the same bit for bit as those of an uninterrupted run"
                )

    def _loop(self, loop: Loop, keeper: RunKeeper, start: int) -> int:
        try:
            with stop_requested() as stop:
                self.listener.started(keeper.record, start)
                return loop.run(start, keeper, stop, self.listener.progress)
        except CheckpointError as failure:
            with contextlib.suppress(CheckpointError):  # a full disk may hold no record either
                keeper.write_record(status="interrupted", message=str(failure))
            raise CheckpointError(
                f"{failure}; the last good checkpoint is of step {keeper.record.steps}: make room, then --resume"
            ) from None

    def _finish(
        self,
        keeper: RunKeeper,
        model: nn.Module,
        layers: list[TrackedLayer],
        corpora: tuple[Corpus, Corpus],
    ) -> None:
        """Test the model, write it, and only then call the run finished."""
        model.eval()
        results: dict[str, Any] = {corpus.split: self._test(model, corpus) for corpus in corpora}
        if results["train"].loss is None:  # the last update was one too many: no loss after it was looked at
            raise DivergedError(keeper.record.total_steps, math.nan)
        inactive = inactive_by_scale(layers)
        filters = sum(len(layer.gamma) for layer in layers)
        scale = ScaleCount(filters=filters, inactive=sum(inactive.values()), per_layer=inactive)
        write_safetensors(self.folder.model, nn.Module.state_dict(model), metadata_entries(self._metadata(corpora[0])))
        keeper.write_record(status="finished", scale=scale, **results)
        self.folder.checkpoint.unlink(missing_ok=True)

    def _test(self, model: nn.Module, corpus: Corpus) -> SplitResult:
        label = f"testing on {corpus.name} {corpus.split}"
        return split_result(
            model, corpus, self.options.device, lambda done, total: self.listener.working(label, done, total)
        )

    def _metadata(self, corpus: Corpus) -> ModelMetadata:
        return ModelMetadata(
            network=self.spec.network,
            input_shape=self._input_shape(corpus),
            classes=list(corpus.class_names),
            normalisation=corpus.normalisation,
            pixel_scale=corpus.pixel_scale,
            spec=self.spec,
        )

    def _input_shape(self, corpus: Corpus) -> tuple[int, int, int]:
        """Return channels, height and width of what the network is shown."""
        channels, height, width = corpus.shape
        crop = self.spec.data.crop
        return channels, crop or height, crop or width

    def _session(self, start: int, end: int) -> SessionRecord:
        return session_record(self.options.device, self.clock, start, end)
