"""What ``compare`` writes."""

from __future__ import annotations

from pathlib import Path

from sparsity_audit.errors import UsageError
from sparsity_audit.outputs import check_writable, write_report
from sparsity_audit.schema.report import AuditReport


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
