"""Listing: the encoded images of one split, found but not read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sparsity_audit.data.corpus import Labels
from sparsity_audit.data.view import Encoded

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Listing(ABC):
    """Where the images of one split are, and what they show."""

    labels: Labels
    """int64 [N]; indices into ``class_names``."""
    class_names: tuple[str, ...]

    @abstractmethod
    def encoded(self, indices: Indices) -> Iterator[Encoded]:
        """Yield the images at ``indices``, which rise.

        Raises:
            DataError: a container of images is damaged.
        """

    @abstractmethod
    def where(self, index: int) -> str:
        """Return the words that name one image to the user."""

    @abstractmethod
    def identity(self, index: int) -> str:
        """Return one image's name within the data set, and the size of the file that holds it."""

    @abstractmethod
    def stamp(self) -> str:
        """Return what changes when a file does: a digest of place, names, sizes and times."""
