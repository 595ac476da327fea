"""timm's networks, recognised by digests of their names and shapes, without importing timm.

The index, ``timm.json.gz``, is made by ``scripts/build_architecture_index.py``.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import NamedTuple

from sparsity_audit.models.shapes import Shapes, without_counters

TIMM_INDEX = "timm.json.gz"


class TimmEntry(NamedTuple):
    """One network of the index; batch counters are left out of both digests."""

    name: str
    names: str
    """Digest of the tensors' names."""
    shapes: str
    """Digest of names and shapes, the class count left open."""
    class_axes: dict[str, int]
    """Tensors that depend on the class count, and the axis that holds it."""

    def classes(self, shapes: Shapes) -> int | None:
        """Return the class count that the given tensors name; None where absent or at odds."""
        counts = {
            shapes[name][axis] for name, axis in self.class_axes.items() if name in shapes and axis < len(shapes[name])
        }
        return counts.pop() if len(counts) == 1 else None


def names_digest(shapes: Shapes) -> str:
    """Return the digest of the tensors' names, whatever their order."""
    return _digest(sorted(without_counters(shapes)))


def shapes_digest(shapes: Shapes, class_axes: Mapping[str, int]) -> str:
    """Return the digest of names and shapes, whatever their order, with the axes in ``class_axes`` left open."""
    opened = {
        name: [None if class_axes.get(name) == axis else size for axis, size in enumerate(shape)]
        for name, shape in without_counters(shapes).items()
    }
    return _digest(sorted(opened.items()))


def _digest(value: object) -> str:
    # 64 bits: by chance, two of a few thousand networks agree once in 10^12 indexes.
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]


@cache
def load_timm_index() -> dict[str, TimmEntry]:
    """Return the networks of the index by name."""
    packed = resources.files("sparsity_audit.models").joinpath(TIMM_INDEX).read_bytes()
    models = json.loads(gzip.decompress(packed))["models"]
    return {
        name: TimmEntry(name, raw["names"], raw["shapes"], raw["class_axes"]) for name, raw in sorted(models.items())
    }


def match_timm(shapes: Shapes) -> list[tuple[TimmEntry, int]]:
    """Return the networks that have exactly these tensors, with the class count, in the index's order.

    Batch counters may be absent.
    """
    found = []
    for entry in same_names(shapes):
        classes = entry.classes(shapes)
        if classes is not None and shapes_digest(shapes, entry.class_axes) == entry.shapes:
            found.append((entry, classes))
    return found


def same_names(shapes: Shapes) -> list[TimmEntry]:
    """Return the networks whose tensors have exactly these names, whatever their shapes."""
    names = names_digest(shapes)
    return [entry for entry in load_timm_index().values() if entry.names == names]
