"""What the audit's pass costs: against the bare forward pass, and against hooks that a user would write by hand.

    python benchmarks/audit_overhead.py [--threads 1 2] [--rounds 7]

Same images, same process, the three in turn, batch 100 (20 at 224×224). Printed are median seconds a batch and the
medians of the ratios round by round: pass / bare, hooks / bare, pass / hooks. The pass observes all that the default
pack needs: extrema, firing, pooled maxima of every filter, statistics included; the hooks take each ReLU module's
(or last norm's) plane maximum and minimum.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable

import torch
from tabulate import tabulate
from torch import Tensor, nn

from sparsity_audit.graph.fast import FusedPass, observe_fused
from sparsity_audit.graph.feature_graph import FeatureGraph, build_graph
from sparsity_audit.models.init import initialise
from sparsity_audit.models.registry import build_network
from sparsity_audit.schema.spec import InitSpec, NetworkSpec
from sparsity_audit.stats.feature_stats import FeatureStats

NETWORKS = {
    "basicnet": (100, 32, 0.75),
    "vgg16": (100, 32, 0.85),
    "resnet20": (100, 32, 0.95),
    "torchvision:resnet18": (20, 224, 0.75),
}
"""Batch, height and width of the images, and the goal for pass / bare."""
LAYOUTS = (torch.channels_last, torch.contiguous_format)


def network(name: str) -> nn.Module:
    """Return a network with weights as they are before training, and norms as after some of it."""
    torch.manual_seed(0)
    module = build_network(NetworkSpec(name=name), 3, 1000 if ":" in name else 10).eval()
    if ":" not in name:
        initialise(module, InitSpec())
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.3, 1.0)
            nn.init.normal_(part.bias, -0.2, 0.2)
    return module


def by_hooks(module: nn.Module, images: Tensor) -> Callable[[], object]:
    """Return the forward pass under hooks on every norm: clamp, plane extrema, running results in dicts."""
    high: dict[str, Tensor] = {}
    low: dict[str, Tensor] = {}
    pooled: dict[str, list[Tensor]] = {}

    def hook(name: str) -> Callable[..., None]:
        def observe(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            active = output.relu()
            top, bottom = active.amax((2, 3)), active.amin((2, 3))
            pooled.setdefault(name, []).append(top)
            high[name] = torch.maximum(high.get(name, top[0]), top.amax(0))
            low[name] = torch.minimum(low.get(name, bottom[0]), bottom.amin(0))

        return observe

    handles = [
        part.register_forward_hook(hook(name))
        for name, part in module.named_modules()
        if isinstance(part, nn.BatchNorm2d)
    ]

    def run() -> object:
        pooled.clear()
        return module(images)

    run.handles = handles  # type: ignore[attr-defined]
    return run


def by_pass(graph: FeatureGraph, program: FusedPass, images: Tensor) -> Callable[[], object]:
    """Return the audit's own pass over one batch, statistics included."""
    stats = FeatureStats(graph.fires)

    def run() -> object:
        high, low = program(images)[1].numpy()
        stats.update(high, low)
        return stats

    return run


def seconds(run: Callable[[], object]) -> float:
    """Return the wall time of one run."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


@torch.inference_mode()
def measure(name: str, rounds: int) -> list[str]:
    """Return one row of the table."""
    batch, side, goal = NETWORKS[name]
    module, images = network(name), torch.randn(batch, 3, side, side)
    graph = build_graph(module, (3, side, side))
    programs = [observe_fused(graph, layout) for layout in LAYOUTS]
    for program in programs:
        program(images)
    fastest = min(programs, key=lambda program: min(seconds(lambda: program(images)) for _ in range(2)))
    passes = by_pass(graph, fastest, images)
    times: dict[str, list[float]] = {"bare": [], "pass": [], "hooks": []}
    for _ in range(rounds + 1):
        times["bare"].append(seconds(lambda: module(images)))
        times["pass"].append(seconds(passes))
        hooked = by_hooks(module, images)
        times["hooks"].append(seconds(hooked))
        for handle in hooked.handles:  # type: ignore[attr-defined]
            handle.remove()
    bare, audited, hooks = (times[key][1:] for key in ("bare", "pass", "hooks"))

    def ratio(left: list[float], right: list[float]) -> str:
        return f"{statistics.median(a / b for a, b in zip(left, right, strict=True)):.2f}"

    layout = str(fastest.layout).removeprefix("torch.")
    median = f"{statistics.median(bare):.3f}"
    return [name, layout, median, ratio(audited, bare), f"{goal:.2f}", ratio(hooks, bare), ratio(audited, hooks)]


def main() -> None:
    """Print a table for every number of threads."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    options = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}, n = {options.rounds} rounds")
    for threads in options.threads:
        torch.set_num_threads(threads)
        rows = [measure(name, options.rounds) for name in options.only]
        headers = ["network", "layout", "bare s", "pass / bare", "goal", "hooks / bare", "pass / hooks"]
        print(f"\n{threads} thread{'s' if threads > 1 else ''}")
        print(tabulate(rows, headers, disable_numparse=True))


if __name__ == "__main__":
    main()
