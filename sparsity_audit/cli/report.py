"""``sparsity-audit report``: a JSON report in another form, without a new audit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sparsity_audit.schema.config import Format
    from sparsity_audit.schema.report import AuditReport

app = typer.Typer(help="Turn a JSON report into other formats.", no_args_is_help=True)

File = str | None
_FORMAT = "Print it as run does (terminal), or as annotations of a workflow (github)."


@app.command()
def convert(
    report: Annotated[str, typer.Argument(metavar="REPORT", help="File of run --json or compare --json.")],
    json: Annotated[File, typer.Option(help="Write it as JSON again.", metavar="FILE")] = None,
    markdown: Annotated[File, typer.Option(help="Write Markdown, for a pull request.", metavar="FILE")] = None,
    html: Annotated[File, typer.Option(help="Write one page, to look at.", metavar="FILE")] = None,
    junit_xml: Annotated[File, typer.Option(help="Write JUnit XML, for CI servers.", metavar="FILE")] = None,
    sarif: Annotated[File, typer.Option(help="Write SARIF 2.1.0, for code scanning.", metavar="FILE")] = None,
    format_: Annotated[File, typer.Option("--format", help=_FORMAT, metavar="terminal|github")] = None,
    verbose: Annotated[int, typer.Option("-v", "--verbose", count=True, help="Every result.", metavar="")] = 0,
) -> int:
    """Convert a JSON report: the same findings in other formats. Its verdict is not this command's: it exits with 0."""
    from pathlib import Path

    from sparsity_audit.errors import UsageError
    from sparsity_audit.outputs import check_outputs, write_report
    from sparsity_audit.ratchet.report_file import read_report

    asked: dict[Format, str | None] = {
        "json": json,
        "markdown": markdown,
        "html": html,
        "junit_xml": junit_xml,
        "sarif": sarif,
    }
    outputs: dict[Format, str] = {name: path for name, path in asked.items() if path is not None}
    if format_ not in (None, "terminal", "github"):
        raise UsageError(f"--format {format_!r}: terminal or github")
    if not outputs and format_ is None:
        raise UsageError("nothing to convert to: give --markdown, --html, --junit-xml, --sarif, --json or --format")
    check_outputs(outputs, [report])
    found = read_report(Path(report))
    write_report(found, outputs.items())
    if format_ is not None:
        _show(found, format_, verbose)
    return 0


def _show(report: AuditReport, layout: str, verbosity: int) -> None:
    from pathlib import Path

    from sparsity_audit.cli.console import say, show

    if layout == "terminal":
        show(report, verbosity)
        return
    from sparsity_audit.outputs import repository_root
    from sparsity_audit.reporters.github import to_annotations

    say(to_annotations(report, repository_root(Path.cwd())))
