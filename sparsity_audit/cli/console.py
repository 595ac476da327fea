"""Printing to a reader who may have left."""

from __future__ import annotations

import os
import sys
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from sparsity_audit.schema.report import AuditReport


def say(text: str, stream: IO[str] | None = None) -> None:
    """Print to a reader who may have left (``… | head``): the work and its exit code do not depend on one.

    Args:
        stream: standard output where left out.
    """
    try:
        print(text, file=stream, flush=True)
    except BrokenPipeError:
        silence(stream or sys.stdout)


def show(report: AuditReport, verbosity: int) -> None:
    """Print a finished session."""
    import shutil

    from sparsity_audit.reporters.terminal_session import session_text

    width = min(shutil.get_terminal_size((100, 24)).columns, 120)
    say(session_text(report, colour=sys.stdout.isatty(), verbosity=verbosity, width=width))


def silence(stream: IO[str]) -> None:
    """Send what is still printed to nowhere, after the reader of a stream has closed the pipe."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
