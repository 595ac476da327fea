"""What ``compare`` prints and writes."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from sparsity_audit.cli.outputs import check_writable, say, write_report
from sparsity_audit.errors import UsageError
from sparsity_audit.reporters import study_terminal, terminal
from sparsity_audit.schema.report import AuditReport, StudyReport


def check_folder(output: str | None) -> None:
    """Make the folder for pictures, and find out before the work whether it can be written to.

    Raises:
        UsageError: it cannot.
    """
    if output is None:
        return
    try:
        Path(output).mkdir(parents=True, exist_ok=True)
    except OSError as failure:
        raise UsageError(f"--output {output}: cannot be created ({failure.strerror}); name another folder") from None
    check_writable(str(Path(output) / "report.json"), "--output")


def show(report: AuditReport, verbosity: int) -> None:
    """Print the session; a reader who leaves early takes nothing from it."""
    width = min(shutil.get_terminal_size((100, 24)).columns, 120)
    colour = sys.stdout.isatty()
    parts = []
    if verbosity >= 0:
        parts.append(terminal.session_head(report.tool, report.config_file, colour=colour, width=width))
    for study in report.studies:
        parts += _study(study, verbosity, width)
    parts.append(terminal.session_end(report, colour=colour, verbosity=verbosity, width=width))
    say("\n\n".join(part for part in parts if part))


def _study(study: StudyReport, verbosity: int, width: int) -> list[str]:
    failures = terminal.failures(study, verbosity=verbosity, width=width)
    if verbosity < 0:
        return [failures]
    beside = study_terminal.beside_paper(study, width=width)
    if not study.results and not study.claims:  # a table of the paper
        return [study_terminal.study_head(study), beside or "no run of this table's regimes is there"]
    return [
        study_terminal.study_head(study),
        study_terminal.study_table(study, width=width),
        beside,
        terminal.rule_lines(study, verbosity=verbosity, width=width),
        failures,
        study_terminal.claims(study, verbosity=verbosity, width=width),
    ]


def write(report: AuditReport, output: str | None) -> None:
    """Write the files that were asked for.

    Raises:
        UsageError: one cannot be written after all.
    """
    files = list(report.config.outputs.items())
    if output is not None:
        files += [("json", str(Path(output) / "report.json")), ("markdown", str(Path(output) / "report.md"))]
    write_report(report, files)
    if output is not None:
        from sparsity_audit.plots.studies import write_study_figures

        for study in report.studies:
            write_study_figures(study, Path(output))
