"""What removing dead filters costs and brings, with Torch-Pruning, with torch-simplify, and with what is here.

    python benchmarks/slimming_peers.py [--networks a,b] [--kinds a,b,c] [--share 0.4] [--markdown FILE]

Networks of torchvision with random weights, a share of every batch norm's filters planted: a) γ = 0, β = −0.5;
b) γ = 0, β = 0.3; c) |γ| = 5e-4 and β as it was. Each library is told, or finds, the same filters.
Only norms that follow a convolution are planted in, unless ``--loose``. Libraries that are not installed are skipped;
what each is made to do stands in ``slimming_libraries.py``. All but the latency depends on the options alone.

- *removed*: filters of convolutions / planted; in brackets how many of the removed have a γ of 1e-3 or more (unknown
  where norms are folded). A depthwise filter whose only input is constant is among them, and may go.
- *Δ held*: the library given the network with γ of what was planted at 0 and β kept, max |Δ logit| against that: what
  the surgery itself adds. The logits have a standard deviation of 1. *other size*: the same on images 32 pixels larger.
- *Δ*: the library given the network as it is, against that.
- *noise*: max |fp32 − fp64| of the network. *floor*: what setting γ to 0 changes, which no removal can beat.
- *latency*: slim / original, both run in turns: median and quartiles of the ratio, batch ``--batch``; below 1 is
  faster. torch-simplify folds the norms into the convolutions as well, which is faster without any removal.
- *reloaded*: built anew from files without pickle and the network's class; the logits are the same, bit for bit.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from slimming_libraries import LIBRARIES, Library, NotBuiltError, Slimmed
from tabulate import tabulate
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from sparsity_audit.files import write_whole
from sparsity_audit.graph.capture import one_line
from sparsity_audit.graph.feature_graph import build_graph
from sparsity_audit.selftest.slimming_faults import NETWORKS, FaultyNetwork, noise_images, plant_faults
from sparsity_audit.slimming.latency import measure_latency
from sparsity_audit.thresholds import GAMMA_THRESHOLD

KINDS = {"a": "dead", "b": "constant", "c": "small"}
IMAGES = 8
LARGER = 32
HEADERS = (
    *("network", "kind", "library", "removed", "params", "MACs"),
    *("Δ held", "Δ", "other size", "noise", "floor", "latency", "reloaded"),
)


@dataclass(frozen=True)
class Size:
    """What a network is made of; ``live`` filters have a norm's γ of 1e-3 or more, None where norms were folded."""

    filters: int
    live: int | None
    params: int
    macs: int

    @classmethod
    def of(cls, module: nn.Module, faulty: FaultyNetwork) -> Size:
        """Count in ``faulty.module``, or in what was made from it."""
        paths = [layer.norm for layer in faulty.graph.layers if layer.norm is not None]
        norms = [part for part in map(module.get_submodule, paths) if isinstance(part, nn.BatchNorm2d)]
        live = sum(int((norm.weight.abs() >= GAMMA_THRESHOLD).sum()) for norm in norms)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            module(noise_images(1, faulty.side, 0))
        return cls(
            filters=sum(part.weight.shape[0] for part in module.modules() if isinstance(part, nn.Conv2d)),
            live=live if len(norms) == len(paths) else None,
            params=sum(parameter.numel() for parameter in module.parameters()),
            macs=counter.get_total_flops() // 2,
        )


@dataclass(frozen=True)
class Reference:
    """The network, the one with what was planted held, and their logits on the same images."""

    faulty: FaultyNetwork
    held: FaultyNetwork
    size: Size
    images: Tensor
    larger: Tensor
    logits: Tensor
    held_logits: Tensor
    held_larger: Tensor
    noise: float

    @classmethod
    @torch.no_grad()
    def of(cls, faulty: FaultyNetwork) -> Reference:
        """Run both."""
        images, larger = (noise_images(IMAGES, side, 1) for side in (faulty.side, faulty.side + LARGER))
        logits, module = faulty.module(images), faulty.held()
        held_logits = module(images)
        held = faulty  # one of γ = 0 is that already
        if not torch.equal(logits, held_logits):
            graph = build_graph(module, faulty.graph.captured.input_shape)
            held = dataclasses.replace(faulty, module=module, graph=graph)
        exact = copy.deepcopy(faulty.module).double()(images.double())
        return cls(
            faulty=faulty,
            held=held,
            size=Size.of(faulty.module, faulty),
            images=images,
            larger=larger,
            logits=logits,
            held_logits=held_logits,
            held_larger=module(larger),
            noise=difference(logits.double(), exact),
        )

    @property
    def floors(self) -> list[str]:
        """The noise, and what holding alone changes."""
        return [f"{self.noise:.1e}", f"{difference(self.held_logits, self.logits):.1e}"]


def difference(one: Tensor, other: Tensor) -> float:
    """Return the largest |one − other|."""
    return float((one - other).abs().max())


@dataclass(frozen=True)
class Row:
    """One library on one network."""

    network: str
    kind: str
    library: str
    figures: list[str]
    """The line of the table, from ``removed`` on."""
    delta: str
    """Δ held, or a word for why there is none."""
    note: str = ""
    """What a library said that failed."""

    @property
    def cells(self) -> list[str]:
        """The line of the table."""
        return [self.network, self.kind, self.library, *self.figures]


