"""``sparsity-audit run``: audit models, print the session as pytest would, end with its exit code."""

from __future__ import annotations

from typing import Annotated, Any

import typer

Names = list[str] | None
_MODEL = "Weight files (.safetensors, .pt, .pth, .th, .bin); from the configuration where left out."
_DATA = "Corpus: digits, cifar10, cifar100, or a folder. Without it only weights are looked at."


def run(
    models: Annotated[Names, typer.Argument(metavar="[MODEL]...", help=_MODEL, show_default=False)] = None,
    data: Annotated[str | None, typer.Option(help=_DATA, metavar="NAME|PATH")] = None,
    data_root: Annotated[str | None, typer.Option(help="Folder that holds data sets.", metavar="DIR")] = None,
    split: Annotated[str | None, typer.Option(help="Split that statistics come from: train or test.")] = None,
    arch: Annotated[
        str | None, typer.Option(help="zoo:NAME, torchvision:NAME or python:PKG.MODULE:FACTORY.", metavar="ARCH")
    ] = None,
    trust_code: Annotated[bool, typer.Option("--trust-code", help="Allow python: factories to run code.")] = False,
    mean: Annotated[str | None, typer.Option(help="Channel means, 0-1, by commas.", metavar="R,G,B")] = None,
    std: Annotated[str | None, typer.Option(help="Channel deviations, 0-1, by commas.", metavar="R,G,B")] = None,
    rules: Annotated[Names, typer.Option(help="Rule pack or TOML file; repeatable.", metavar="PACK|FILE")] = None,
    select: Annotated[Names, typer.Option(help="Only rules whose ids begin so.", metavar="IDS")] = None,
    ignore: Annotated[Names, typer.Option(help="No rules whose ids begin so.", metavar="IDS")] = None,
    keyword: Annotated[
        str | None, typer.Option("-k", help="Only items whose rule or layer matches.", metavar="EXPR")
    ] = None,
    exit_first: Annotated[bool, typer.Option("-x", "--exitfirst", help="Stop at the first failure.")] = False,
    fail_on: Annotated[str | None, typer.Option(help="Severity that fails: error or warning.")] = None,
    limit: Annotated[int | None, typer.Option(help="Images from each split.", metavar="N")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the subsample.", metavar="S")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images in a batch.", metavar="B")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, ...")] = None,
    memory_budget: Annotated[float | None, typer.Option(help="GiB that universality may take.", metavar="GIB")] = None,
    json: Annotated[str | None, typer.Option(help="Write the report as JSON.", metavar="FILE")] = None,
    markdown: Annotated[str | None, typer.Option(help="Write it as Markdown.", metavar="FILE")] = None,
    quiet: Annotated[int, typer.Option("-q", "--quiet", count=True, help="Failures only.")] = 0,
    verbose: Annotated[int, typer.Option("-v", "--verbose", count=True, help="Every result.")] = 0,
    collect_only: Annotated[bool, typer.Option("--collect-only", help="List the items, check none.")] = False,
    exit_zero: Annotated[bool | None, typer.Option("--exit-zero", help="Failed rules do not fail the session.")] = None,
) -> int:
    """Audit trained models: which filters are dead, what that costs, what can go.

    Exit codes: 0 passed, 1 a rule failed, 2 interrupted, 3 internal error, 4 usage or unreadable input,
    5 nothing was audited.
    """
    from sparsity_audit.cli.run_session import Request, execute

    overrides: dict[str, Any] = {
        "models": models or None,
        "data": data,
        "data_root": data_root,
        "split": split,
        "arch": arch,
        "mean": _numbers(mean, "--mean"),
        "std": _numbers(std, "--std"),
        "rules": rules or None,
        "select": _split(select),
        "ignore": _split(ignore),
        "fail_on": fail_on,
        "limit": limit,
        "seed": seed,
        "batch_size": batch_size,
        "device": device,
        "memory_budget": memory_budget,
        "json": json,
        "markdown": markdown,
        "exit_zero": exit_zero,
    }
    request = Request(overrides, trust_code, keyword, exit_first, verbose - quiet, collect_only)
    return execute(request)


def _split(values: Names) -> Names:
    """Return ids given by repetition, by commas, or both."""
    return [part.strip() for value in values for part in value.split(",") if part.strip()] if values else None


def _numbers(text: str | None, option: str) -> list[float] | None:
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        from sparsity_audit.errors import UsageError

        raise UsageError(f"{option} {text!r}: not numbers separated by commas") from None
