"""Write the index of torchvision's classification models that detection looks checkpoints up in.

Run it after raising the torchvision requirement:

    python scripts/build_architecture_index.py

For the twins in timm, run it where timm is installed; without timm every list of them stays empty.
"""

from __future__ import annotations

import argparse
import gzip
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import torchvision
from torchvision import models

from sparsity_audit.models.registry import AUXILIARY, build_torchvision
from sparsity_audit.models.shapes import Shape, without_counters
from sparsity_audit.models.skeleton import build_skeleton, module_shapes

TARGET = Path(__file__).resolve().parent.parent / "sparsity_audit" / "models" / "architectures.json.gz"


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


def describe(name: str) -> dict[str, Any]:
    """Return a model's entry, but for its twins."""
    shapes, wider = torchvision_shapes(name, 1000), torchvision_shapes(name, 1001)
    axes = {}
    for tensor, shape in shapes.items():
        changed = [axis for axis, (a, b) in enumerate(zip(shape, wider[tensor], strict=True)) if a != b]
        if changed:
            (axes[tensor],) = changed
    return {
        "tensors": shapes,
        "class_axes": axes,
        "auxiliary": AUXILIARY.get(name, []),
        "twins": [],
    } | preprocessing(name)


def key(shapes: dict[str, Shape]) -> str:
    """Return names and shapes as one string, to find equal networks by."""
    return json.dumps(sorted(shapes.items()))


def add_timm_twins(entries: dict[str, dict[str, Any]]) -> str | None:
    """Add timm's networks to the entries they equal, and return timm's version; None where it is not installed."""
    try:
        import timm
    except ModuleNotFoundError:
        return None
    owners: dict[str, list[str]] = {}
    for name, entry in entries.items():
        owners.setdefault(key(entry["tensors"]), []).append(name)
    for name in timm.list_models():
        # Some of timm's networks run a part of themselves while they are built, so all of it has to be on one device.
        with torch.device("meta"):
            shapes = without_counters(module_shapes(timm.create_model(name, num_classes=1000)))
        for owner in owners.get(key(shapes), []):
            entries[owner]["twins"].append(f"timm:{name}")
    return version("timm")


def main() -> None:
    """Write the index."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=TARGET)
    output: Path = parser.parse_args().output
    entries = {name: describe(name) for name in models.list_models(module=models)}
    timm_version = add_timm_twins(entries)
    index = {"torchvision": torchvision.__version__.split("+")[0], "timm": timm_version, "models": entries}
    packed = gzip.compress(json.dumps(index, separators=(",", ":")).encode(), mtime=0)
    output.write_bytes(packed)
    twins = sum(bool(entry["twins"]) for entry in entries.values())
    print(f"{output.name}: {len(entries)} models, {twins} with twins in timm {timm_version}, {len(packed):,} bytes")


if __name__ == "__main__":
    main()
