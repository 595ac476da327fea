"""From a weight file to a network that runs: find the architecture, build it, fill it."""

from __future__ import annotations

import copy
import importlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from sparsity_audit.checkpoints.checkpoint import Checkpoint
from sparsity_audit.checkpoints.tensor import Tensor
from sparsity_audit.checkpoints.torch_io import tensors_of
from sparsity_audit.errors import ArchitectureError, UntrustedCodeError, UsageError, did_you_mean
from sparsity_audit.models.cifar_resnet import BLOCKS
from sparsity_audit.models.detect import HOW_TO_NAME, detect, name_variants
from sparsity_audit.models.index import find_entry
from sparsity_audit.models.metadata import read_metadata
from sparsity_audit.models.recognise import read_zoo
from sparsity_audit.models.registry import build_match, build_network, build_torchvision, zoo_names
from sparsity_audit.models.shapes import differences, is_counter, summary
from sparsity_audit.models.skeleton import build_skeleton, give_memory, module_shapes
from sparsity_audit.schema.spec import ModelMetadata, NetworkSpec, Normalisation

IMAGENET = Normalisation(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])
"""What the public CIFAR ResNets were trained with, and most of torchvision's weights."""
CIFAR_SIDE = 32


@dataclass(frozen=True)
class Architecture:
    """Whose weights a file holds, and what its images look like."""

    name: str
    """``zoo:resnet20``, ``torchvision:vgg16_bn``, ``python:pkg.module:factory``, ``module:Class``."""
    how: Literal["metadata", "option", "detected"]
    twins: tuple[str, ...]
    classes: int | None
    input_shape: tuple[int, int, int]
    """Channels, height, width of the images it was made for."""
    normalisation: Normalisation | None
    """The published preprocessing of this architecture's checkpoints, where there is one."""


@dataclass(frozen=True)
class LoadedModel:
    """A network with its weights: float32, on the CPU, in eval mode."""

    module: nn.Module
    checkpoint: Checkpoint
    architecture: Architecture
    metadata: ModelMetadata | None


def load_model(checkpoint: Checkpoint, arch: str | None = None, *, trust_code: bool = False) -> LoadedModel:
    """Build the network that a checkpoint belongs to and give it the checkpoint's weights.

    The architecture is ``arch`` where given, else what the file's metadata say, else what its tensors fit.

    Args:
        arch: ``zoo:NAME``, ``torchvision:NAME`` or ``python:PKG.MODULE:FACTORY``.
        trust_code: allow ``python:`` to import and call code.

    Raises:
        ArchitectureError: the tensors don't fit.
        UsageError: an architecture that nobody knows.
        UntrustedCodeError: ``python:`` without ``trust_code``.
    """
    metadata = read_metadata(checkpoint)
    if arch is not None:
        module, architecture = _from_option(checkpoint, arch, trust_code)
    elif metadata is not None:
        module, architecture = _from_metadata(metadata)
    else:
        module, architecture = _from_detection(checkpoint)
    return LoadedModel(_filled(module, checkpoint, architecture.name), checkpoint, architecture, metadata)


def loaded_module(module: nn.Module, input_shape: tuple[int, int, int], classes: int | None) -> LoadedModel:
    """Return a module in memory as a loaded model; what is kept is a copy, so that nothing of it changes."""
    copied = copy.deepcopy(module).cpu().float().eval()
    name = f"module:{type(module).__name__}"
    checkpoint = Checkpoint(Path(name), tensors_of(Path(name), nn.Module.state_dict(copied)), "torch")
    architecture = Architecture(name, "option", (), classes, input_shape, None)
    return LoadedModel(copied, checkpoint, architecture, None)


def _from_metadata(metadata: ModelMetadata) -> tuple[nn.Module, Architecture]:
    channels = metadata.input_shape[0]
    network = metadata.network
    module = build_skeleton(lambda: build_network(network, channels, len(metadata.classes)))
    name = network.name if ":" in network.name else f"zoo:{network.name}"
    return module, Architecture(name, "metadata", (), len(metadata.classes), metadata.input_shape, None)


def _from_detection(checkpoint: Checkpoint) -> tuple[nn.Module, Architecture]:
    found = detect(checkpoint)
    if found.source == "zoo":
        spec = found.spec or NetworkSpec(name=found.name)
        module = build_skeleton(lambda: build_network(spec, found.in_channels, found.classes))
        return module, _zoo_architecture(found.name, "detected", found.twins, found.classes, found.in_channels)
    return _torchvision(checkpoint, found.name, "detected", found.twins, found.classes)


