"""Source: where a split's images come from, before anything is decoded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sparsity_audit.data.corpus import Labels, Pixels
from sparsity_audit.schema.config import Split

Progress = Callable[[int, int], None]
"""Told (images decoded, images in all) while a split is decoded."""


@dataclass(frozen=True)
class Decoding:
    """A split on its way into arrays."""

    total: int
    shape: tuple[int, int, int]
    """Height, width, channels."""
    class_names: tuple[str, ...]
    chunks: Iterator[tuple[Pixels, Labels]]
    """(uint8 [b, H, W, C], int64 [b]), ``total`` images together; raises DataError where the data are bad."""


@dataclass(frozen=True)
class Source:
    """One split of one data set in one folder."""

    name: str
    split: Split
    files: tuple[Path, ...]
    """Everything the decoded arrays depend on: when one of them changes, the cached arrays are stale."""
    decode: Callable[[], Decoding]
    variant: str = ""
    """What else the decoded arrays depend on, where ``files`` does not say it."""
