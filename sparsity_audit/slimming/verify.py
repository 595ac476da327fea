"""Running a slim network beside the original; what the figures mean is said in ``verification``."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from sparsity_audit.graph.capture import one_line
from sparsity_audit.graph.feature_graph import FeatureGraph
from sparsity_audit.graph.instrument import whole_batch
from sparsity_audit.graph.parameters import tensors_in
from sparsity_audit.pruning.holds import Holds, hold, retyped
from sparsity_audit.slimming.verification import FLOORS, FP32_LIMIT, FP64_LIMIT, Against, Comparison, Verification

Run = Callable[[Tensor], object]


def verify(
    original: FeatureGraph,
    holds: Holds,
    slim: nn.Module,
    batches: Mapping[str, Sequence[Tensor]],
    *,
    exact: bool,
    slim64: nn.Module | None = None,
    resized: FeatureGraph | None = None,
) -> Verification:
    """Compare a slim network with the original whose removed filters are held, on every tensor of their outputs.

    Args:
        holds: the filters that were removed, and their constants.
        slim: the eager network in float32; neither it nor the original's model is changed.
        batches: normalised float32 images [batch, channels, height, width] by kind of input.
        exact: the removal is lossless: compare with the untouched original as well.
        slim64: the slim network before its parameters were rounded to float32; without it ``slim`` in double
            precision is compared in fp64, at the limit of fp32.
        resized: the original captured for another image size; images of that size run through it.

    Raises:
        ValueError: images of a size that neither graph was captured for.
    """
    references: dict[Against, Holds] = {"held": holds, "untouched": {}} if exact and holds else {"held": holds}
    graphs = [graph for graph in (original, resized) if graph is not None]
    originals = {graph.captured.input_shape: _Original(graph, references) for graph in graphs}
    slims = (_evaluating(slim), _in_double(slim if slim64 is None else slim64))
    tallies: dict[tuple[str, Against, int], _Tally] = {}
    for kind, images_of_kind in batches.items():
        for images in images_of_kind:
            shape = tuple(images.shape[1:])
            if shape not in originals:
                raise ValueError(f"no graph was captured for images of {shape}")
            try:
                for against, output, ours, theirs in originals[shape].beside(slims, images):
                    tallies.setdefault((kind, against, output), _Tally()).update(ours, theirs)
            except _UnlikeError as failure:
                return Verification((), f"the slim network {failure} on {kind} images")
    return _verification(tallies, rounded=slim64 is None)


class _Outputs(NamedTuple):
    """One output tensor in both precisions, for a number of images."""

    fp32: Tensor
    fp64: Tensor
    images: int


@dataclass
class _Tally:
    """Maxima over the batches of one kind of input."""

    images: int = 0
    scale: float = 0.0
    floor: float = 0.0
    delta_fp32: float = 0.0
    delta_fp64: float = 0.0
    changed: int = 0
    finite: bool = False

    def update(self, slim: _Outputs, original: _Outputs) -> None:
        """Add a batch."""
        fp32, fp64 = original.fp32.double(), original.fp64.double()
        finite = fp32.isfinite() & fp64.isfinite()
        self.images += original.images
        self.finite |= bool(finite.any())
        self.scale = max(self.scale, _largest(fp64[finite]))
        self.floor = max(self.floor, _largest((fp32 - fp64)[finite]))
        self.delta_fp32 = max(self.delta_fp32, _difference(slim.fp32, original.fp32))
        self.delta_fp64 = max(self.delta_fp64, _difference(slim.fp64, original.fp64))
        if fp32.dim() == 2 and fp32.shape[1] > 1:
            self.changed += int((slim.fp32.argmax(1) != original.fp32.argmax(1)).sum())

    def comparison(self, kind: str, against: Against, output: int, *, rounded: bool) -> Comparison:
        """Return what was found, beside its limits."""
        fp32 = max(FLOORS * self.floor, FP32_LIMIT * self.scale)
        fp64 = max(FP64_LIMIT * self.scale, self.floor if against == "untouched" else 0.0)
        return Comparison(
            against=against,
            inputs=kind,
            output=output,
            images=self.images,
            scale=self.scale,
            noise_floor=self.floor,
            delta_fp32=self.delta_fp32,
            delta_fp64=self.delta_fp64,
            limit_fp32=fp32,
            limit_fp64=fp32 if rounded else fp64,
            changed=self.changed,
        )


class _InDouble(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Makes a network that casts to float32 on the way, as some do with the images, cast to float64."""

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the operation."""
        return func(*retyped(args, torch.float64), **retyped(kwargs or {}, torch.float64))


class _UnlikeError(Exception):
    """The slim network fails, or its outputs have other shapes; the message continues "the slim network …"."""


class _Original:
    """The original captured for one image size, in both precisions, as each reference wants it."""

    def __init__(self, graph: FeatureGraph, references: Mapping[Against, Holds]) -> None:
        self.batch = graph.captured.batch
        self.programs: dict[Against, tuple[Run, Run]] = {
            against: (hold(graph, holds).module, hold(graph, holds, torch.float64).module)
            for against, holds in references.items()
        }

    def beside(self, slims: tuple[Run, Run], images: Tensor) -> Iterator[tuple[Against, int, _Outputs, _Outputs]]:
        """Yield each output of the slim network and of each reference, for the images they have in common.

        Raises:
            _UnlikeError: there is nothing to compare.
        """
        for piece in torch.split(images, self.batch or max(len(images), 1)):
            whole = whole_batch(piece, self.batch)
            try:
                found = _both(slims, whole, len(piece))
            except Exception as failure:  # whatever wrong shapes make torch, or the network's own code, raise
                raise _UnlikeError(f"fails ({one_line(failure)})") from failure
            for against, runs in self.programs.items():
                wanted = _both(runs, whole, len(piece))
                if _shapes(found) != _shapes(wanted):
                    raise _UnlikeError(f"puts out {_shapes(found)}, not {_shapes(wanted)},")
                for output, (ours, theirs) in enumerate(zip(found, wanted, strict=True)):
                    yield against, output, ours, theirs


def _evaluating(network: nn.Module) -> nn.Module:
    return nn.Module.eval(copy.deepcopy(network))


def _in_double(network: nn.Module) -> Run:
    double = nn.Module.double(_evaluating(network))

    def run(images: Tensor) -> object:
        with _InDouble():  # type: ignore[no-untyped-call]
            return double(images)

    return run


@torch.inference_mode()
def _both(runs: tuple[Run, Run], images: Tensor, count: int) -> list[_Outputs]:
    """Return the outputs in fp32 and fp64; of those with a row for each image the first ``count`` rows."""
    single, double = tensors_in(runs[0](images)), tensors_in(runs[1](images.double()))
    rows = [count if part.shape[:1] == images.shape[:1] else None for part in single]
    return [_Outputs(a[:n] if n else a, b[:n] if n else b, count) for a, b, n in zip(single, double, rows, strict=True)]


def _shapes(outputs: Sequence[_Outputs]) -> str:
    return ", ".join(str(list(output.fp32.shape)) for output in outputs) or "no tensor"


def _largest(values: Tensor) -> float:
    return float(values.abs().max()) if values.numel() else 0.0


def _difference(one: Tensor, other: Tensor) -> float:
    """Return the largest |one − other|; infinite where only one is finite, or both are not and differ."""
    same = (one == other) | (one.isnan() & other.isnan())
    gap = torch.where(same, 0.0, (one.double() - other.double()).abs())
    return _largest(gap.nan_to_num(nan=math.inf, posinf=math.inf))


def _verification(tallies: Mapping[tuple[str, Against, int], _Tally], *, rounded: bool) -> Verification:
    comparisons = tuple(tally.comparison(*place, rounded=rounded) for place, tally in tallies.items())
    if not any(tally.finite for tally in tallies.values()):
        return Verification(comparisons, "nothing to compare: no images, or no output that is finite")
    failed = next((comparison for comparison in comparisons if not comparison.passed), None)
    return Verification(comparisons, None if failed is None else str(failed))