def _from_option(checkpoint: Checkpoint, arch: str, trust_code: bool) -> tuple[nn.Module, Architecture]:
    kind, _, name = arch.partition(":")
    if kind == "zoo" and name in zoo_names():
        match = read_zoo(name, name_variants(checkpoint)[0])
        return build_match(match), _zoo_architecture(name, "option", (), match.classes, match.in_channels)
    if kind == "zoo":
        raise UsageError(f"--arch {arch}: unknown zoo network{did_you_mean(name, zoo_names())}")
    if kind == "torchvision":
        return _torchvision(checkpoint, name, "option", (), None)
    if kind == "python":
        return _from_factory(arch, name, trust_code)
    raise UsageError(f"--arch {arch}: not one of {HOW_TO_NAME}")


def _zoo_architecture(
    name: str, how: Literal["option", "detected"], twins: tuple[str, ...], classes: int, channels: int
) -> Architecture:
    published = IMAGENET if name in BLOCKS and channels == 3 else None
    return Architecture(f"zoo:{name}", how, twins, classes, (channels, CIFAR_SIDE, CIFAR_SIDE), published)


def _torchvision(
    checkpoint: Checkpoint,
    name: str,
    how: Literal["option", "detected"],
    twins: tuple[str, ...],
    classes: int | None,
) -> tuple[nn.Module, Architecture]:
    entry = find_entry(name)
    given = name_variants(checkpoint)[0]
    count = classes or (entry.classes(given) if entry else None) or 1000
    auxiliary = entry is None or not entry.auxiliary or any(key.startswith(entry.auxiliary) for key in given)
    module = build_skeleton(lambda: build_torchvision(name, 3, count, auxiliary=auxiliary))
    side, published = (entry.side, entry.normalisation) if entry else (224, IMAGENET)
    return module, Architecture(f"torchvision:{name}", how, twins, count, (3, side, side), published)


def _from_factory(arch: str, target: str, trust_code: bool) -> tuple[nn.Module, Architecture]:
    """Import and call a user's factory; only with their word for it."""
    path, _, factory_name = target.partition(":")
    if not path or not factory_name:
        raise UsageError(f"--arch {arch}: write python:PKG.MODULE:FACTORY")
    if not trust_code:
        raise UntrustedCodeError(f"--arch {arch} imports and runs code: say --trust-code to allow it")
    sys.path.insert(0, str(Path.cwd()))
    try:
        factory = getattr(importlib.import_module(path), factory_name)
        module = factory()
    except Exception as failure:
        reason = f"{type(failure).__name__}: {failure}"
        raise UsageError(f"--arch {arch}: cannot be built: {reason}") from failure
    finally:
        sys.path.remove(str(Path.cwd()))
    if not isinstance(module, nn.Module):
        raise UsageError(f"--arch {arch}: gave a {type(module).__name__}, not a torch.nn.Module")
    shape = (_first_channels(module), 224, 224)
    return module, Architecture(arch, "option", (), None, shape, None)


def _first_channels(module: nn.Module) -> int:
    """Return the channels that the first convolution reads; 3 where there is none."""
    convolutions = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
    found = (part.in_channels for _, part in nn.Module.named_modules(module) if isinstance(part, convolutions))
    return next(found, 3)


def _filled(module: nn.Module, checkpoint: Checkpoint, name: str) -> nn.Module:
    """Return the network with the checkpoint's values, float32, in eval mode.

    Raises:
        ArchitectureError: tensors are missing, extra or of another shape.
    """
    expected = module_shapes(module)
    fits = [shapes for shapes in name_variants(checkpoint) if not differences(expected, shapes)]
    if not fits:
        found = min((differences(expected, shapes) for shapes in name_variants(checkpoint)), key=len)
        raise ArchitectureError(f"{checkpoint.path}: does not fit {name}: {summary(found)}")
    added = len(next(iter(fits[0]))) - len(next(iter(checkpoint.tensors)))
    prefix = next(iter(fits[0]))[:added]
    module = give_memory(module)
    state = _values(checkpoint.tensors, prefix, expected)
    with torch.no_grad():
        for key, own in nn.Module.state_dict(module).items():
            if key in state:
                own.copy_(state[key])
    return nn.Module.eval(nn.Module.float(module))


def _values(tensors: Mapping[str, Tensor], prefix: str, expected: Mapping[str, object]) -> dict[str, torch.Tensor]:
    """Return the checkpoint's values under the network's names; batch counters may be absent on either side."""
    named = {prefix + name: tensor for name, tensor in tensors.items()}
    return {name: tensor.torch() for name, tensor in named.items() if name in expected or not is_counter(name)}
