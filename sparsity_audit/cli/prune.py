"""``sparsity-audit prune``: dead filters go, and what is left is compared with what was there."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

_DATA = (
    "Corpus, as for run. Without it the architecture must be known, and only γ = 0 (lossless) and small |γ| are "
    "found: silent needs images."
)
_ARCH = "zoo:NAME, torchvision:NAME, timm:NAME or python:PKG.MODULE:FACTORY; detected by default."
_CLASS = "Riskiest class that goes; the safer ones are in it."
_LIMIT = "What the test error may rise by, 0-1; the least harmful filters of the class go first."
_SCATTER = "Dead filters whose channel others keep alive: go where that measures faster, always, or never."

# The options that prune and apply-plan share.
Model = Annotated[str, typer.Argument(metavar="MODEL", help="A weight file, a folder of one, or a run.")]
Data = Annotated[str | None, typer.Option(help=_DATA, metavar="NAME|PATH")]
DataRoot = Annotated[
    str | None, typer.Option(help="Folder that holds data sets; SPARSITY_AUDIT_DATA by default.", metavar="DIR")
]
Split = Annotated[
    str | None, typer.Option(help="Split that filters are judged on; default train.", metavar="train|test")
]
Arch = Annotated[str | None, typer.Option(help=_ARCH, metavar="ARCH")]
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
Output = Annotated[str | None, typer.Option("-o", "--output", help="The slim model: .safetensors.", metavar="FILE")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Do and print everything, but write no model.")]
Json = Annotated[str | None, typer.Option(help="Write the report as JSON.", metavar="FILE")]
Markdown = Annotated[str | None, typer.Option(help="Write it as Markdown, for a pull request.", metavar="FILE")]
NoLatency = Annotated[bool, typer.Option("--no-latency", help="Don't time the two networks.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print the summary only.")]

Class = Annotated[Literal["lossless", "silent", "small"], typer.Option("--class", help=_CLASS)]
Threshold = Annotated[float, typer.Option(help="|γ| below which a filter is small.", metavar="F")]
RoundTo = Annotated[int, typer.Option(help="Layers keep multiples of K filters; 8 may be faster.", metavar="K", min=1)]
MinWidth = Annotated[int, typer.Option(help="Layers keep at least N filters.", metavar="N", min=1)]
MaxErrorIncrease = Annotated[float | None, typer.Option(help=_LIMIT, metavar="X")]
Objective = Annotated[
    Literal["params", "macs", "latency"] | None, typer.Option(help="What to save most of under that limit.")
]
Scatter = Annotated[Literal["measured", "always", "never"], typer.Option(help=_SCATTER)]
Plan = Annotated[str | None, typer.Option(help="Write what goes, index by index, for apply-plan.", metavar="FILE")]
Pareto = Annotated[
    str | None, typer.Option(help="Make a family of slim models, each verified, with table and picture.", metavar="DIR")
]
Points = Annotated[int, typer.Option(help="Networks of the family.", metavar="N")]
Compare = Annotated[
    bool,
    typer.Option("--compare", help="Set L1 norm, Network Slimming, APoZ, ... beside ours"),
]
Share = Annotated[float | None, typer.Option(help="Share of all filters that --compare also removes.", metavar="F")]
BnReestimate = Annotated[
    int | None,
    typer.Option(help="Running statistics from N training images; of --pareto, --compare.", metavar="N"),
]
Finetune = Annotated[
    int | None, typer.Option(help="Steps of fine-tuning after the check; of --pareto, --compare.", metavar="STEPS")
]
FinetuneLr = Annotated[float | None, typer.Option(help="Its learning rate.", metavar="LR")]


def prune(
    model: Model,
    data: Data = None,
    output: Output = None,
    pruning_class: Class = "lossless",
    threshold: Threshold = 1e-3,
    round_to: RoundTo = 1,
    min_width: MinWidth = 1,
    max_error_increase: MaxErrorIncrease = None,
    objective: Objective = None,
    scatter: Scatter = "measured",
    dry_run: DryRun = False,
    plan: Plan = None,
    json: Json = None,
    markdown: Markdown = None,
    pareto: Pareto = None,
    points: Points = 8,
    compare: Compare = False,
    share: Share = None,
    bn_reestimate: BnReestimate = None,
    finetune: Finetune = None,
    finetune_lr: FinetuneLr = None,
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
    """Remove dead filters from a model, and verify that nothing else has changed; all three classes are told.

    Exit codes: 0 done, also where nothing can go, 1 --max-error-increase cannot be kept, 2 interrupted,
    3 internal error, 4 usage, or input that is unreadable or refused.
    """
    from sparsity_audit.cli.prune_more import Tuning, run_compare, run_pareto
    from sparsity_audit.cli.prune_session import Call, Wanted, prune_model
    from sparsity_audit.errors import UsageError

    keys = overrides(data, data_root, split, arch, mean, std, resize, crop, limit, seed, batch_size, device)
    call = Call(model, output, dry_run, plan, json, markdown, keys, trust_code=trust_code, quiet=quiet)
    timed = not no_latency
    wanted = Wanted(pruning_class, threshold, min_width, round_to, max_error_increase, scatter, timed, objective)
    tuning = Tuning(bn_reestimate, finetune, finetune_lr)
    if pareto is not None and compare:
        raise UsageError("--pareto and --compare are two things: give one of them")
    if pareto is not None:
        return run_pareto(call, wanted, pareto, points=points, tuning=tuning)
    if compare:
        return run_compare(call, wanted, share=share, tuning=tuning)
    if tuning != Tuning() or share is not None:
        raise UsageError("--bn-reestimate, --finetune, --finetune-lr and --share go with --pareto or --compare")
    return prune_model(call, wanted)


def overrides(
    data: str | None,
    data_root: str | None,
    split: str | None,
    arch: str | None,
    mean: str | None,
    std: str | None,
    resize: int | None,
    crop: int | None,
    limit: int | None,
    seed: int | None,
    batch_size: int | None,
    device: str | None,
) -> dict[str, Any]:
    """Return what the command line says of model and data, by configuration key."""
    return {
        "data": data,
        "data_root": data_root,
        "split": split,
        "arch": arch,
        "mean": None if mean is None else mean.split(","),
        "std": None if std is None else std.split(","),
        "resize": resize,
        "crop": crop,
        "limit": limit,
        "seed": seed,
        "batch_size": batch_size,
        "device": device,
    }
