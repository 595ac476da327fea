"""Tuning a slim network after it was verified: a few steps of training, batch norms' statistics taken anew."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase
from torch.nn.modules.dropout import _DropoutNd

from sparsity_audit.data.corpus import Corpus
from sparsity_audit.errors import TrainingError, UsageError
from sparsity_audit.graph.capture import one_line
from sparsity_audit.graph.parameters import tensors_in
from sparsity_audit.schema.report import NormalisationInfo
from sparsity_audit.schema.slim_tables import TuningSettings
from sparsity_audit.schema.spec import Normalisation, ZooSpec
from sparsity_audit.training.batches import TrainingImages
from sparsity_audit.training.corpora import Augmentation
from sparsity_audit.training.loop import DivergedError, Loop
from sparsity_audit.training.loop import Progress as StepsDone
from sparsity_audit.training.optimizers import Updater, parameter_groups
from sparsity_audit.training.surroundings import chance_apart, deterministic

Progress = Callable[[int, int], None]
"""Called with steps done and steps in all."""


def tune(
    module: nn.Module,
    corpus: Corpus,
    normalisation: NormalisationInfo,
    settings: TuningSettings,
    *,
    device: str = "cpu",
    progress: Progress | None = None,
) -> nn.Module:
    """Return a network tuned as the settings say: trained first, so that the statistics fit the weights it ends with.

    Raises:
        UsageError, TrainingError, DataError: see ``finetune`` and ``reestimate``.
    """
    if settings.steps:
        module = finetune(module, corpus, normalisation, settings, device=device, progress=progress)
    if settings.bn_images:
        size, seed = settings.batch_size, settings.seed
        module = reestimate(module, corpus, normalisation, settings.bn_images, size, seed, device=device)
    return module


def finetune(
    module: nn.Module,
    corpus: Corpus,
    normalisation: NormalisationInfo,
    settings: TuningSettings,
    *,
    device: str = "cpu",
    progress: Progress | None = None,
) -> nn.Module:
    """Return a copy trained for ``settings.steps`` steps, on the CPU in evaluation mode; the network stays as it is.

    The zoo trainer's steps: shuffled epochs that follow from the seed, cross-entropy, a constant rate, no regularizer.
    Norms and dropouts train; the network's own code stays in evaluation mode, for what it has for training alone,
    auxiliary heads above all, was not cut.

    Args:
        corpus: the training split that the labels of the network belong to.
        normalisation: what the network takes images in.

    Raises:
        TrainingError: the loss is not finite any more.
        UsageError: the network fails while it trains.
        DataError: images that are decoded on the way, and bad; a single image.
    """
    with chance_apart(device), deterministic(device):
        torch.manual_seed(settings.seed)  # dropout draws from it
        model = _Trained(copy.deepcopy(module)).to(device)
        nn.Module.requires_grad_(model, True)
        spec = _spec(corpus, settings)
        augmentation, shown = Augmentation(flip=settings.flip, crop=None), _normalised(corpus, normalisation)
        images = TrainingImages(shown, augmentation, settings.batch_size, settings.seed, device)
        loop = Loop(spec, model, Updater(spec, parameter_groups(model, spec)), images, [])

        def tell(at: StepsDone) -> None:
            if progress is not None:
                progress(at.step, at.total)

        try:
            loop.run(0, _KeepsNothing(), lambda: False, tell)
        except DivergedError as failure:
            raise TrainingError(
                f"fine-tuning: {failure} of {settings.steps}; try a lower rate than {settings.lr:g}"
            ) from None
    return nn.Module.eval(model.network).cpu()


@torch.no_grad()
def reestimate(
    module: nn.Module,
    corpus: Corpus,
    normalisation: NormalisationInfo,
    images: int,
    batch_size: int,
    seed: int,
    *,
    device: str = "cpu",
) -> nn.Module:
    """Return a copy whose batch norms have the statistics of training images, drawn by a seed; weights stay.

    Mean and variance are the means over batches of about equal size, as torch takes them with ``momentum=None``. A
    channel that does not vary keeps its statistics: a constant is a constant, and what follows was made for it.

    Raises:
        UsageError: no batch norm with statistics, or a network that fails while these train.
        DataError: images that are decoded on the way, and bad.
    """
    model = nn.Module.eval(copy.deepcopy(module)).to(device)
    norms = batch_norms(model)
    if not norms:
        raise UsageError("batch norms cannot be re-estimated: the network has none with running statistics")
    before = {norm: (norm.momentum, _statistics(norm)) for norm in norms}
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.training = True
    drawn = _normalised(corpus.sample(images, seed), normalisation)
    count = -(-len(drawn) // batch_size)
    shown = TrainingImages(drawn, Augmentation(flip=False, crop=None), -(-len(drawn) // count), seed, device)
    with chance_apart(device), deterministic(device):
        for pictures, _ in itertools.islice(shown.batches(0), shown.steps_per_epoch):
            _answer(model, pictures)
    for norm, (momentum, old) in before.items():
        norm.momentum = momentum
        norm.training = False
        mean, variance = _statistics(norm)
        for new, kept in zip((norm.running_mean, norm.running_var), old, strict=True):
            assert new is not None
            new.copy_(torch.where(variance == 0, kept, mean if new is norm.running_mean else variance))
    return model.cpu()


def batch_norms(module: nn.Module) -> list[_BatchNorm]:
    """Return the batch norms that have running statistics."""
    parts = (part for _, part in nn.Module.named_modules(module))
    return [part for part in parts if isinstance(part, _BatchNorm) and part.running_mean is not None]


class _Trained(nn.Module):
    """A network as the trainer wants it: one that answers logits, and of which norms and dropouts alone train."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = nn.Module.eval(network)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [batch, classes]."""
        return _answer(self.network, images)

    def train(self, mode: bool = True) -> _Trained:
        """Switch norms and dropouts."""
        for _, part in nn.Module.named_modules(self):
            if isinstance(part, _NormBase | _DropoutNd):
                part.training = mode
        return self


class _KeepsNothing:
    """A run that leaves nothing behind until it is at its end."""

    def due(self, step: int) -> bool:  # noqa: ARG002
        """Tell that there is nothing to keep."""
        return False

    def keep(self, step: int, *, last: bool) -> None:
        """Keep nothing."""


def _answer(network: nn.Module, images: Tensor) -> Tensor:
    try:
        return tensors_in(network(images))[0]
    except Exception as failure:  # the network's own code raises whatever it likes
        raise UsageError(f"tuning: {type(network).__name__} fails while it trains: {one_line(failure)}") from failure


def _statistics(norm: _BatchNorm) -> tuple[Tensor, Tensor]:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    return norm.running_mean.clone(), norm.running_var.clone()


def _normalised(corpus: Corpus, normalisation: NormalisationInfo) -> Corpus:
    """Return the corpus with the network's scaling of pixels in place of its own."""
    return replace(corpus, normalisation=Normalisation(mean=normalisation.mean, std=normalisation.std))


def _spec(corpus: Corpus, settings: TuningSettings) -> ZooSpec:
    """Return the settings in the trainer's words."""
    return ZooSpec.model_validate(
        {
            "network": {"name": "slim"},
            "data": {"name": corpus.name, "flip": settings.flip},
            "optimizer": {"name": settings.optimizer, "lr": settings.lr},
            "regularizer": {"kind": "none"},
            "schedule": {"unit": "iterations", "total": settings.steps},
            "batch_size": settings.batch_size,
            "seed": settings.seed % 2**32,
        }
    )
