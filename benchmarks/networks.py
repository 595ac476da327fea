"""Count the convolution calls of public networks, and the feature layers that the graph finds of them.

    python benchmarks/networks.py                     # torchvision's 80 classification models
    python benchmarks/networks.py --timm              # and 25 of timm's
    python benchmarks/networks.py --only resnet18 timm:convmixer_768_32

What is expected comes from one eager run: forward hooks on convolution modules, and the dispatcher for those that
are called as functions. A network counts as found where the filters of all calls are the same, in order. Exit code 1
where one is not. Weights are zeros: they don't matter here, and take next to no memory.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from sparsity_audit.errors import SparsityAuditError
from sparsity_audit.graph.feature_graph import build_graph
from sparsity_audit.models.skeleton import build_skeleton, fill
from sparsity_audit.models.timm_network import TIMM, build_timm

SIDE = 96
SIDE_224 = ("vit_", "maxvit")
"""Families that take no other size than 224."""
TIMM_NETWORKS = (
    "resnet26d seresnet50 resnest14d skresnet18 resnetv2_50d_gn nf_resnet50 dm_nfnet_f0 res2net50_26w_4s dpn68 "
    "densenet121 dla34 hrnet_w18_small cspdarknet53 repvgg_a0 mobileone_s0 mobilenetv4_conv_small "
    "mobilenetv3_large_100 mixnet_s ghostnetv2_100 inception_v4 convnextv2_atto convmixer_768_32 halonet26t "
    "coatnet_nano_rw_224 fastvit_t8"
).split()


class CountConvolutions(TorchDispatchMode):
    """Notes how many filters each convolution has that reaches the dispatcher, in order of the calls."""

    def __init__(self) -> None:
        super().__init__()
        self.filters: list[int] = []

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the operation."""
        result = func(*args, **(kwargs or {}))
        if str(func).startswith("aten.convolution"):
            self.filters.append(result.shape[1])
        return result


@dataclass(frozen=True)
class Row:
    """One network's line of the table."""

    name: str
    shape: tuple[int, int, int]
    by_hooks: int
    by_functions: int
    found: int
    with_gamma: int
    seconds: float
    note: str
    good: bool

    def __str__(self) -> str:
        expected = f"{self.by_hooks}+{self.by_functions}" if self.by_functions else str(self.by_hooks)
        verdict = "ok" if self.good else "DIFFERS"
        return (
            f"{self.name:34} {self.shape[1]:>5} {expected:>9} {self.found:>6} {self.with_gamma:>7} "
            f"{self.seconds:>8.1f}  {verdict:8} {self.note}"
        ).rstrip()


HEADER = (
    f"{'network':34} {'image':>5} {'expected':>9} {'found':>6} {'with γ':>7} {'seconds':>8}  {'':8} opaque operations"
)


def expected_filters(model: nn.Module, shape: tuple[int, int, int]) -> tuple[int, list[int]]:
    """Return how many calls of convolution modules hooks saw in one eager run, and the filters of all calls."""
    calls = 0

    def count(_module: nn.Module, _args: object, _output: Tensor) -> None:
        nonlocal calls
        calls += 1

    convolutions = [part for part in nn.Module.modules(model) if isinstance(part, nn.modules.conv._ConvNd)]
    hooks = [part.register_forward_hook(count) for part in convolutions]
    with torch.no_grad(), CountConvolutions() as counted:
        model(torch.zeros(1, *shape))
    for hook in hooks:
        hook.remove()
    return calls, counted.filters


def row(name: str, model: nn.Module, shape: tuple[int, int, int]) -> Row:
    """Compare the graph's feature layers with those of an eager run."""
    by_hooks, filters = expected_filters(model, shape)
    start = time.perf_counter()
    try:
        graph = build_graph(model, shape, static_batch=2)
    except SparsityAuditError as failure:
        took = time.perf_counter() - start
        return Row(name, shape, by_hooks, len(filters) - by_hooks, 0, 0, took, str(failure), False)
    took = time.perf_counter() - start
    opaque = ", ".join(sorted(name.removeprefix("aten.") for name in graph.opaque))
    fixed = "" if graph.captured.batch is None else "fixed batch; "
    return Row(
        name=name,
        shape=shape,
        by_hooks=by_hooks,
        by_functions=len(filters) - by_hooks,
        found=len(graph.layers),
        with_gamma=sum(layer.gamma is not None for layer in graph.layers),
        seconds=took,
        note=fixed + opaque,
        good=[layer.filters for layer in graph.layers] == filters,
    )


def build(name: str) -> tuple[nn.Module, tuple[int, int, int]]:
    """Return a network of zeros, and the shape of the images it is run on."""
    if name.startswith(TIMM):
        model = build_timm(name.removeprefix(TIMM), 10)
        shape: tuple[int, int, int] = model.pretrained_cfg["input_size"]  # type: ignore[index, assignment]
    else:
        options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
        factory: Callable[[], nn.Module] = lambda: torchvision.models.get_model(name, weights=None, **options)  # noqa: E731
        model = build_skeleton(factory)
        side = 224 if name.startswith(SIDE_224) else SIDE
        shape = (3, side, side)
    bare = {key: value for key, value in nn.Module.state_dict(model).items() if value.is_meta}
    if bare:
        fill(model, {key: torch.zeros(value.shape, dtype=value.dtype) for key, value in bare.items()})
    return model.eval(), shape


def main() -> int:
    """Print the table; return 1 where a network's layers differ from what was expected."""
    parser = argparse.ArgumentParser(description="feature layers of public networks, against an eager run")
    parser.add_argument("--timm", action="store_true", help="25 of timm's networks as well")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these networks; timm's are written timm:NAME")
    chosen = parser.parse_args()
    names: list[str] = chosen.only or torchvision.models.list_models(module=torchvision.models)
    if chosen.timm and not chosen.only:
        names += [TIMM + name for name in TIMM_NETWORKS]
    print(HEADER)
    rows = []
    for name in names:
        model, shape = build(name)
        rows.append(row(name, model, shape))
        print(rows[-1], flush=True)
        del model
        gc.collect()
    wrong = [each.name for each in rows if not each.good]
    slowest = max(rows, key=lambda each: each.seconds)
    print(f"{len(rows)} networks, {len(wrong)} differ{': ' + ', '.join(wrong) if wrong else ''}; ", end="")
    print(f"{sum(each.found for each in rows)} feature layers; slowest {slowest.name}, {slowest.seconds:.1f} s")
    return 1 if wrong else 0


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # deprecations inside the networks
    sys.exit(main())
