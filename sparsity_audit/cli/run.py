"""``sparsity-audit run``: audit models, print the session as pytest would, end with its exit code."""

from __future__ import annotations

from typing import Annotated, Any

import typer

Names = list[str] | None
_MODEL = (
    "Weight files, folders or runs (.safetensors, .pt, .ckpt, ...), or zoo specs (.toml), which are trained first; "
    "from the configuration where left out."
)
_ROOT = "Folder that holds data sets; SPARSITY_AUDIT_DATA by default."
_ARCH = "zoo:NAME, torchvision:NAME, timm:NAME or python:PKG.MODULE:FACTORY; detected by default."
_RULES = "Rule pack or TOML file; repeatable; 'default' by default."
_DATA = (
    "Corpus: digits, cifar10, cifar100, tinyimagenet, imagenet, imagefolder:PATH, parquet:PATH, or a folder of one "
    "of these. Without it only weights are looked at."
)
_CONFIG = "Configuration, such as model.audit.toml; the nearest sparsity-audit.toml or pyproject.toml by default."
_WEIGHTS_ONLY = "Look at the weights alone, whatever data and architecture the configuration names."
_FORMAT = "github adds annotations to what is printed, for a workflow's log."
_BASELINE = "An earlier JSON report: only failures that are new or worse fail the session."
_UPDATE = "Write the baseline anew where nothing got worse, or for the first time."
_TRAINING = "TOML file that says how the model was trained: optimizer, regularizer, batch_size."


