"""``sparsity-audit inspect``: what a weight file holds, before any audit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sparsity_audit.checkpoints.checkpoint import Checkpoint


def inspect(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A weight file or folder.")],
    tensors: Annotated[bool, typer.Option("--tensors", help="List every tensor.")] = False,
) -> None:
    """Say what a weight file holds: container, architecture, tensors, normalisation layers."""
    from tabulate import tabulate

    from sparsity_audit.checkpoints.checkpoint import read_checkpoint

    checkpoint = read_checkpoint(model)
    typer.echo(tabulate(_facts(checkpoint), tablefmt="plain"))
    if tensors:
        rows = [
            [name, tensor.dtype, "×".join(map(str, tensor.shape)) or "scalar"]
            for name, tensor in checkpoint.tensors.items()
        ]
        typer.echo("\n" + tabulate(rows, ["tensor", "dtype", "shape"], tablefmt="simple", disable_numparse=True))


def _facts(checkpoint: Checkpoint) -> list[tuple[str, str]]:
    from sparsity_audit.checkpoints.norms import find_norms

    values = sum(tensor.numel for tensor in checkpoint.tensors.values())
    dtypes = sorted({tensor.dtype for tensor in checkpoint.tensors.values()})
    norms = find_norms(checkpoint.tensors)
    facts = [
        ("file", str(checkpoint.path)),
        ("container", checkpoint.container + (f", under {checkpoint.nested!r}" if checkpoint.nested else "")),
        ("prefix stripped", checkpoint.prefix or "none"),
        ("sha256", checkpoint.sha256),
        ("tensors", f"{len(checkpoint.tensors):,} ({values:,} values, {', '.join(dtypes)})"),
        ("batch norms", f"{len(norms):,} ({sum(norm.features for norm in norms):,} features)"),
        ("architecture", _architecture(checkpoint)),
    ]
    if checkpoint.ignored:
        facts.append(("beside the weights", ", ".join(checkpoint.ignored)))
    return facts


def _architecture(checkpoint: Checkpoint) -> str:
    """Say whose weights these are; a network that nobody knows is a fact here, not a failure."""
    from sparsity_audit.errors import ArchitectureError
    from sparsity_audit.models.config import read_config
    from sparsity_audit.models.detect import detect
    from sparsity_audit.models.metadata import read_metadata

    metadata = read_metadata(checkpoint)
    if metadata is not None:
        name = metadata.network.name
        return f"{name if ':' in name else f'zoo:{name}'} ({len(metadata.classes)} classes; from the file's metadata)"
    configured = read_config(checkpoint).name
    if configured is not None:
        return f"timm:{configured} (from the folder's config.json)"
    try:
        found = detect(checkpoint)
    except ArchitectureError as failure:
        return f"not recognised: {str(failure).removeprefix(f'{checkpoint.path}: ')}"
    twins = f"; same tensors as {', '.join(found.twins)}" if found.twins else ""
    return f"{found.source}:{found.name} ({found.classes} classes; detected{twins})"
