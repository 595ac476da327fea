"""A few images, and what a model makes of them while it is trained: on a copy, so that the model never notices."""

from __future__ import annotations

import copy
import itertools
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from sparsity_audit.errors import UsageError
from sparsity_audit.graph.feature_graph import build_graph
from sparsity_audit.graph.instrument import Observed, observe
from sparsity_audit.stats.feature_stats import FeatureStats

BATCH = 64
"""Probe images that run at a time."""


class ProbeImages:
    """The images on which activations are measured: given, or the first that a model sees in training mode."""

    def __init__(self, probe: Tensor | int) -> None:
        given = isinstance(probe, Tensor)
        if isinstance(probe, Tensor):
            if probe.dim() != 4 or not len(probe):
                raise UsageError(f"probe: needs images [N, C, H, W], got {list(probe.shape)}")
        elif isinstance(probe, bool) or not isinstance(probe, int) or probe < 1:
            raise UsageError(f"probe: needs a tensor of images or a number of at least 1, got {probe!r}")
        self.wanted = len(probe) if isinstance(probe, Tensor) else probe
        self.refused: str | None = None
        """Why the model's own calls give no probe."""
        self._parts = [_kept(probe)] if isinstance(probe, Tensor) else []
        self._seen = self.wanted if given else 0
        self._handle: torch.utils.hooks.RemovableHandle | None = None

    def __len__(self) -> int:
        """Images so far."""
        return self._seen

    @property
    def settled(self) -> bool:
        """No more images will come: all are there, or none can be had."""
        return self._seen == self.wanted or self.refused is not None

    @property
    def images(self) -> Tensor:
        """Images [N, C, H, W], float32, on the CPU."""
        self._parts = [torch.cat(self._parts)]
        return self._parts[0]

    def watch(self, model: nn.Module) -> None:
        """Take images from the calls of ``model`` until there are enough."""
        if not self.settled:
            self._handle = nn.Module.register_forward_pre_hook(model, self._take, with_kwargs=True)

    def close(self) -> None:
        """Take no more images; leave nothing on the model."""
        if self._handle is not None:
            self._handle.remove()
            self._handle = None

    # In a model that is compiled together with its hooks, this one has to stay Python.
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _take(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self.settled or not model.training:
            return
        given = (*args, *kwargs.values())
        images = next((value for value in given if isinstance(value, Tensor) and value.dim() == 4), None)
        if images is None:
            self.refused = f"{type(model).__name__} is not called with images [N, C, H, W]"
            self.close()
            return
        if self._parts and images.shape[1:] != self._parts[0].shape[1:]:
            return  # training at several sizes: the probe is of the first
        part = _kept(images[: self.wanted - self._seen])
        self._parts.append(part)
        self._seen += len(part)
        if self._seen == self.wanted:
            self.close()


class Shadow:
    """A float32 copy of a model in eval mode, with observers, that takes over the model's weights before each look.

    Nothing is run on the model itself: its mode, running statistics, gradients and hooks are left alone, whatever
    its dtype and device, and parameters and buffers may be moved or replaced.

    Raises:
        GraphError: the model can't be captured.
    """

    def __init__(self, model: nn.Module, images: Tensor) -> None:
        self._images = images
        self._shapes = _shapes(model)
        with _apart(torch.device("cpu")):
            copied = _detached_copy(model)
            self.graph = build_graph(copied, _three(images), static_batch=min(BATCH, len(images)))
        self._observed: Observed | None = None
        self._device = torch.device("cpu")

    def fits(self, model: nn.Module) -> bool:
        """Tell whether the model's tensors still have the names and shapes that were captured."""
        return _shapes(model) == self._shapes

    def look(self, model: nn.Module) -> FeatureStats:
        """Return what the probe does to the filters at the model's weights as they are now."""
        device = next(nn.Module.parameters(model)).device
        if self._observed is None or device != self._device:
            self._observed, self._device = observe(self.graph, str(device)), device
        stats = FeatureStats(self.graph.fires)
        with _apart(device):
            _take_over(self._observed.module, model)
            for images in torch.split(self._images, self._observed.batch or BATCH):
                high, low = self._observed(images.to(device))[1].cpu().numpy()
                stats.update(high, low)
        return stats


def _take_over(program: nn.Module, model: nn.Module) -> None:
    current = _tensors(model)
    for name, tensor in itertools.chain(program.named_parameters(), program.named_buffers()):
        if name in current:  # others are constants of the program
            tensor.copy_(current[name])


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    parameters = nn.Module.named_parameters(model, remove_duplicate=False)
    return {**dict(parameters), **dict(nn.Module.named_buffers(model, remove_duplicate=False))}


def _shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in _tensors(model).items()}


def _detached_copy(model: nn.Module) -> nn.Module:
    """Return a copy on the CPU in float32, without gradients and without the user's hooks.

    Hooks of torch.nn.utils stay: pruning and weight norm compute weights in them. Others (of loggers, mostly) would
    be run by the capture, on tensors without values.
    """
    memo: dict[int, Any] = {}
    for part in nn.Module.modules(model):
        for held in (*part._parameters.values(), *part._buffers.values(), *vars(part).values()):
            if isinstance(held, Tensor):  # copied here, since deepcopy refuses tensors that autograd has computed
                memo[id(held)] = _plain(held)
        for hooks in (part._forward_pre_hooks, part._forward_hooks, part._backward_pre_hooks, part._backward_hooks):
            kept = ((i, hook) for i, hook in hooks.items() if type(hook).__module__.startswith("torch.nn.utils"))
            memo[id(hooks)] = OrderedDict(kept)
    return copy.deepcopy(model, memo)


def _plain(tensor: Tensor) -> Tensor:
    """Return a copy on the CPU, without history, float32 where it is floating-point."""
    copied = tensor.detach().to("cpu", torch.float32 if tensor.is_floating_point() else tensor.dtype, copy=True)
    return nn.Parameter(copied, requires_grad=False) if isinstance(tensor, nn.Parameter) else copied


def _kept(images: Tensor) -> Tensor:
    return images.detach().to("cpu", torch.float32, copy=True)


def _three(images: Tensor) -> tuple[int, int, int]:
    _, channels, height, width = images.shape
    return channels, height, width


@contextmanager
def _apart(device: torch.device) -> Iterator[None]:
    """Compute without gradients and in full precision; chance is left as it was."""
    devices = [device] if device.type == "cuda" else []
    with (
        torch.no_grad(),
        torch.random.fork_rng(devices=devices),
        torch.autocast("cpu", enabled=False),
        torch.autocast(device.type, enabled=False),
    ):
        yield