def run(
    models: Annotated[Names, typer.Argument(metavar="MODEL", help=_MODEL, show_default=False)] = None,
    config: Annotated[str | None, typer.Option(help=_CONFIG, metavar="FILE")] = None,
    data: Annotated[str | None, typer.Option(help=_DATA, metavar="NAME|PATH")] = None,
    weights_only: Annotated[bool, typer.Option("--weights-only", help=_WEIGHTS_ONLY)] = False,
    data_root: Annotated[str | None, typer.Option(help=_ROOT, metavar="DIR")] = None,
    split: Annotated[
        str | None, typer.Option(help="Split that statistics come from; default train.", metavar="train|test")
    ] = None,
    arch: Annotated[str | None, typer.Option(help=_ARCH, metavar="ARCH")] = None,
    trust_code: Annotated[bool, typer.Option("--trust-code", help="Allow python: factories to run code.")] = False,
    mean: Annotated[
        str | None, typer.Option(help="Means of the channels, 0-1; the model's or data's by default.", metavar="R,G,B")
    ] = None,
    std: Annotated[str | None, typer.Option(help="Deviations of the channels, 0-1; likewise.", metavar="R,G,B")] = None,
    resize: Annotated[int | None, typer.Option(help="Photographs: pixels of the shorter side.", metavar="N")] = None,
    crop: Annotated[int | None, typer.Option(help="Photographs: pixels of a central square.", metavar="N")] = None,
    training: Annotated[str | None, typer.Option(help=_TRAINING, metavar="FILE")] = None,
    rules: Annotated[Names, typer.Option(help=_RULES, metavar="PACK|FILE")] = None,
    select: Annotated[
        Names, typer.Option(help="Only these rules: SA101, or SA1 for all that begin so; by commas.", metavar="IDS")
    ] = None,
    ignore: Annotated[Names, typer.Option(help="Not these rules.", metavar="IDS")] = None,
    keyword: Annotated[
        str | None,
        typer.Option("-k", help="Only items whose rule or layer fits, as in 'layer4 and not sa201'.", metavar="EXPR"),
    ] = None,
    exit_first: Annotated[bool, typer.Option("-x", "--exitfirst", help="Stop at the first failure.")] = False,
    fail_on: Annotated[
        str | None, typer.Option(help="Severity that fails the session; default error.", metavar="error|warning")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(help="Images drawn from each split; all by default.", metavar="N")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of that draw; default 0.", metavar="S")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images in a batch; default 100.", metavar="B")] = None,
    device: Annotated[str | None, typer.Option(help="cpu (default), cuda, cuda:1, ...", metavar="DEVICE")] = None,
    memory_budget: Annotated[
        float | None, typer.Option(help="GiB that universality may take; default 2.", metavar="GIB")
    ] = None,
    json: Annotated[str | None, typer.Option(help="Write the report as JSON.", metavar="FILE")] = None,
    markdown: Annotated[
        str | None, typer.Option(help="Write the report as Markdown, for a pull request.", metavar="FILE")
    ] = None,
    html: Annotated[str | None, typer.Option(help="Write the report as one page, to look at.", metavar="FILE")] = None,
    junit_xml: Annotated[str | None, typer.Option(help="Write JUnit XML, for CI servers.", metavar="FILE")] = None,
    sarif: Annotated[str | None, typer.Option(help="Write SARIF 2.1.0, for code scanning.", metavar="FILE")] = None,
    format_: Annotated[str | None, typer.Option("--format", help=_FORMAT, metavar="terminal|github")] = None,
    baseline: Annotated[str | None, typer.Option(help=_BASELINE, metavar="FILE")] = None,
    baseline_tolerance: Annotated[
        float | None, typer.Option(help="How much worse a value may be; default 0.0001.", metavar="X")
    ] = None,
    update_baseline: Annotated[bool, typer.Option("--update-baseline", help=_UPDATE)] = False,
    quiet: Annotated[
        int, typer.Option("-q", "--quiet", count=True, help="Failures only.", show_default=False, metavar="")
    ] = 0,
    verbose: Annotated[
        int, typer.Option("-v", "--verbose", count=True, help="Every result.", show_default=False, metavar="")
    ] = 0,
    collect_only: Annotated[bool, typer.Option("--collect-only", help="List the items, check none.")] = False,
    exit_zero: Annotated[bool | None, typer.Option("--exit-zero", help="Failed rules do not fail the session.")] = None,
) -> int:
    """Audit trained models: which filters are dead, what that costs, what can go.

    Options may also stand in sparsity-audit.toml or pyproject.toml [tool.sparsity-audit], the nearest upwards;
    the command line wins.

    Exit codes: 0 passed, 1 a rule failed, 2 interrupted, 3 internal error or a rule that crashed, 4 usage or
    unreadable input, 5 nothing was audited.
    """
    from pathlib import Path

    from sparsity_audit.cli.run_session import Request, execute
    from sparsity_audit.cli.values import split_ids
    from sparsity_audit.engine.configuration import load_training

    overrides: dict[str, Any] = {
        "models": models or None,
        "data": data,
        "data_root": data_root,
        "split": split,
        "arch": arch,
        "mean": _numbers(mean, "--mean"),
        "std": _numbers(std, "--std"),
        "resize": resize,
        "crop": crop,
        "training": load_training(Path(training)) if training is not None else None,
        "rules": rules or None,
        "select": split_ids(select, "--select"),
        "ignore": split_ids(ignore, "--ignore"),
        "fail_on": fail_on,
        "limit": limit,
        "seed": seed,
        "batch_size": batch_size,
        "device": device,
        "memory_budget": memory_budget,
        "json": json,
        "markdown": markdown,
        "html": html,
        "junit_xml": junit_xml,
        "sarif": sarif,
        "format": format_,
        "baseline": baseline,
        "baseline_tolerance": baseline_tolerance,
        "exit_zero": exit_zero,
    }
    verbosity = verbose - quiet
    request = Request(
        overrides, config, trust_code, weights_only, keyword, exit_first, verbosity, collect_only, update_baseline
    )
    return execute(request)


def _numbers(text: str | None, option: str) -> list[float] | None:
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        from sparsity_audit.errors import UsageError

        raise UsageError(f"{option} {text!r}: not numbers separated by commas") from None
