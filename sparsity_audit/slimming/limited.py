"""The most that can go while the test error stays within a limit."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sparsity_audit.pruning.holds import Holds
from sparsity_audit.slimming.attempt import Attempt
from sparsity_audit.slimming.order import Candidate


def largest_within(
    base: Attempt,
    holds: Holds,
    more: Sequence[tuple[Candidate, float]],
    make: Callable[[Holds], Attempt],
    limit: float,
) -> Attempt:
    """Return the slim network with the most filters removed, in order, whose test error rises by no more than a limit.

    The error need not grow with every filter; the search halves as if it did, and what it returns was measured.

    Args:
        base: a network that keeps the limit.
        holds: what it removes.
        more: further filters and the value each is held at, the least harmful first.
    """
    best, low, high = base, 0, len(more)
    while low < high:
        middle = (low + high + 1) // 2
        wanted = {key: dict(values) for key, values in holds.items()}
        for candidate, value in more[:middle]:
            wanted.setdefault(candidate.layer, {})[candidate.number] = value
        tried = make(wanted)
        if tried.error_increase <= limit:
            best, low = tried, middle
        else:
            high = middle - 1
    return best
