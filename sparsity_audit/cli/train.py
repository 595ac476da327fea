"""``sparsity-audit train``: a spec becomes a run folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pathlib import Path

    from sparsity_audit.cli.train_printer import TrainPrinter
    from sparsity_audit.schema.record import TrainingRecord
    from sparsity_audit.schema.spec import DataSpec
    from sparsity_audit.specs.load import NamedSpec
    from sparsity_audit.training.train import TrainOptions

_SPEC = "A spec: a TOML file, or an id that 'zoo list' shows."
_SET = "Change one value of the spec, as in optimizer.lr=0.01; repeatable."
_OUTPUT = "Run folder; runs/ID-DIGEST by default."


def train(
    spec: Annotated[str, typer.Argument(metavar="SPEC", help=_SPEC, show_default=False)],
    output: Annotated[str | None, typer.Option("-o", "--output", help=_OUTPUT, metavar="DIR")] = None,
    sets: Annotated[list[str] | None, typer.Option("--set", help=_SET, metavar="KEY=VALUE")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was stopped, or killed.")] = False,
    seed: Annotated[int | None, typer.Option(help="Seed; the spec's by default.", metavar="N", min=0)] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...", metavar="DEVICE")] = "cpu",
    data_root: Annotated[
        str | None, typer.Option(help="Folder that holds data sets; SPARSITY_AUDIT_DATA by default.", metavar="DIR")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="Threads of the CPU; torch's choice by default.", metavar="N", min=1)
    ] = None,
    checkpoint_seconds: Annotated[
        float, typer.Option(help="Seconds between two checkpoints: what a killed run loses at most.", min=0.0)
    ] = 30.0,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print the result only.")] = False,
) -> int:
    """Train a spec and leave a run folder: model.safetensors, record.json, history.safetensors, snapshots/.

    A run is bit for bit the same on one machine with one number of threads, also where it was stopped and resumed.

    Exit codes: 0 trained, 2 interrupted (continue with --resume), 4 usage, data or a spec that cannot be trained.
    """
    import sys
    from pathlib import Path

    from sparsity_audit.cli.train_printer import TrainPrinter, outcome_lines
    from sparsity_audit.specs.load import load_spec
    from sparsity_audit.training.train import TrainOptions, default_folder

    named = load_spec(spec, sets or [], seed)
    folder = Path(output) if output is not None else default_folder(named)
    _set_threads(threads)
    options = TrainOptions(resume, device, Path(data_root) if data_root else None, checkpoint_seconds)
    with TrainPrinter(sys.stdout, quiet=quiet) as printer:
        record = trained(named, folder, options, printer)
    printer.say(outcome_lines(record), always=True)
    printer.say(f"run folder: {folder}\naudit it:   {_audit_command(folder, record.spec.data)}")
    return 0


def trained(named: NamedSpec, folder: Path, options: TrainOptions, printer: TrainPrinter) -> TrainingRecord:
    """Train a spec, or return the record of a run that is finished already.

    Raises:
        typer.Exit: interrupted; the line that says how to go on is printed.
    """
    from sparsity_audit.errors import ExitCode
    from sparsity_audit.training.run_folder import RunFolder
    from sparsity_audit.training.train import train as train_spec

    try:
        record = train_spec(named, folder, options, printer)
    except KeyboardInterrupt:  # while data were read or the model was tested: the checkpoint is as it was
        record = None
    if record is None or record.status != "finished":
        import sys

        step = f" after step {record.steps} of {record.total_steps}" if record is not None else ""
        again = "the same command goes on from there" if options.resume else "go on with --resume"
        left = f"{again} ({folder})" if RunFolder(folder).record.exists() else "nothing was written"
        print(f"sparsity-audit: interrupted{step}; {left}", file=sys.stderr)
        raise typer.Exit(int(ExitCode.INTERRUPTED))
    if not printer.trained:
        printer.say(f"{named.id}: trained already; {folder} is as it was")
    return record


def _audit_command(folder: Path, data: DataSpec) -> str:
    """Return the command line, quoted for a shell, that audits a run on the images it was trained on."""
    import shlex

    sizes = (("--resize", data.resize), ("--crop", data.crop))
    shown = [part for flag, size in sizes if size is not None for part in (flag, str(size))]
    return shlex.join(["sparsity-audit", "run", str(folder), "--data", data.name, *shown])


def _set_threads(threads: int | None) -> None:
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
