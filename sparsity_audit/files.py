"""Writing files whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that a reader, and whoever kills us, finds the old content or the new, never a part.

    Raises:
        OSError: it cannot be written; what was there before is left as it was, and nothing beside it.
    """
    # Beside the target, since os.replace is atomic only within one file system.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:  # Ctrl-C too leaves no temporary file behind
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
