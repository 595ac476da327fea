"""What trainers put beside the weights and torch's weights-only loader does not know: read as nothing.

The loader maps each name below to a stand-in of ours, so neither the named class nor its ``__setstate__`` runs, and
a hostile file finds nothing to call. The values themselves are never needed: only tensors are read.
"""

from __future__ import annotations

from typing import Any


class PlainData:
    """Takes any arguments and any state, and keeps none of them."""

    def __new__(cls, *_: Any) -> PlainData:
        """Return an empty object."""
        return super().__new__(cls)

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        pass


class _Dict:
    """Stands for dicts of other classes; the loader puts items into plain dicts only."""

    def __new__(cls, *_: Any) -> dict[Any, Any]:  # type: ignore[misc]
        return {}


class _List:
    """Stands for sequences of other classes; the loader appends to plain lists only."""

    def __new__(cls, *_: Any) -> list[Any]:  # type: ignore[misc]
        return []


_NOTHING = (
    "argparse.Namespace",
    "builtins.dict",
    "builtins.list",
    "numpy.dtype",
    "numpy.ndarray",
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
    *(
        f"{module}.{name}"
        for module in ("pathlib", "pathlib._local")
        for name in ("Path", "PosixPath", "PurePosixPath", "PureWindowsPath", "WindowsPath")
    ),
)
_DICTS = (
    "collections.defaultdict",
    "lightning.fabric.utilities.data.AttributeDict",
    "lightning_fabric.utilities.data.AttributeDict",
    "lightning.pytorch.utilities.parsing.AttributeDict",
    "pytorch_lightning.utilities.parsing.AttributeDict",
)

STAND_INS: list[tuple[type, str]] = [
    *((PlainData, name) for name in _NOTHING),
    *((_Dict, name) for name in _DICTS),
    (_List, "collections.deque"),
]
"""For ``torch.serialization.safe_globals``: what stands for each name in a pickle."""
