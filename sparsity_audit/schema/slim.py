"""What a slim file says of itself beyond its network: what it was made from, and how wide it is now."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from sparsity_audit.schema.base import Strict
from sparsity_audit.schema.plan import PruningClass


class SlimInfo(Strict):
    """A network with fewer filters than its class builds; its tensors' shapes are the widths, this is their key."""

    original_sha256: str
    """Of the model that filters were removed from."""
    pruning_class: PruningClass
    widths: dict[str, Annotated[int, Field(ge=1)]]
    """Filters that each feature layer computes."""
    groups: dict[str, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    """Groups of convolutions that have fewer than their class builds, depthwise ones above all, by module path."""
