"""Whether a movement leaves the channels of a tensor in their order."""

from __future__ import annotations

from torch import Tensor


def keeps_channels(before: Tensor, after: object) -> bool:
    """Tell whether channels stand in the same order after a movement, each perhaps several times in a row.

    Args:
        before: labels [batch, channels, …].
        after: labels of what the movement gives.
    """
    if not isinstance(after, Tensor) or before.dim() < 2 or after.dim() < 2:
        return False
    one, other = _sequence(before), _sequence(after)
    if not one or not other:
        return False
    return len(other) % len(one) == 0 and other == _repeated(one, len(other) // len(one))


def _sequence(labels: Tensor) -> list[int] | None:
    """Return the label of each channel; None where one holds several, or the batch's rows differ."""
    narrow = labels[0].flatten(1) if labels.dim() > 2 else labels[0].unsqueeze(1)
    if labels.stride(0) != 0 and len(labels) > 1 and not bool((labels == labels[:1]).all()):
        return None
    first = narrow[:, :1]
    found: list[int] = first.flatten().tolist()
    return found if bool((narrow == first).all()) else None


def _repeated(items: list[int], times: int) -> list[int]:
    return [item for item in items for _ in range(times)]
