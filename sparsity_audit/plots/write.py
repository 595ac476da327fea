"""Pictures as files: PNG or SVG, whole or not at all, the same bytes for the same picture."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

from matplotlib.figure import Figure

from sparsity_audit.errors import UsageError
from sparsity_audit.files import write_whole
from sparsity_audit.plots.style import DPI, styled

FORMATS = {".png": "png", ".svg": "svg"}
# Neither the date nor the version of matplotlib: they would differ where the picture does not.
_METADATA: dict[str, dict[str, str | None]] = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}


def check_format(path: Path) -> str:
    """Return the format that a file's suffix stands for.

    Raises:
        UsageError: neither PNG nor SVG.
    """
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise UsageError(f"{path}: a picture is written as .png or .svg, not {suffix or 'without a suffix'}")
    return FORMATS[suffix]


def write_figure(figure: Figure, path: Path) -> None:
    """Write a picture in the format of its suffix.

    Raises:
        UsageError: another suffix, or a file that cannot be written; what was there before is left as it was.
    """
    kind = check_format(path)
    content = io.BytesIO()
    with styled(), warnings.catch_warnings():
        # Somebody's layer keys may have letters that the font lacks: they become boxes, which is no failure.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(content, format=kind, dpi=DPI, metadata=_METADATA[kind])
    try:
        write_whole(path, content.getvalue())
    except OSError as failure:
        raise UsageError(f"{path}: cannot be written: {failure.strerror}") from None
