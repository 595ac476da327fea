"""Capturing a model as one graph of ATen operations, by ``torch.export``."""

from __future__ import annotations

import copy
import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.fx import GraphModule, Node
from torch.utils._pytree import tree_leaves

from sparsity_audit.errors import GraphError
from sparsity_audit.graph.label_run import example_shape
from sparsity_audit.graph.ops import PER_IMAGE, REDUCTIONS, op_name, pools_channels

EXAMPLE_BATCH = 2
"""Export specialises on a batch of 1, so the example has two images."""

VIEWS = frozenset({"aten.view.default", "aten._unsafe_view.default", "aten.reshape.default"})


@dataclass(frozen=True)
class Captured:
    """A model's inference graph, runnable, with parameters under their original names."""

    program: GraphModule
    batch: int | None
    """The only batch size it takes; None where it takes any."""
    input_shape: tuple[int, int, int]
    mixes_images: bool = False
    """What it says of an image depends on the other images of the batch, or on chance."""

    @property
    def example_batch(self) -> int:
        """The batch size of the shapes that the graph's nodes carry."""
        return EXAMPLE_BATCH if self.batch is None else self.batch


def capture(model: nn.Module, input_shape: tuple[int, int, int], *, static_batch: int = 100) -> Captured:
    """Export ``model``, as it is in eval mode, for images of ``input_shape`` = (channels, height, width).

    Parameters are shared with ``model``, not copied; nothing of ``model`` is changed, and it comes back in the
    training mode it had. A model that fixes its batch size is captured for batches of ``static_batch``.

    Raises:
        GraphError: the model does not take such images, or cannot be exported.
    """
    with _evaluating(model):
        try:
            program, fixed = _export(model, input_shape, EXAMPLE_BATCH, dynamic=True), None
        except Exception as dynamic_failure:  # torch.export raises whatever the model's own code raises
            try:
                program, fixed = _export(model, input_shape, static_batch, dynamic=False), static_batch
            except Exception:
                _run_eagerly(model, input_shape)
                raise GraphError(
                    f"{type(model).__name__} cannot be captured by torch.export: {one_line(dynamic_failure)}; "
                    "control flow that depends on the image's values is the usual cause"
                ) from dynamic_failure
    return Captured(program, fixed, input_shape, _mixes_images(program, input_shape, fixed or EXAMPLE_BATCH))


def _mixes_images(program: GraphModule, input_shape: tuple[int, int, int], batch: int) -> bool:
    """Tell whether the answer for the first image changes when the other images of the batch do.

    A batch norm without running statistics is the usual cause. The model is run only where some operation could do it.
    """
    if not any(_may_mix(node) for node in program.graph.nodes):
        return False
    images = torch.randn(batch, *input_shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        first = tree_leaves(program(images))
        images[1:] *= 3
        second = tree_leaves(program(images))
    pairs = [
        (a[0], b[0])
        for a, b in zip(first, second, strict=True)
        if isinstance(a, torch.Tensor) and a.is_floating_point() and a.dim() and a.numel() and len(a) == batch
    ]
    return not all(bool(((a - b).abs() <= 1e-3 * a.abs().max()).all()) for a, b in pairs if a.isfinite().all())


def _may_mix(node: Node) -> bool:
    """Tell whether a call may reach over the first axis of what it reads, which is the batch unless moved."""
    name = op_name(node)
    source = node.args[0] if node.args else None
    if not name or name.startswith("aten.sym_size") or name in PER_IMAGE:
        return False
    if name == "aten.cat.default":
        return node.args[1:2] in ((), (0,))
    if not isinstance(source, Node) or not isinstance(node.meta.get("val"), torch.Tensor):
        return True
    before, after = example_shape(source.meta["val"]), example_shape(node.meta["val"])
    if name in REDUCTIONS:
        axes = node.args[1] if len(node.args) > 1 else []
        axes = [axes] if isinstance(axes, int) else axes
        return not isinstance(axes, list) or not axes or any(axis % len(before) == 0 for axis in axes)
    return name not in VIEWS or before[:1] != after[:1]


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model in eval mode for a while; afterwards each of its modules is in the mode it was in."""
    # The class's own walk: some networks shadow methods of nn.Module by attributes of their own.
    modes = [(part, part.training) for part in nn.Module.modules(model)]
    nn.Module.eval(model)
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


def _export(model: nn.Module, input_shape: tuple[int, int, int], batch: int, *, dynamic: bool) -> GraphModule:
    example = torch.zeros(batch, *input_shape)
    shapes: Any = ({0: torch.export.Dim.DYNAMIC},) if dynamic else None
    with torch.no_grad(), _quiet():
        exported = torch.export.export(model, (example,), dynamic_shapes=shapes, strict=False).run_decompositions({})
        module = exported.module(check_guards=False)
    assert isinstance(module, GraphModule)
    for name in exported.graph_signature.buffers_to_mutate.values():  # a counter of calls: ours, not the model's
        owner, _, leaf = name.rpartition(".")
        setattr(module.get_submodule(owner), leaf, module.get_buffer(name).clone())
    _lay_out_for_channel_pooling(module)
    return module


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep torch from warning, and from printing graph and traceback of a failure that is told in one line."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def _lay_out_for_channel_pooling(program: GraphModule) -> None:
    """Copy what pooling over channels reads into plain memory order: it takes no images in channels_last."""
    for node in program.graph.nodes:
        if pools_channels(node):
            source = node.args[0]
            with program.graph.inserting_before(node):
                copied = program.graph.call_function(
                    torch.ops.aten.clone.default, (source,), {"memory_format": torch.contiguous_format}
                )
            copied.meta = dict(source.meta)
            node.replace_input_with(source, copied)
    program.recompile()


def _run_eagerly(model: nn.Module, input_shape: tuple[int, int, int]) -> None:
    """Run the model once, to tell one that refuses such images from one that cannot be exported."""
    try:
        with torch.no_grad():
            copy.deepcopy(model)(torch.zeros(EXAMPLE_BATCH, *input_shape))
    except Exception as failure:
        shape = "×".join(str(size) for size in input_shape)
        raise GraphError(
            f"{type(model).__name__} does not run on images of {shape} (channels × height × width): {one_line(failure)}"
        ) from failure


def one_line(failure: BaseException, width: int = 200) -> str:
    """Return the first line of an exception's text that says something, cut to ``width``."""
    for line in str(failure).splitlines():
        if line.strip():
            return line.strip()[:width]
    return type(failure).__name__
