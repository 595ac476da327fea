"""``sparsity-audit prune``: remove dead filters, and prove that nothing else changed."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

_MODEL = "A weight file, folder or run: .safetensors, .pt, .ckpt, ..."
_DATA = (
    "Corpus, as for run. Without it an architecture must be known, and only filters with γ = 0 (lossless) or a small "
    "|γ| (small) are found: silent needs images."
)
_LIMIT = "Points that the test error may rise by, 0-1: of the class the least harmful filters go. Needs --data."
_PLAN_OUT = "Write what goes, for apply-plan."


class Class(StrEnum):
    """How sure it is that a filter does nothing."""

    LOSSLESS = "lossless"
    SILENT = "silent"
    SMALL = "small"


class Scatter(StrEnum):
    """When a filter leaves its convolution though its channel has to stay."""

    MEASURED = "measured"
    ALWAYS = "always"
    NEVER = "never"


class Objective(StrEnum):
    """What is to be saved."""

    PARAMS = "params"
    MACS = "macs"
    LATENCY = "latency"


# The options that prune and apply-plan share.
Model = Annotated[str, typer.Argument(metavar="MODEL", help=_MODEL, show_default=False)]
Data = Annotated[str | None, typer.Option(help=_DATA, metavar="NAME|PATH")]
DataRoot = Annotated[
    str | None, typer.Option(help="Folder that holds data sets; SPARSITY_AUDIT_DATA by default.", metavar="DIR")
]
Split = Annotated[str | None, typer.Option(help="Split that filters are judged on; default train.", metavar="SPLIT")]
Arch = Annotated[
    str | None,
    typer.Option(help="zoo:NAME, torchvision:NAME, timm:NAME or python:PKG.MODULE:FACTORY; detected by default."),
]
TrustCode = Annotated[bool, typer.Option("--trust-code", help="Allow python: factories to run code.")]
Mean = Annotated[
    str | None, typer.Option(help="Means of the channels, 0-1; the model's or data's by default.", metavar="R,G,B")
]
Std = Annotated[str | None, typer.Option(help="Deviations of the channels, 0-1; likewise.", metavar="R,G,B")]
Resize = Annotated[int | None, typer.Option(help="Photographs: pixels of the shorter side.", metavar="N")]
Crop = Annotated[int | None, typer.Option(help="Photographs: pixels of a central square.", metavar="N")]
Limit = Annotated[int | None, typer.Option(help="Images drawn from each split; all by default.", metavar="N")]
Seed = Annotated[int | None, typer.Option(help="Seed of that draw; default 0.", metavar="S")]
BatchSize = Annotated[int | None, typer.Option(help="Images in a batch; default 100.", metavar="B")]
Device = Annotated[str | None, typer.Option(help="cpu (default), cuda, cuda:1, ...", metavar="DEVICE")]
Output = Annotated[str | None, typer.Option("-o", "--output", help="Slim model, .safetensors.", metavar="FILE")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Do and print everything, but write no model.")]
Json = Annotated[str | None, typer.Option(help="Write the report as JSON.", metavar="FILE")]
Markdown = Annotated[str | None, typer.Option(help="Write it as Markdown, for a pull request.", metavar="FILE")]
NoLatency = Annotated[bool, typer.Option("--no-latency", help="Time nothing.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print the summary only.")]


def prune(
    model: Model,
    data: Data = None,
    output: Output = None,
    pruning_class: Annotated[Class, typer.Option("--class", help="Riskiest class that goes.")] = Class.LOSSLESS,
    threshold: Annotated[float, typer.Option(help="|γ| below which a filter is small.", metavar="F")] = 1e-3,
    round_to: Annotated[int, typer.Option(help="Keep multiples of K filters: faster.", metavar="K", min=1)] = 1,
    min_width: Annotated[int, typer.Option(help="Filters that each layer keeps.", metavar="N", min=1)] = 1,
    max_error_increase: Annotated[float | None, typer.Option(help=_LIMIT, metavar="X", min=0, max=1)] = None,
    objective: Annotated[Objective | None, typer.Option(help="What to save most of under that limit.")] = None,
    scatter: Annotated[
        Scatter, typer.Option(help="Filters in a stream that others keep alive: go where faster.")
    ] = Scatter.MEASURED,
    dry_run: DryRun = False,
    plan: Annotated[str | None, typer.Option(help=_PLAN_OUT, metavar="FILE")] = None,
    json: Json = None,
    markdown: Markdown = None,
    no_latency: NoLatency = False,
    quiet: Quiet = False,
    data_root: DataRoot = None,
    split: Split = None,
    arch: Arch = None,
    trust_code: TrustCode = False,
    mean: Mean = None,
    std: Std = None,
    resize: Resize = None,
    crop: Crop = None,
    limit: Limit = None,
    seed: Seed = None,
    batch_size: BatchSize = None,
    device: Device = None,
) -> int:
    """Remove the dead filters of a model, and prove that the slim one computes the same.

    All three classes are tried and told, each with the safer ones in it; one of them is written, verified.

    Exit codes: 0 done, also where nothing can go; 1 --max-error-increase cannot be kept; 2 interrupted; 3 internal
    error; 4 usage, unreadable or refused input.
    """
    from sparsity_audit.cli.prune_session import Files, Wanted, prune_model

    keys = overrides(data, data_root, split, arch, mean, std, resize, crop, limit, seed, batch_size, device)
    files = Files(model, output, plan, json, markdown, dry_run)
    wanted = Wanted(pruning_class, threshold, min_width, round_to, max_error_increase, scatter, not no_latency, objective)
    return prune_model(files, keys, wanted, trust_code=trust_code, quiet=quiet)
