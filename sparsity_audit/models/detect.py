"""Whose weights are these? Detection by the names and shapes of the tensors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from sparsity_audit.checkpoints.checkpoint import Checkpoint
from sparsity_audit.errors import ArchitectureError
from sparsity_audit.models.index import load_index, match_torchvision
from sparsity_audit.models.naming import namings, shapes_of
from sparsity_audit.models.recognise import read_zoo
from sparsity_audit.models.registry import build_match, has_leaky_twin, infer_zoo, zoo_names
from sparsity_audit.models.shapes import Shapes, differences, share_equal, summary, without_counters
from sparsity_audit.models.skeleton import module_shapes
from sparsity_audit.models.timm_index import match_timm, same_names
from sparsity_audit.models.timm_network import TIMM
from sparsity_audit.schema.spec import NetworkSpec

HOW_TO_NAME = "--arch zoo:NAME | torchvision:NAME | timm:NAME | python:PKG.MODULE:FACTORY"


@dataclass(frozen=True)
class Detected:
    """The network that a checkpoint's tensors fit."""

    source: Literal["zoo", "torchvision", "timm"]
    name: str
    spec: NetworkSpec | None
    """What the zoo builds it from; None for torchvision's and timm's."""
    in_channels: int
    classes: int
    twins: tuple[str, ...]
    """Other networks with the same names and shapes; some compute something else."""


class Nearest(NamedTuple):
    """A known network and how much of it a checkpoint has."""

    share: float
    """Equal (name, shape) pairs among all names of both."""
    names: int
    """Equal names."""
    title: str
    differences: list[str]


def detect(checkpoint: Checkpoint) -> Detected:
    """Return the network that has exactly the checkpoint's tensors: the zoo's first, then torchvision's, then timm's.

    timm's are recognised where timm is not installed, too.

    Raises:
        ArchitectureError: none has, and the message names the nearest and its first differences; or several of
            timm's have, which may compute different things.
    """
    for tensors in namings(checkpoint):
        shapes = shapes_of(tensors)
        detected = _detect_zoo(shapes) or _detect_torchvision(shapes) or _detect_timm(checkpoint, shapes)
        if detected:
            return detected
    nearest = _nearest_text(shapes_of(checkpoint.tensors))
    raise ArchitectureError(f"{checkpoint.path}: {nearest}; name the network: {HOW_TO_NAME}")


def _detect_zoo(shapes: Shapes) -> Detected | None:
    found = infer_zoo(shapes)
    if not found:
        return None
    match = found[0]
    twins = (f"zoo:{match.name} with leaky_relu",) if has_leaky_twin(match.name) else ()
    return Detected("zoo", match.name, match.spec, match.in_channels, match.classes, twins)


def _detect_torchvision(shapes: Shapes) -> Detected | None:
    found = match_torchvision(shapes)
    if not found:
        return None
    first, *others = found
    twins = (*(f"torchvision:{other.name}" for other in others), *first.twins)
    return Detected("torchvision", first.name, None, 3, first.classes, twins)


def _detect_timm(checkpoint: Checkpoint, shapes: Shapes) -> Detected | None:
    found = match_timm(shapes)
    if len(found) > 1:
        names = ", ".join(TIMM + entry.name for entry, _ in found)
        raise ArchitectureError(
            f"{checkpoint.path}: the tensors fit {len(found)} networks of timm, which may differ in function: {names}; "
            f"name the right one with --arch timm:NAME"
        )
    return Detected("timm", found[0][0].name, None, 3, found[0][1], ()) if found else None


def _nearest_text(shapes: Shapes) -> str:
    nearest = max(_compared(shapes), key=lambda near: near[:2])
    # Of timm's networks only digests are known: whether all names are theirs, but not which shapes differ.
    namesakes = [TIMM + entry.name for entry in same_names(shapes)]
    if namesakes and nearest.names < len(without_counters(shapes)):
        return f"the tensors fit no known network; they have the names, but not the shapes, of {summary(namesakes)}"
    if nearest.share == 0 and nearest.names < len(shapes) / 2:
        return "the tensors fit no known network, and none of them is like one of theirs"
    return (
        f"the tensors fit no known network; nearest is {nearest.title} ({nearest.share:.0%} equal): "
        f"{summary(nearest.differences)}"
    )


def _compared(shapes: Shapes) -> Iterator[Nearest]:
    given = without_counters(shapes)
    for name in zoo_names():
        expected = without_counters(module_shapes(build_match(read_zoo(name, given))))
        yield Nearest(*share_equal(expected, given), f"zoo:{name}", differences(expected, given))
    for entry in load_index():
        expected, _ = entry.expected(given)
        yield Nearest(*share_equal(expected, given), f"torchvision:{entry.name}", differences(expected, given))