def measure(reference: Reference, kind: str, name: str, library: Library, batch: int, rounds: int) -> Row:
    """Remove, compare, time and reload."""
    network = reference.faulty.name
    try:
        figures = compare(reference, library, batch, rounds)
    except NotBuiltError:
        return Row(network, kind, name, ["not built yet", *[""] * 5, *reference.floors, "", ""], "not built yet")
    except Exception as failure:  # whatever a library raises is its result
        note = f"{type(failure).__name__}: {one_line(failure)}"
        return Row(network, kind, name, ["fails", *[""] * 5, *reference.floors, "", ""], "fails", note)
    return Row(network, kind, name, figures, figures[3])


def compare(reference: Reference, library: Library, batch: int, rounds: int) -> list[str]:
    """Return the figures of one library."""
    faulty = reference.faulty
    slimmed = library.slim(faulty)
    held = slimmed if reference.held is faulty else library.slim(reference.held)
    with torch.no_grad():
        logits, held_logits = slimmed.module(reference.images), held.module(reference.images)
    deltas = [difference(held_logits, reference.held_logits), difference(logits, reference.logits)]
    sizes = size_cells(reference.size, Size.of(slimmed.module, faulty), faulty.filters)
    shape = faulty.graph.captured.input_shape
    ratio = measure_latency(faulty.module, slimmed.module, shape, (batch,), rounds=rounds)[0].ratio
    return [
        *sizes,
        *(f"{delta:.1e}" for delta in deltas),
        other_size(held.module, reference),
        *reference.floors,
        f"{ratio.median:.2f} ({ratio.lower:.2f}–{ratio.upper:.2f})",
        reload(slimmed, reference.images, logits),
    ]


def size_cells(before: Size, after: Size, planted: int) -> list[str]:
    """Return filters removed, and what is left of parameters and MACs."""
    live = None if before.live is None or after.live is None else before.live - after.live
    removed = f"{before.filters - after.filters:,} / {planted:,} ({'?' if live is None else f'{live:,}'})"
    return [removed, f"{after.params / before.params:.1%}", f"{after.macs / before.macs:.1%}"]


@torch.no_grad()
def other_size(module: nn.Module, reference: Reference) -> str:
    """Return Δ held on larger images."""
    try:
        return f"{difference(module(reference.larger), reference.held_larger):.1e}"
    except Exception:
        return "fails"


@torch.no_grad()
def reload(slimmed: Slimmed, images: Tensor, logits: Tensor) -> str:
    """Say whether the network comes back."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            with torch.enable_grad():  # Torch-Pruning follows gradients
                again = slimmed.reload(Path(folder)).eval()
            delta = difference(again(images), logits)
        except Exception:
            return "no"
    return "yes" if delta == 0 else f"Δ {delta:.1e}"


def summary(rows: Sequence[Row], libraries: Sequence[str]) -> list[list[str]]:
    """Return a line for each network: Δ held of each library, its kinds beside each other."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        found.setdefault((row.network, row.library), []).append(row.delta)
    networks = list(dict.fromkeys(row.network for row in rows))
    return [[network, *(" / ".join(found[network, library]) for library in libraries)] for network in networks]


def markdown(rows: Sequence[Row], libraries: Sequence[str]) -> str:
    """Return both tables, and what failed."""
    tables = [(summary(rows, libraries), ["network", *libraries]), ([row.cells for row in rows], HEADERS)]
    written = [tabulate(*table, tablefmt="github", disable_numparse=True) for table in tables]
    notes = [f"- {row.network}, {row.kind}, {row.library}: `{row.note}`" for row in rows if row.note]
    return "\n\n".join([*written, "\n".join(notes)]).strip() + "\n"


def some_of(known: Sequence[str]) -> Callable[[str], list[str]]:
    """Return a reader of comma lists of these words."""

    def read(text: str) -> list[str]:
        words = text.split(",")
        for word in words:
            if word not in known:
                raise argparse.ArgumentTypeError(f"unknown {word!r}; there are {', '.join(known)}")
        return words

    return read


def parsed() -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for flag, known in (("networks", list(NETWORKS)), ("kinds", list(KINDS)), ("libraries", list(LIBRARIES))):
        parser.add_argument(f"--{flag}", type=some_of(known), default=known, metavar="A,B", help=", ".join(known))
    parser.add_argument("--share", type=float, default=0.4, help="of each norm's filters (default: 0.4)")
    parser.add_argument("--side", type=int, default=64, help="height and width of the images (default: 64)")
    parser.add_argument("--batch", type=int, default=8, help="images a batch where latency is measured (default: 8)")
    parser.add_argument("--rounds", type=int, default=15, help="of the latency (default: 15)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--loose", action="store_true", help="plant in norms on concatenations as well")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write both tables there")
    return parser.parse_args()


def main() -> None:
    """Print both tables."""
    options = parsed()
    libraries = {name: LIBRARIES[name] for name in options.libraries}
    for name, library in list(libraries.items()):
        if not library.installed:
            print(f"{name} is not installed, and skipped: {library.install}")
            del libraries[name]
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {options.side} px, share {options.share}")
    print(" | ".join(HEADERS))
    rows: list[Row] = []
    for network in options.networks:
        for kind in options.kinds:
            planting = {"share": options.share, "side": options.side, "seed": options.seed, "loose": options.loose}
            reference = Reference.of(plant_faults(network, KINDS[kind], **planting))
            for name, library in libraries.items():
                rows.append(measure(reference, kind, name, library, options.batch, options.rounds))
                print(" | ".join([*rows[-1].cells, rows[-1].note]).rstrip(" |"), flush=True)
    print("\nΔ held, by kind: " + " / ".join(options.kinds))
    print(tabulate(summary(rows, list(libraries)), ["network", *libraries], disable_numparse=True))
    if options.markdown is not None:
        write_whole(options.markdown, markdown(rows, list(libraries)).encode())


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # deprecations inside the libraries
    main()
