"""From a checkpoint to a network with its weights in it."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import nn

from sparsity_audit.checkpoints.checkpoint import Checkpoint
from sparsity_audit.checkpoints.tensor import FORMATS, Tensor
from sparsity_audit.errors import ArchitectureError, UsageError
from sparsity_audit.models.config import FolderConfig, read_config
from sparsity_audit.models.detect import detect
from sparsity_audit.models.index import DEFAULT_CLASSES, find_entry
from sparsity_audit.models.metadata import read_metadata
from sparsity_audit.models.naming import namings, shapes_of
from sparsity_audit.models.option import call_factory, parse_arch
from sparsity_audit.models.recognise import ZooMatch, read_zoo
from sparsity_audit.models.registry import (
    TORCHVISION,
    build_match,
    build_network,
    build_torchvision,
    input_side,
)
from sparsity_audit.models.shapes import differences, is_counter, summary
from sparsity_audit.models.skeleton import build_skeleton, fill, module_shapes
from sparsity_audit.models.slim import resize
from sparsity_audit.models.timm_index import load_timm_index
from sparsity_audit.models.timm_network import TIMM, build_timm
from sparsity_audit.schema.spec import ModelMetadata, Normalisation

IMAGENET = Normalisation(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])
"""What the public CIFAR ResNets and nearly all of torchvision's weights were trained with."""

How = Literal["metadata", "option", "detected"]


@dataclass(frozen=True)
class Architecture:
    """Whose weights these are, and how that was found out."""

    name: str
    """``zoo:resnet20``, ``torchvision:vgg16_bn``, ``timm:resnet26d``, ``python:pkg.module:factory``."""
    how: How
    """``metadata`` also where a folder's ``config.json`` said it."""
    classes: int | None
    """None for a network from a factory, which alone knows."""
    input_shape: tuple[int, int, int] | None
    """Channels, height, width of the images it is meant for; None where nothing says so (factories)."""
    normalisation: Normalisation | None
    """Preprocessing by the folder's ``config.json``, else the published one of this architecture's checkpoints; the
    metadata of a checkpoint go first."""
    twins: tuple[str, ...] = ()
    """Detected only: networks with the same names and shapes, some of which compute something else."""


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A network with a checkpoint's weights, in evaluation mode, float32, on the CPU."""

    module: nn.Module
    checkpoint: Checkpoint
    architecture: Architecture
    metadata: ModelMetadata | None


class Choice(NamedTuple):
    """An architecture and its network, still without the weights."""

    architecture: Architecture
    module: nn.Module


def load_model(checkpoint: Checkpoint, arch: str | None = None, trust_code: bool = False) -> LoadedModel:
    """Return the network that a checkpoint belongs to, with its weights.

    The network is that of ``arch`` (``zoo:NAME``, ``torchvision:NAME``, ``timm:NAME``,
    ``python:PKG.MODULE:FACTORY``), else that of the checkpoint's metadata, else that of its folder's ``config.json``,
    else it is detected by names and shapes. Weights are cast to float32; batch counters may be absent.

    Raises:
        UsageError: an unknown name in ``arch``, or a network of timm where timm is not installed.
        UntrustedCodeError: ``python:`` without ``trust_code``.
        CheckpointError: metadata or a ``config.json`` with unusable entries.
        ArchitectureError: weights that do not fit the network, or no known network.
    """
    metadata, config = read_metadata(checkpoint), read_config(checkpoint)
    if arch is not None:
        choice = _named(checkpoint, arch, trust_code)
    elif metadata is not None:
        choice = _stated(checkpoint, metadata)
    else:
        choice = _configured(checkpoint, config) or _detected(checkpoint)
    if metadata is not None and metadata.slim is not None:
        resize(choice.module, shapes_of(checkpoint.tensors), metadata.slim.groups)
    architecture = choice.architecture
    architecture = replace(
        architecture,
        normalisation=config.normalisation or architecture.normalisation,
        input_shape=metadata.input_shape if metadata else config.input_shape or architecture.input_shape,
    )
    module = _fill(choice.module, checkpoint, architecture.name)
    return LoadedModel(module, checkpoint, architecture, metadata)


def loaded_module(module: nn.Module, *, input_shape: tuple[int, int, int], classes: int | None) -> LoadedModel:
    """Return a copy of a network in memory as if it had been loaded; the original stays as it is.

    Raises:
        ArchitectureError: a tensor of a dtype that weight files do not have.
    """
    module = copy.deepcopy(module).to("cpu", torch.float32)
    kind = type(module)
    name = f"python:{kind.__module__}:{kind.__qualname__}"
    tensors = {
        key: _in_memory(key, value)
        for key, value in nn.Module.state_dict(module).items()
        if isinstance(value, torch.Tensor)
    }
    architecture = Architecture(name, "option", classes, input_shape, None)
    checkpoint = Checkpoint(Path(name), tensors, container="torch")
    return LoadedModel(nn.Module.eval(module), checkpoint, architecture, None)


def _in_memory(name: str, value: torch.Tensor) -> Tensor:
    dtype = str(value.dtype).removeprefix("torch.")
    code = next((code for code, known in FORMATS.items() if known.torch == dtype), None)
    if code is None:
        raise ArchitectureError(f"tensor {name!r} of the module is {dtype}, which is not supported; cast it")
    # A copy: the module's own memory may change after its digest was taken.
    data = value.detach().contiguous().reshape(-1).view(torch.uint8).numpy()
    return Tensor(name, code, tuple(value.shape), memoryview(data.tobytes()))


