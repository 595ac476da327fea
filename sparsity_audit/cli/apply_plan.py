"""``sparsity-audit apply-plan``: the slim model of a plan that was made elsewhere, bit for bit."""

from __future__ import annotations

from typing import Annotated

import typer

from sparsity_audit.cli.prune import (
    Arch,
    BatchSize,
    Crop,
    DataRoot,
    Device,
    DryRun,
    Json,
    Limit,
    Markdown,
    Mean,
    Model,
    NoLatency,
    Output,
    Quiet,
    Resize,
    Seed,
    Split,
    Std,
    TrustCode,
    overrides,
)

_DATA = "Corpus to verify on, and to measure the test error by; random images alone where left out."
_PLAN = "What prune --plan wrote, or a report that holds a plan: of prune --json, or of run --json."


def apply_plan(
    model: Model,
    plan: Annotated[str, typer.Argument(metavar="PLAN", help=_PLAN, show_default=False)],
    output: Output = None,
    data: Annotated[str | None, typer.Option(help=_DATA, metavar="NAME|PATH")] = None,
    dry_run: DryRun = False,
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
    """Remove what a plan says from the model that it was made for; verified on random images, and those of --data.

    Exit codes: 0 done, 2 interrupted, 3 internal error, 4 usage, input that is unreadable, a plan that does not fit.
    """
    from sparsity_audit.cli.prune_session import Call, apply_to_model

    keys = overrides(data, data_root, split, arch, mean, std, resize, crop, limit, seed, batch_size, device)
    call = Call(model, output, dry_run, None, json, markdown, keys, trust_code=trust_code, quiet=quiet)
    return apply_to_model(call, plan, latency=not no_latency)
