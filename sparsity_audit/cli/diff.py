"""``sparsity-audit diff``: what died and what revived between two reports."""

from __future__ import annotations

from typing import Annotated

import typer


def diff(
    before: Annotated[str, typer.Argument(metavar="BEFORE", help="File of run --json.")],
    after: Annotated[str, typer.Argument(metavar="AFTER", help="A later one, of the same models.")],
    json: Annotated[str | None, typer.Option(help="Write the differences as JSON.", metavar="FILE")] = None,
    verbose: Annotated[int, typer.Option("-v", "--verbose", count=True, help="Every index.", metavar="")] = 0,
) -> int:
    """Show which filters died, which revived, and which failures came and went between two reports.

    Filters are compared by number: stages of one training, or a model before and after fine-tuning. It judges nothing
    and exits with 0; run --baseline is the gate.
    """
    import shutil
    from pathlib import Path

    from sparsity_audit.cli.console import say
    from sparsity_audit.outputs import check_distinct, check_writable, write_atomically
    from sparsity_audit.ratchet.diff import diff_reports
    from sparsity_audit.ratchet.report_file import read_report
    from sparsity_audit.reporters.diff_terminal import diff_text

    if json is not None:
        check_writable(json, "--json")
        check_distinct({"--json": json}, [before, after])
    found = diff_reports(read_report(Path(before)), read_report(Path(after)), (before, after))
    if json is not None:
        write_atomically(json, found.to_json() + "\n")
    width = min(shutil.get_terminal_size((100, 24)).columns, 120)
    say(diff_text(found, verbosity=verbose, width=width))
    return 0
