"""How the filters planted in a network are removed with each library, as its own documentation has it."""

from __future__ import annotations

import copy
import importlib.util
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sparsity_audit.selftest.networks import CLASSES
from sparsity_audit.selftest.slimming_faults import FaultyNetwork, fresh_network, noise_images
from sparsity_audit.thresholds import GAMMA_THRESHOLD


class NotBuiltError(Exception):
    """The package does not do it yet."""


@dataclass(frozen=True)
class Slimmed:
    """A network with filters removed.

    Attributes:
        reload: writes what it needs to a folder, and builds the network anew from that and the class alone. No
            pickle: anyone's whole-module file can run code, and torch.load refuses it unless told otherwise.
    """

    module: nn.Module
    reload: Callable[[Path], nn.Module]


@dataclass(frozen=True)
class Library:
    """A way to remove filters.

    Attributes:
        package: what is imported; ``install`` says how it gets here.
    """

    slim: Callable[[FaultyNetwork], Slimmed]
    package: str
    install: str

    @property
    def installed(self) -> bool:
        """The package can be imported."""
        return importlib.util.find_spec(self.package) is not None


def by_dependency_graph(faulty: FaultyNetwork) -> Slimmed:
    """Torch-Pruning's quickstart: for each convolution, prune the group of those filters whose γ is small."""
    module, graph = _dependencies(faulty)
    for convolution, norm in _pairs(faulty, module):
        _prune(graph, convolution, _small(norm).nonzero().flatten().tolist())
    return Slimmed(module, lambda folder: _replayed(faulty, module, graph.pruning_history(), folder))


def where_all_agree(faulty: FaultyNetwork) -> Slimmed:
    """Torch-Pruning with care: of each group, prune only channels whose γ is small in every norm of the group."""
    import torch_pruning

    module, graph = _dependencies(faulty)
    norms = {norm for _, norm in _pairs(faulty, module)}
    for convolution, _ in _pairs(faulty, module):
        every = list(range(convolution.out_channels))
        agreed = torch.ones(len(every), dtype=torch.bool)
        for item in graph.get_pruning_group(convolution, torch_pruning.prune_conv_out_channels, every):
            part = item.dep.target.module
            if part in norms and graph.is_out_channel_pruning_fn(item.dep.handler):
                agreed[item.root_idxs] &= _small(part)[item.idxs]
        _prune(graph, convolution, agreed.nonzero().flatten().tolist())
    return Slimmed(module, lambda folder: _replayed(faulty, module, graph.pruning_history(), folder))


def by_scale_importance(faulty: FaultyNetwork) -> Slimmed:
    """Torch-Pruning's pruner with BNScaleImportance (Network Slimming), asked for as many as are planted in each layer.

    It chooses by the mean |γ| over a group; half a filter less is asked for, since it rounds up.
    """
    import torch_pruning

    module = copy.deepcopy(faulty.module)
    planted = zip(_pairs(faulty, module), faulty.planted.values(), strict=True)
    classifiers = [part for part in module.modules() if isinstance(part, nn.Linear) and part.out_features == CLASSES]
    pruner = torch_pruning.pruner.BasePruner(
        module,
        noise_images(1, faulty.side, 0),
        importance=torch_pruning.importance.BNScaleImportance(),
        pruning_ratio=0.0,
        pruning_ratio_dict={conv: (len(filters) - 0.5) / conv.out_channels for (conv, _), filters in planted},
        ignored_layers=classifiers,
    )
    pruner.step()
    return Slimmed(module, lambda folder: _replayed(faulty, module, pruner.pruning_history(), folder))


def by_simplify(faulty: FaultyNetwork) -> Slimmed:
    """torch-simplify: takes out filters whose weights are 0, so γ of those that are small is made 0 before."""
    import simplify

    module: nn.Module = simplify.simplify(faulty.held(), torch.zeros(1, 3, faulty.side, faulty.side))
    return Slimmed(module, lambda folder: _refilled(fresh_network(faulty.name), module, folder))


