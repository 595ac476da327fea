"""Items in classes that grow together, and classes that have to stay."""

from __future__ import annotations

from collections.abc import Iterable

NOTHING, FIXED, PARAMETER = 0, 1, 2
"""What padding adds, and numbers; channels that no filter of the graph produces; a parameter's own channels."""
FIRST_ITEM = 3

Items = list[int]
"""The items of a tensor's channels, in order."""


class Partition:
    """Items by class; a class is named by its lowest item.

    Attributes:
        pinned: classes that must stay as they are, and why.
    """

    def __init__(self) -> None:
        self._parent = list(range(FIRST_ITEM))
        self.pinned: dict[int, str] = {}

    def new(self, count: int) -> Items:
        """Return new items, each a class of its own."""
        items = list(range(len(self._parent), len(self._parent) + count))
        self._parent.extend(items)
        return items

    def find(self, item: int) -> int:
        """Return the class of an item."""
        while self._parent[item] != item:
            self._parent[item] = self._parent[self._parent[item]]
            item = self._parent[item]
        return item

    def why_pinned(self, item: int) -> str | None:
        """Return why a class has to stay; None where nothing speaks for it."""
        root = self.find(item)
        return "no filter of the graph produces it" if root < FIRST_ITEM else self.pinned.get(root)

    def couple(self, left: int, right: int, what: str) -> int:
        """Make one class of two, and return it.

        Fixed channels are of many tensors: what meets one is pinned, and no class with it.

        Args:
            what: what makes them meet.
        """
        a, b = sorted((self.find(left), self.find(right)))
        if a in (b, NOTHING):
            return b
        if a < FIRST_ITEM:
            met = "a parameter of the network" if a == PARAMETER else "a channel that no filter produces"
            self.pin([b], f"in {what} it meets {met}")
            return b
        self._parent[b] = a
        if b in self.pinned:
            self.pinned.setdefault(a, self.pinned[b])
        return a

    def pin(self, items: Iterable[int], why: str) -> None:
        """Let the classes of items stay; the first reason counts."""
        for item in items:
            if self.find(item) >= FIRST_ITEM:
                self.pinned.setdefault(self.find(item), why)
