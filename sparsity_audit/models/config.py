"""What a weight folder's ``config.json`` says of its network, in timm's terms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic import ValidationError

from sparsity_audit.checkpoints.checkpoint import Checkpoint
from sparsity_audit.errors import CheckpointError
from sparsity_audit.schema.spec import Normalisation

_OURS = frozenset(
    "model_name pretrained pretrained_cfg pretrained_cfg_overlay checkpoint_path cache_dir scriptable exportable "
    "no_jit num_classes features_only out_indices".split()
)
"""Arguments of timm that make it fetch, load or cut off something, or that we give ourselves."""


class FolderConfig(NamedTuple):
    """The entries that matter here; None for those that are absent."""

    name: str | None
    """timm's name of the network."""
    classes: int | None
    arguments: dict[str, Any]
    """Keyword arguments of the network."""
    normalisation: Normalisation | None
    input_shape: tuple[int, int, int] | None
    """Channels, height and width of the images it is meant for."""


def read_config(checkpoint: Checkpoint) -> FolderConfig:
    """Return what the folder's configuration says; all absent for a file, and where another library wrote it.

    timm's present files keep the preprocessing under ``pretrained_cfg``, its older ones at the top.

    Raises:
        CheckpointError: an entry of a wrong kind.
    """
    config = checkpoint.config
    preset = config.get("pretrained_cfg")
    preset = preset if isinstance(preset, dict) else config
    name = config.get("architecture")
    if name is not None and not (isinstance(name, str) and name and name.isprintable()):
        raise _unusable(checkpoint, "architecture", "not a name")
    return FolderConfig(
        name,
        _classes(checkpoint),
        _arguments(checkpoint),
        _normalisation(checkpoint, preset),
        _input_shape(checkpoint, preset),
    )


def _classes(checkpoint: Checkpoint) -> int | None:
    classes = checkpoint.config.get("num_classes")
    if classes is not None and not _is_size(classes):
        raise _unusable(checkpoint, "num_classes", "not a positive whole number")
    return classes


def _arguments(checkpoint: Checkpoint) -> dict[str, Any]:
    arguments = checkpoint.config.get("model_args") or {}
    if not isinstance(arguments, dict):
        raise _unusable(checkpoint, "model_args", "not an object")
    refused = sorted(_OURS & arguments.keys())
    if refused:
        raise _unusable(checkpoint, "model_args", f"{refused[0]} is not an argument of the network")
    return arguments


def _normalisation(checkpoint: Checkpoint, preset: Mapping[str, Any]) -> Normalisation | None:
    mean, std = preset.get("mean"), preset.get("std")
    if mean is None or std is None:
        return None
    try:
        found = Normalisation(mean=mean, std=std)
    except ValidationError:
        raise _unusable(checkpoint, "mean, std", "not lists of numbers, the latter above 0") from None
    if len(found.mean) != len(found.std):
        raise _unusable(checkpoint, "mean, std", "of different lengths")
    return found


def _input_shape(checkpoint: Checkpoint, preset: Mapping[str, Any]) -> tuple[int, int, int] | None:
    shape = preset.get("input_size")
    if shape is None:
        return None
    if not (isinstance(shape, list) and len(shape) == 3 and all(_is_size(size) for size in shape)):
        raise _unusable(checkpoint, "input_size", "not [channels, height, width]")
    return shape[0], shape[1], shape[2]


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _unusable(checkpoint: Checkpoint, entry: str, reason: str) -> CheckpointError:
    return CheckpointError(f"{checkpoint.path}: config.json is unusable ({entry}: {reason}); correct or remove it")
