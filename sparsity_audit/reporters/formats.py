"""A report in every format that is written to a file; each is a pure function of the report."""

from __future__ import annotations

from pathlib import Path

from sparsity_audit.schema.config import Format
from sparsity_audit.schema.report import AuditReport


def render(report: AuditReport, name: Format, root: Path) -> str:
    """Return the report as the text of a file.

    Args:
        root: folder of the repository, from which code scanning counts paths; absolute.
    """
    if name == "json":
        return report.to_json() + "\n"
    if name == "markdown":
        from sparsity_audit.reporters.markdown import to_markdown

        return to_markdown(report)
    if name == "html":
        from sparsity_audit.reporters.html import to_html

        return to_html(report)
    if name == "junit_xml":
        from sparsity_audit.reporters.junit import to_junit

        return to_junit(report)
    from sparsity_audit.reporters.sarif import to_sarif

    return to_sarif(report, root)
