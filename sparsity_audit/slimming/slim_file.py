"""Slim files: safetensors, with the architecture and its widths in the metadata; no code, no pickle."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from sparsity_audit.checkpoints.safetensors_io import write_safetensors
from sparsity_audit.engine.subject import Subject
from sparsity_audit.errors import ArchitectureError
from sparsity_audit.models.metadata import KEY
from sparsity_audit.models.naming import shapes_of
from sparsity_audit.models.recognise import read_zoo
from sparsity_audit.models.registry import AUXILIARY, TORCHVISION
from sparsity_audit.schema.prune_report import PruneReport
from sparsity_audit.schema.slim import SlimInfo
from sparsity_audit.schema.spec import ModelMetadata, NetworkSpec, Normalisation
from sparsity_audit.slimming.slim import Slim


def write_slim(path: Path, slim: Slim, report: PruneReport, subject: Subject, classes: list[str] | None) -> None:
    """Write a slim network; the file appears whole or not at all.

    Args:
        report: of the call that made it.
        subject: the model that it was made from.
        classes: names of its classes, where a corpus knows them; their numbers are written otherwise.

    Raises:
        CheckpointError: the file cannot be written.
        ArchitectureError: a network that no file can name.
    """
    metadata = slim_metadata(slim, report, subject, classes)
    write_safetensors(path, slim_tensors(slim, metadata.network.name), {KEY: metadata.to_json(indent=None)})


def slim_tensors(slim: Slim, network: str) -> dict[str, torch.Tensor]:
    """Return the tensors of a slim network; heads that only training uses are left out, since nothing fits them now."""
    left_out = tuple(AUXILIARY.get(network.removeprefix(TORCHVISION), ()))
    state = nn.Module.state_dict(slim.module)
    return {
        name: value
        for name, value in state.items()
        if isinstance(value, torch.Tensor) and not name.startswith(left_out)
    }


def slim_metadata(slim: Slim, report: PruneReport, subject: Subject, classes: list[str] | None) -> ModelMetadata:
    """Return what a slim file says of itself."""
    known = subject.known
    assert known is not None
    assert report.plan.pruning_class is not None
    assert report.normalisation is not None
    removed = {layer.key: len(layer.removed) for layer in report.plan.layers}
    before = subject.metadata
    earlier = {} if before is None or before.slim is None else before.slim.groups
    info = SlimInfo(
        original_sha256=subject.checkpoint.sha256,
        pruning_class=report.plan.pruning_class,
        widths={layer.key: layer.filters - removed.get(layer.key, 0) for layer in known.graph.layers},
        groups={**earlier, **slim.groups},
    )
    if before is not None:
        return before.model_copy(update={"slim": info})
    count = known.loaded.architecture.classes or _outputs(slim, known.graph.captured.input_shape)
    names = classes if classes is not None and len(classes) == count else [str(number) for number in range(count)]
    return ModelMetadata(
        network=_network(subject),
        input_shape=known.graph.captured.input_shape,
        classes=names,
        normalisation=Normalisation(mean=report.normalisation.mean, std=report.normalisation.std),
        pixel_scale=report.normalisation.pixel_scale,
        slim=info,
    )


def _network(subject: Subject) -> NetworkSpec:
    """Return the network that builds the original: by its full spec where it is the zoo's, else by name alone."""
    assert subject.known is not None
    name = subject.known.loaded.architecture.name
    if not name.startswith("zoo:"):
        return NetworkSpec(name=name)
    return read_zoo(name.removeprefix("zoo:"), shapes_of(subject.checkpoint.tensors)).spec


def _outputs(slim: Slim, shape: tuple[int, int, int]) -> int:
    with torch.inference_mode():
        answer = slim.module(torch.zeros(2, *shape))
    if not isinstance(answer, torch.Tensor) or answer.dim() != 2:
        raise ArchitectureError("a network without class logits cannot be written as a slim file")
    return int(answer.shape[1])
