"""From held filters to a slim network: plan the cut, carry it out."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from sparsity_audit.graph.feature_graph import FeatureGraph
from sparsity_audit.models.cifar_resnet import OptionA
from sparsity_audit.pruning.channels import ChannelClasses
from sparsity_audit.pruning.copying import rounded
from sparsity_audit.pruning.holds import Holds
from sparsity_audit.pruning.structure import Cut, CutOptions, plan_cut
from sparsity_audit.pruning.surgery import operate


@dataclass(frozen=True, eq=False)
class Slim:
    """A slim network, and what was cut.

    Attributes:
        module: in evaluation mode and in the original's precision, float32 as a rule.
        exact: the same before its weights were rounded, float64.
        groups: of convolutions that have fewer groups now, by module path.
    """

    module: nn.Module
    exact: nn.Module
    cut: Cut
    groups: dict[str, int]


def channel_classes(module: nn.Module, graph: FeatureGraph) -> ChannelClasses:
    """Return which channels of a network can only go together."""
    modules = dict(nn.Module.named_modules(module, remove_duplicate=False))
    # A shortcut that takes its channels by an index already is read as what it is: a choice of positions.
    indexed = frozenset(
        path for path, part in modules.items() if isinstance(part, OptionA) and "source" not in part._buffers
    )
    return ChannelClasses(graph, modules, indexed)


def slim_module(
    module: nn.Module,
    graph: FeatureGraph,
    holds: Holds,
    options: CutOptions | None = None,
    classes: ChannelClasses | None = None,
) -> Slim:
    """Return a slim copy of a network with some filters held at constants; the network stays as it is.

    Args:
        graph: the feature graph of ``module``.
        holds: what is to go; what can't stays as it was, and ``cut.held_back`` says why.
        classes: of this graph, where they are known already.
    """
    classes = channel_classes(module, graph) if classes is None else classes
    cut = plan_cut(graph, classes, holds, options or CutOptions())
    operated = operate(module, graph, classes, cut)
    return Slim(rounded(operated.module, module), operated.module, cut, operated.groups)
