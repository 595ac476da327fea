"""The program: commands by name, failures as one line and an exit code."""

from __future__ import annotations

import io
import os
import sys
from typing import Annotated

import typer

from sparsity_audit.cli import (
    apply_plan,
    compare,
    diff,
    inspect,
    prune,
    report,
    rules,
    run,
    schema,
    selftest,
    simulate,
    study,
    train,
    zoo,
)
from sparsity_audit.cli.console import silence
from sparsity_audit.errors import ExitCode, SparsityAuditError
from sparsity_audit.version import __version__

app = typer.Typer(
    name="sparsity-audit",
    help="Find the filters that training silently killed, and say what to do about them.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("run", short_help="Audit models: what is dead, what it costs, what can go.")(run.run)
app.command("prune", short_help="Remove dead filters, exactly, and write a slim model.")(prune.prune)
app.command("apply-plan", short_help="Remove what a plan of prune says.")(apply_plan.apply_plan)
app.command("train", short_help="Train a spec of the zoo and leave a run folder.")(train.train)
app.command("compare", short_help="Compare runs: study rules, the paper's claims, tables, pictures.")(compare.compare)
app.command("diff", short_help="Show what died and what revived between two reports.")(diff.diff)
app.command("simulate", short_help="Show how fast regularisers take idle scalars to 0.")(simulate.simulate)
app.command("inspect", short_help="Say what a weight file holds.")(inspect.inspect)
app.command("schema", short_help="Print the JSON Schema of a file format.")(schema.schema)
app.command("selftest", short_help="Check that what is planted is found.")(selftest.selftest)
app.add_typer(report.app, name="report")
app.add_typer(rules.app, name="rules")
app.add_typer(zoo.app, name="zoo")
app.add_typer(study.app, name="study")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sparsity-audit {__version__}")
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Find the filters that training silently killed, and say what to do about them."""


def main() -> None:
    """Run the program and end the process with pytest's exit codes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # γ or a line of a table must not end a session in a Latin-1 console
            stream.reconfigure(errors="replace")
    sys.exit(exit_code(sys.argv[1:]))


def exit_code(arguments: list[str]) -> int:
    """Run one command line and return its exit code; whatever fails is said in one line on stderr."""
    try:
        # standalone_mode=False hands usage errors and Ctrl-C to us: typer alone would exit 2 on the first.
        result = app(arguments, prog_name="sparsity-audit", standalone_mode=False)
        sys.stdout.flush()
    except SparsityAuditError as failure:
        return _complain(str(failure), failure.exit_code)
    except typer.Exit as leave:
        return int(leave.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        return _complain("interrupted; nothing was written", ExitCode.INTERRUPTED)
    except BrokenPipeError:  # `sparsity-audit … | head`: the reader has seen enough
        silence(sys.stdout)
        return int(ExitCode.PASSED)
    except SystemExit as leave:  # a python: factory that calls sys.exit() must not choose our exit code
        if isinstance(leave.__context__, BrokenPipeError):  # typer's own way to end when nobody reads
            silence(sys.stdout)
            return int(ExitCode.PASSED)
        return _complain(f"a module that was imported ended the program (exit {leave.code})", ExitCode.USAGE)
    except Exception as failure:
        if _is_usage_error(failure):
            return _complain(_usage_text(failure), ExitCode.USAGE)
        return _crash(failure)
    # With standalone_mode=False a Ctrl-C inside typer comes back as the value 130, not as an exception.
    if result == 130:
        return _complain("interrupted; nothing was written", ExitCode.INTERRUPTED)
    return int(result) if isinstance(result, int) else int(ExitCode.PASSED)


def _complain(message: str, code: ExitCode) -> int:
    print(f"sparsity-audit: {' '.join(message.split())}", file=sys.stderr)
    return int(code)


def _is_usage_error(failure: Exception) -> bool:
    """Tell typer's own usage errors, whose class lies in the copy of click that it vendors."""
    return hasattr(failure, "format_message") and hasattr(failure, "exit_code")


def _usage_text(failure: Exception) -> str:
    context = getattr(failure, "ctx", None)
    command = context.command_path if context is not None else "sparsity-audit"
    text: str = failure.format_message()  # type: ignore[attr-defined]
    if type(failure).__name__ == "NoArgsIsHelpError":  # its message is the whole help
        print(text)
        text = "a command is missing"
    return f"{text.replace('Value error, ', '')} (see {command} --help)"


def _crash(failure: Exception) -> int:
    """Report a crash of ours: one line, the traceback on request."""
    if os.environ.get("SPARSITY_AUDIT_TRACEBACK"):
        import traceback

        traceback.print_exception(failure)
    return _complain(
        f"internal error: {type(failure).__name__}: {failure} "
        "(set SPARSITY_AUDIT_TRACEBACK=1 for the traceback, and please report it)",
        ExitCode.INTERNAL,
    )


if __name__ == "__main__":
    main()
