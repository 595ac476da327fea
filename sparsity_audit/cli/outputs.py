"""Output files: found to be writable before the work, written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from sparsity_audit.errors import UsageError


def check_writable(path: str, option: str) -> None:
    """Raise where a file could not be written, without creating it.

    Raises:
        UsageError: the folder is absent or not writable, or the path is a folder.
    """
    target = Path(path)
    if target.is_dir():
        raise UsageError(f"{option} {path}: is a folder; name a file in it")
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
    target = Path(path)
    temporary = ""
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=target.parent, prefix=".sparsity-audit-", delete=False
        ) as file:
            temporary = file.name
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        # A temporary file is its owner's alone; a report is as readable as any new file.
        mask = os.umask(0)
        os.umask(mask)
        Path(temporary).chmod(0o666 & ~mask)
        Path(temporary).replace(target)
    except OSError as failure:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise UsageError(f"{path}: cannot be written: {failure.strerror}") from None