def _named(checkpoint: Checkpoint, arch: str, trust_code: bool) -> Choice:
    source, name = parse_arch(arch)
    if source == "python":
        return Choice(Architecture(arch, "option", None, None, None), call_factory(name, trust_code))
    if source == "zoo":
        match = read_zoo(name, shapes_of(checkpoint.tensors))
        return Choice(_zoo_architecture(match, "option"), build_match(match))
    if source == "timm":
        return _timm(checkpoint, name, "option")
    return _torchvision(checkpoint, name, "option")


def _stated(checkpoint: Checkpoint, metadata: ModelMetadata) -> Choice:
    channels, classes = metadata.input_shape[0], len(metadata.classes)
    name = metadata.network.name
    if name.startswith("python:"):
        raise ArchitectureError(
            f"{checkpoint.path}: its network comes from a factory, which files do not run: --arch {name} --trust-code"
        )
    if name.startswith(TIMM):
        return _timm(checkpoint, name.removeprefix(TIMM), "metadata", classes=classes)
    try:
        module = build_skeleton(lambda: build_network(metadata.network, channels, classes))
    except UsageError as error:
        raise ArchitectureError(f"{checkpoint.path}: the metadata name no network that can be built: {error}") from None
    title = name if name.startswith(TORCHVISION) else f"zoo:{name}"
    return Choice(Architecture(title, "metadata", classes, metadata.input_shape, metadata.normalisation), module)


def _configured(checkpoint: Checkpoint, config: FolderConfig) -> Choice | None:
    """Return the network that the folder's configuration names; None where nobody knows that name."""
    name = config.name
    if name is None:
        return None
    if name.partition(".")[0] in load_timm_index():
        return _timm(checkpoint, name, "metadata", config)
    return _torchvision(checkpoint, name, "metadata") if find_entry(name) else None


def _detected(checkpoint: Checkpoint) -> Choice:
    found = detect(checkpoint)
    if found.source == "timm":
        choice = _timm(checkpoint, found.name, "detected")
    elif found.spec is None:
        choice = _torchvision(checkpoint, found.name, "detected")
    else:
        match = ZooMatch(found.name, found.spec, found.in_channels, found.classes)
        choice = Choice(_zoo_architecture(match, "detected"), build_match(match))
    return choice._replace(architecture=replace(choice.architecture, twins=found.twins))


def _zoo_architecture(match: ZooMatch, how: Literal["option", "detected"]) -> Architecture:
    side = input_side(match)
    normalisation = IMAGENET if match.name.startswith("resnet") and match.in_channels == 3 else None
    shape = (match.in_channels, side, side)
    return Architecture(f"zoo:{match.name}", how, match.classes, shape, normalisation)


def _timm(
    checkpoint: Checkpoint, name: str, how: How, config: FolderConfig | None = None, classes: int | None = None
) -> Choice:
    """Return a network of timm, with the class count that is given, else the configuration's, else the tensors'."""
    entry, shapes = load_timm_index().get(name.partition(".")[0]), shapes_of(checkpoint.tensors)
    classes = classes or (config.classes if config else None) or (entry.classes(shapes) if entry else None)
    classes = classes or DEFAULT_CLASSES
    try:
        module = build_timm(name, classes, config.arguments if config else None)
    except (UsageError, ArchitectureError) as error:
        raise type(error)(f"{checkpoint.path}: {error}") from None
    # Of the weights that the name's tag stands for, or of timm's default.
    preset: dict[str, Any] = getattr(module, "pretrained_cfg", None) or {}
    channels, height, width = preset.get("input_size") or (3, 224, 224)
    mean, std = preset.get("mean"), preset.get("std")
    normalisation = Normalisation(mean=list(mean), std=list(std)) if mean and std else None
    return Choice(Architecture(TIMM + name, how, classes, (channels, height, width), normalisation), module)


def _torchvision(checkpoint: Checkpoint, name: str, how: How) -> Choice:
    entry, shapes = find_entry(name), shapes_of(checkpoint.tensors)
    classes, auxiliary, side, normalisation = DEFAULT_CLASSES, False, 224, IMAGENET
    if entry is not None:
        classes = entry.classes(shapes) or DEFAULT_CLASSES
        auxiliary, side, normalisation = entry.has_auxiliary(shapes), entry.side, entry.normalisation
    module = build_skeleton(lambda: build_torchvision(name, 3, classes, auxiliary=auxiliary))
    return Choice(Architecture(TORCHVISION + name, how, classes, (3, side, side), normalisation), module)


def _fill(module: nn.Module, checkpoint: Checkpoint, name: str) -> nn.Module:
    """Put the weights into the network.

    Methods of nn.Module are called through the class where users' classes have been seen to shadow them.

    Raises:
        ArchitectureError: tensors that are missing, extra or mis-shaped; nothing was loaded.
    """
    expected = module_shapes(module)
    trials = [(differences(expected, shapes_of(tensors)), tensors) for tensors in namings(checkpoint)]
    found, tensors = min(trials, key=lambda trial: len(trial[0]))
    if found:
        noun = "tensor does" if len(found) == 1 else "tensors do"
        raise ArchitectureError(
            f"{checkpoint.path}: {len(found)} {noun} not fit {name}: {summary(found)}; "
            f"name the network they come from with --arch"
        )
    fill(
        module.to(torch.float32),
        {
            key: tensor.torch().float() if tensor.is_floating else tensor.torch()
            for key, tensor in tensors.items()
            if not is_counter(key) or expected.get(key) == tensor.shape
        },
    )
    return nn.Module.eval(module)
