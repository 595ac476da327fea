"""``sparsity-audit study``: training what is missing of a study, and saying how far it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sparsity_audit.studies.plan import RunState
    from sparsity_audit.studies.running import StudyResult

app = typer.Typer(help="Train the runs of a study, and list how far they are.", no_args_is_help=True)

_Study = Annotated[str, typer.Argument(metavar="STUDY", help="A TOML file, or the id of a shipped study.")]
_Output = Annotated[str, typer.Option("-o", "--output", help="Folder of run folders.", metavar="RUNS_DIR")]
_Rows = Annotated[
    list[str] | None, typer.Option("--only", help="Only these rows; repeatable, or by commas.", metavar="ROW")
]


@app.command()
def run(
    study: _Study,
    output: _Output = "runs",
    jobs: Annotated[int, typer.Option(help="Runs at a time, each in a process.", metavar="N", min=1)] = 1,
    threads: Annotated[
        int,
        typer.Option(help="Threads of each run; the last bits of its weights depend on them.", metavar="N", min=1),
    ] = 1,
    only: _Rows = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...", metavar="DEVICE")] = "cpu",
    data_root: Annotated[
        str | None, typer.Option(help="Folder that holds data sets; SPARSITY_AUDIT_DATA by default.", metavar="DIR")
    ] = None,
    no_audit: Annotated[bool, typer.Option("--no-audit", help="Write no audit.json into finished runs.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print the result only.")] = False,
) -> int:
    """Train the runs of a study that are not in RUNS_DIR yet, and audit each on its training corpus.

    A run is known by its spec, not by its folder's name. One that was stopped goes on, one that failed is tried once
    more, and one that another process trains is waited for. Ctrl-C lets every run stop after its step; the same
    command goes on.

    Exit codes: 0 all runs are there, 2 interrupted, 4 some failed, or usage.
    """
    import sys
    from pathlib import Path

    from sparsity_audit.cli.study_printer import StudyPrinter
    from sparsity_audit.cli.values import split_values
    from sparsity_audit.engine.session import check_device
    from sparsity_audit.specs.study import expand, load_study
    from sparsity_audit.studies.executor import LocalExecutor
    from sparsity_audit.studies.plan import chosen
    from sparsity_audit.studies.running import StudyOptions, run_study

    loaded = load_study(study)
    runs = chosen(expand(loaded), split_values(only, "--only", "no row given") or [])
    check_device(device)
    options = StudyOptions(device, Path(data_root) if data_root else None, not no_audit)
    with StudyPrinter(sys.stdout, quiet=quiet) as printer:
        result = run_study(runs, loaded.origin, Path(output), LocalExecutor(jobs, threads), options, printer)
    print(_result_line(result))
    return _ending(result)


@app.command()
def status(study: _Study, output: _Output = "runs", only: _Rows = None) -> None:
    """List every row and seed of a study: done, how many steps, diverged, or not run."""
    import sys
    from pathlib import Path

    from tabulate import tabulate

    from sparsity_audit.cli.values import split_values
    from sparsity_audit.specs.study import expand, load_study
    from sparsity_audit.studies.locate import find_runs
    from sparsity_audit.studies.plan import chosen, states

    def note(text: str) -> None:
        print(f"sparsity-audit: note: {text}", file=sys.stderr)

    runs = chosen(expand(load_study(study)), split_values(only, "--only", "no row given") or [])
    found = states(runs, find_runs(Path(output), note))
    lines = [[state.row_id, state.seed, _state_text(state), state.found.path if state.found else ""] for state in found]
    typer.echo(tabulate(lines, ["row", "seed", "state", "folder"], tablefmt="simple", disable_numparse=True))
    done = sum(state.state == "done" for state in found)
    typer.echo(f"\n{done} of {len(found)} done")


def _state_text(state: RunState) -> str:
    """Return a state in words; a run on the way with its steps, a diverged one with why."""
    if state.found is None:
        return state.state
    record = state.found.record
    if state.state == "done":
        parts = ["done"]
        if record.test is not None:
            parts.append(f"error {100 * record.test.error:.1f} %")
        if record.scale is not None and record.scale.filters:
            parts.append(f"inactive {100 * record.scale.inactive / record.scale.filters:.1f} %")
        return ", ".join(parts)
    if state.state == "diverged":
        return f"failed: {record.message}"
    return f"{record.steps}/{record.total_steps} steps"


def _result_line(result: StudyResult) -> str:
    """Return what came of a study in one line."""
    there = result.before + result.trained
    parts = [f"{there} of {result.total} runs there ({result.trained} trained now)"]
    if result.failed:
        parts.append(f"{len(result.failed)} failed")
    return ", ".join(parts)


def _ending(result: StudyResult) -> int:
    """Return the exit code; say so where somebody stopped us."""
    import sys

    from sparsity_audit.errors import ExitCode

    if result.interrupted and not result.complete:
        print("sparsity-audit: interrupted; the same command goes on where it was", file=sys.stderr)
        return int(ExitCode.INTERRUPTED)
    return int(ExitCode.PASSED if result.complete else ExitCode.USAGE)
