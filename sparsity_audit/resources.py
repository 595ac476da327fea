"""Where the packaged ``rules/`` and ``zoo/`` lie, in a wheel, an editable install and a bare checkout."""

from __future__ import annotations

from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path


def packaged(folder: str) -> Traversable:
    """Return the packaged folder ``rules`` or ``zoo``.

    ``python -m pytest`` at the root of a checkout puts the checkout's ``sparsity_audit`` before an installed
    wheel, and there the two folders lie beside the package, not inside: hence the fall-back.

    Raises:
        FileNotFoundError: the installation lacks the folder.
    """
    try:
        return resources.files(f"sparsity_audit.{folder}")
    except ModuleNotFoundError:
        beside = Path(__file__).resolve().parent.parent / folder
        if beside.is_dir():
            return beside
        raise FileNotFoundError(f"the installation lacks its {folder}/ folder; reinstall sparsity-audit") from None
