"""Write the indexes of torchvision's classification models and of timm's that detection looks checkpoints up in.

Run it where timm is installed, after raising the torchvision requirement (some ten minutes on one core; nothing is
downloaded):

    python scripts/build_architecture_index.py
"""

from __future__ import annotations

import argparse
import gzip
import json
import warnings
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision
from torchvision import models

from sparsity_audit.models.index import INDEX
from sparsity_audit.models.registry import AUXILIARY, build_torchvision
from sparsity_audit.models.shapes import Shape, without_counters
from sparsity_audit.models.skeleton import build_skeleton, module_shapes
from sparsity_audit.models.timm_index import TIMM_INDEX, names_digest, shapes_digest

TARGET = Path(__file__).resolve().parent.parent / "sparsity_audit" / "models"


def torchvision_shapes(name: str, classes: int) -> dict[str, Shape]:
    """Return names and shapes of a torchvision model's tensors, batch counters left out."""
    return without_counters(module_shapes(build_skeleton(lambda: build_torchvision(name, 3, classes))))


def preprocessing(name: str) -> dict[str, Any]:
    """Return mean, deviation and image side of the smallest of torchvision's own weights for a model."""
    presets = [weights.transforms() for weights in models.get_model_weights(name)]
    preset = min(presets, key=lambda preset: preset.crop_size[0])
    mean, std = preset.mean, preset.std
    if name in AUXILIARY:
        # With its own weights torchvision turns on transform_input, which inside the network makes (p - 0.5) / 0.5 of
        # ImageNet's normalisation. We build the network without it, so that is what its input needs.
        mean = std = [0.5, 0.5, 0.5]
    return {"mean": mean, "std": std, "side": preset.crop_size[0]}


def class_axes(shapes: dict[str, Shape], wider: dict[str, Shape]) -> dict[str, int]:
    """Return the tensors that differ between two class counts, and the axis in which they do."""
    axes = {}
    for tensor, shape in shapes.items():
        changed = [axis for axis, (a, b) in enumerate(zip(shape, wider[tensor], strict=True)) if a != b]
        if changed:
            (axes[tensor],) = changed
    return axes


def describe(name: str) -> dict[str, Any]:
    """Return a model's entry, but for its twins."""
    shapes, wider = torchvision_shapes(name, 1000), torchvision_shapes(name, 1001)
    return {
        "tensors": shapes,
        "class_axes": class_axes(shapes, wider),
        "auxiliary": AUXILIARY.get(name, []),
        "twins": [],
    } | preprocessing(name)


def key(shapes: dict[str, Shape]) -> str:
    """Return names and shapes as one string, to find equal networks by."""
    return json.dumps(sorted(shapes.items()))


def timm_shapes(name: str, classes: int) -> dict[str, Shape]:
    """Return names and shapes of a timm network's tensors, batch counters left out."""
    # Some of timm's networks run a part of themselves while they are built, so all of it has to be on one device.
    with torch.device("meta"):
        module = timm.create_model(name, pretrained=False, num_classes=classes)
    return without_counters(module_shapes(module))


def describe_timm(name: str) -> tuple[dict[str, Any], dict[str, Shape]]:
    """Return a timm network's entry, and its names and shapes at 1,000 classes."""
    shapes = timm_shapes(name, 1000)
    axes = class_axes(shapes, timm_shapes(name, 1001))
    entry = {"names": names_digest(shapes), "shapes": shapes_digest(shapes, axes), "class_axes": axes}
    return entry, shapes


def index_timm(entries: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return timm's networks, and add their names to the torchvision entries that they equal."""
    owners: dict[str, list[str]] = {}
    for name, entry in entries.items():
        owners.setdefault(key(entry["tensors"]), []).append(name)
    found = {}
    for name in timm.list_models():
        try:
            entry, shapes = describe_timm(name)
        except Exception as error:  # what cannot be built on meta is named, and left out
            print(f"timm:{name} left out: {type(error).__name__}: {error}")
            continue
        # Without classes to count there is no classifier, and nothing to audit.
        if entry["class_axes"]:
            found[name] = entry
        for owner in owners.get(key(shapes), []):
            entries[owner]["twins"].append(f"timm:{name}")
    return found


def write(path: Path, index: dict[str, Any]) -> None:
    """Write an index, the same bytes for the same content."""
    packed = gzip.compress(json.dumps(index, separators=(",", ":")).encode(), mtime=0)
    path.write_bytes(packed)
    print(f"{path.name}: {len(index['models'])} models, {len(packed):,} bytes")


def main() -> None:
    """Write the indexes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=TARGET, help="the folder for both files")
    folder: Path = parser.parse_args().output
    warnings.simplefilter("ignore")
    entries = {name: describe(name) for name in models.list_models(module=models)}
    networks = index_timm(entries)
    versions = {"torchvision": torchvision.__version__.split("+")[0], "timm": timm.__version__}
    write(folder / INDEX, versions | {"models": entries})
    write(folder / TIMM_INDEX, versions | {"models": networks})
    print(f"{sum(bool(entry['twins']) for entry in entries.values())} torchvision models with twins in timm")


if __name__ == "__main__":
    main()