def by_ours(faulty: FaultyNetwork) -> Slimmed:
    """What is here, told which filters to hold at which constants.

    Raises:
        NotBuiltError: it can't yet.
    """
    try:
        from sparsity_audit.models.slim import resize
        from sparsity_audit.slimming.slim import slim_module
    except ModuleNotFoundError as missing:
        raise NotBuiltError from missing
    slim = slim_module(faulty.module, faulty.graph, faulty.holds)

    def reload(folder: Path) -> nn.Module:
        fresh = fresh_network(faulty.name)
        shapes = {name: tuple(value.shape) for name, value in slim.module.state_dict().items()}
        resize(fresh, shapes, slim.groups)
        return _refilled(fresh, slim.module, folder)

    return Slimmed(slim.module, reload)


TORCH_PRUNING = ("torch_pruning", "pip install --no-deps torch-pruning==1.6.1")
LIBRARIES = {
    "torch-pruning": Library(by_dependency_graph, *TORCH_PRUNING),
    "torch-pruning-agreed": Library(where_all_agree, *TORCH_PRUNING),
    "torch-pruning-bn-scale": Library(by_scale_importance, *TORCH_PRUNING),
    "torch-simplify": Library(by_simplify, "simplify", "pip install --no-deps torch-simplify==1.1.4"),
    "sparsity-audit": Library(by_ours, "sparsity_audit", "pip install -e ."),
}


def _dependencies(faulty: FaultyNetwork) -> tuple[nn.Module, Any]:
    """Return a copy of the network, and Torch-Pruning's graph of it."""
    import torch_pruning

    module = copy.deepcopy(faulty.module)
    graph = torch_pruning.DependencyGraph().build_dependency(module, example_inputs=noise_images(1, faulty.side, 0))
    return module, graph


def _prune(graph: Any, convolution: nn.Conv2d, filters: list[int]) -> None:
    """Prune filters of a convolution and what hangs together with them, where Torch-Pruning lets us."""
    import torch_pruning

    if filters:
        group = graph.get_pruning_group(convolution, torch_pruning.prune_conv_out_channels, idxs=filters)
        if graph.check_pruning_group(group):  # never a layer as a whole
            group.prune()


def _replayed(faulty: FaultyNetwork, module: nn.Module, history: list[Any], folder: Path) -> nn.Module:
    """Prune a fresh network by the history of what was pruned, and fill it.

    Torch-Pruning's documentation saves the whole module by pickle; this is what works without.
    """
    import torch_pruning

    (folder / "history.json").write_text(json.dumps([[name, out, list(places)] for name, out, places in history]))
    fresh = fresh_network(faulty.name)
    graph = torch_pruning.DependencyGraph().build_dependency(fresh, example_inputs=noise_images(1, faulty.side, 0))
    graph.load_pruning_history(json.loads((folder / "history.json").read_text()))
    return _refilled(fresh, module, folder)


def _refilled(fresh: nn.Module, module: nn.Module, folder: Path) -> nn.Module:
    """Return ``fresh`` with the tensors of ``module``, by way of a file."""
    save_file({name: value.contiguous() for name, value in module.state_dict().items()}, folder / "slim.safetensors")
    # Copied, since a file's tensors need not be aligned in memory, and kernels round by the alignment.
    tensors = {name: value.clone() for name, value in load_file(folder / "slim.safetensors").items()}
    fresh.load_state_dict(tensors, assign=True)
    return fresh


def _pairs(faulty: FaultyNetwork, module: nn.Module) -> Iterator[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Yield the convolutions of a copy whose norms are planted in, and these norms, in the order of ``planted``."""
    for layer in faulty.graph.layers:
        if layer.key in faulty.planted:
            convolution, norm = module.get_submodule(layer.key), module.get_submodule(layer.norm or "")
            assert isinstance(convolution, nn.Conv2d)
            assert isinstance(norm, nn.BatchNorm2d)
            yield convolution, norm


def _small(norm: nn.BatchNorm2d) -> Tensor:
    """Return which channels of a norm, as it is now, have a small γ, bool [channels]."""
    return norm.weight.detach().abs() < GAMMA_THRESHOLD
