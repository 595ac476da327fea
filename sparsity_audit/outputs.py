"""Output files: found to be writable before the work, written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from sparsity_audit.errors import UsageError
from sparsity_audit.files import write_whole

if TYPE_CHECKING:
    from sparsity_audit.schema.config import Format
    from sparsity_audit.schema.report import AuditReport


def check_distinct(outputs: Mapping[str, str], inputs: Iterable[str]) -> None:
    """Raise where an output would overwrite another, or a file that is read.

    Args:
        outputs: paths by option.
        inputs: paths of files that the session reads.

    Raises:
        UsageError: two of them are one file, or one is no path.
    """
    taken = {_place(path): f"the input {path}" for path in inputs}
    for option, path in outputs.items():
        place = _place(path)
        if place in taken:
            raise UsageError(f"{option} {path}: is {taken[place]} as well; name another file")
        taken[place] = f"the file of {option}"


def _place(path: str) -> str:
    try:
        return os.path.realpath(path)
    except ValueError as failure:  # a NUL in it
        raise UsageError(f"{path!r}: is no name of a file: {failure}") from None


def check_writable(path: str, option: str) -> None:
    """Raise where a file could not be written, without creating it.

    Raises:
        UsageError: the folder is absent or not writable, or the path is a folder.
    """
    target = Path(path)
    if target.is_dir():
        raise UsageError(f"{option} {path}: is a folder; name a file in it")
    if not target.parent.is_dir():
        raise UsageError(f"{option} {path}: there is no folder {target.parent}; create it first")
    try:
        descriptor, probe = tempfile.mkstemp(dir=target.parent, prefix=".sparsity-audit-")
        os.close(descriptor)
        Path(probe).unlink()
        if target.exists() and not os.access(target, os.W_OK):
            raise PermissionError(13, "Permission denied")
    except OSError as failure:
        raise UsageError(f"{option} {path}: cannot be written: {failure.strerror}") from None


def write_atomically(path: str, text: str) -> None:
    """Write a text file so that a reader sees the old content or the new, never a part.

    Raises:
        UsageError: it cannot be written after all; what was there before is left as it was.
    """
    try:
        write_whole(Path(path), text.encode())
    except OSError as failure:
        raise UsageError(f"{path}: cannot be written: {failure.strerror}") from None


def check_outputs(outputs: Mapping[Format, str], inputs: Iterable[str] = ()) -> None:
    """Find out before the work whether its results can be written.

    Args:
        outputs: paths by format.
        inputs: paths of files that the session reads.

    Raises:
        UsageError: one of them cannot, or would overwrite another file of the session.
    """
    options = {f"--{name.replace('_', '-')}": path for name, path in outputs.items()}
    for option, path in options.items():
        check_writable(path, option)
    check_distinct(options, inputs)


def write_report(report: AuditReport, outputs: Iterable[tuple[Format, str]]) -> None:
    """Write a report's files, every one in its format.

    Raises:
        UsageError: one cannot be written after all.
    """
    from sparsity_audit.reporters.formats import render

    root = repository_root(Path.cwd())
    texts = {path: render(report, name, root) for name, path in outputs}
    for path, text in texts.items():
        write_atomically(path, text)


def worth_writing(report: AuditReport) -> list[tuple[Format, str]]:
    """Return the files to write; where no model at all could be read, those for CI servers, which show why."""
    outputs = list(report.config.outputs.items())
    if report.models or report.studies:
        return outputs
    return [(name, path) for name, path in outputs if name in ("junit_xml", "sarif")]


def repository_root(folder: Path) -> Path:
    """Return the repository that a folder lies in, from which code scanning counts paths; else the folder."""
    return next((above for above in (folder, *folder.parents) if (above / ".git").exists()), folder)
