"""Names and shapes of torchvision's classification models, looked up without importing torchvision.

The index, ``architectures.json.gz``, is made by ``scripts/build_architecture_index.py``.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

from sparsity_audit.models.shapes import Shape, Shapes, without_counters
from sparsity_audit.schema.spec import Normalisation

INDEX = "architectures.json.gz"
DEFAULT_CLASSES = 1000


class Match(NamedTuple):
    """A torchvision model that has exactly these tensors."""

    name: str
    classes: int
    twins: tuple[str, ...]
    """Networks of other libraries with the same names and shapes (``timm:NAME``)."""


class Entry(NamedTuple):
    """One model of the index, as built with 1,000 classes; batch counters left out."""

    name: str
    tensors: dict[str, Shape]
    class_axes: dict[str, int]
    """Tensors that depend on the class count, and the axis that holds it."""
    auxiliary: tuple[str, ...]
    """Prefixes of heads that only training uses, and that files may lack."""
    twins: tuple[str, ...]
    normalisation: Normalisation
    """The preprocessing of torchvision's own weights."""
    side: int
    """Height and width of the images of torchvision's own weights, in pixels."""

    def classes(self, shapes: Shapes) -> int | None:
        """Return the class count that the given tensors name; None where absent or at odds."""
        counts = {
            shapes[name][axis] for name, axis in self.class_axes.items() if name in shapes and axis < len(shapes[name])
        }
        return counts.pop() if len(counts) == 1 else None

    def shapes_at(self, classes: int, *, auxiliary: bool) -> dict[str, Shape]:
        """Return the names and shapes of the model with that many classes."""
        shapes = dict(self.tensors)
        for name, axis in self.class_axes.items():
            shape = shapes[name]
            shapes[name] = (*shape[:axis], classes, *shape[axis + 1 :])
        if auxiliary or not self.auxiliary:
            return shapes
        return {name: shape for name, shape in shapes.items() if not name.startswith(self.auxiliary)}

    def has_auxiliary(self, shapes: Shapes) -> bool:
        """Return whether any tensor belongs to an auxiliary head."""
        return any(name.startswith(prefix) for prefix in self.auxiliary for name in shapes)

    def expected(self, shapes: Shapes) -> tuple[dict[str, Shape], int]:
        """Return the model's shapes at the class count and with the auxiliary heads that are given, and the count."""
        classes = self.classes(shapes) or DEFAULT_CLASSES
        return self.shapes_at(classes, auxiliary=self.has_auxiliary(shapes)), classes


def _entry(name: str, raw: Mapping[str, Any]) -> Entry:
    tensors = {tensor: tuple(shape) for tensor, shape in raw["tensors"].items()}
    normalisation = Normalisation(mean=raw["mean"], std=raw["std"])
    twins, auxiliary = tuple(raw["twins"]), tuple(raw["auxiliary"])
    return Entry(name, tensors, raw["class_axes"], auxiliary, twins, normalisation, raw["side"])


@cache
def load_index() -> tuple[Entry, ...]:
    """Return the models of the index, in alphabetical order."""
    packed = resources.files("sparsity_audit.models").joinpath(INDEX).read_bytes()
    models = json.loads(gzip.decompress(packed))["models"]
    return tuple(_entry(name, raw) for name, raw in sorted(models.items()))


def find_entry(name: str) -> Entry | None:
    """Return a torchvision model's entry; None for one that came after the index was made."""
    return next((entry for entry in load_index() if entry.name == name), None)


def match_torchvision(shapes: Shapes) -> list[Match]:
    """Return the torchvision models that have exactly these tensors, whatever their class count.

    Batch counters and the auxiliary heads of GoogLeNet and Inception may be absent.
    """
    given = without_counters(shapes)
    found = []
    for entry in load_index():
        if entry.auxiliary or len(entry.tensors) == len(given):
            expected, classes = entry.expected(given)
            if expected == given:
                found.append(Match(entry.name, classes, entry.twins))
    return found
