"""The audit configuration: one schema for ``sparsity-audit.toml``, ``[tool.sparsity-audit]``, ``*.audit.toml``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from sparsity_audit.schema.base import Strict
from sparsity_audit.schema.rule import Limits, RuleId, Severity
from sparsity_audit.schema.spec import Positive, TrainingSettings

Split = Literal["train", "test"]


class AuditConfig(Strict):
    """What to audit and by which rules; each key is the command-line flag's name with underscores.

    ``--trust-code`` has no key: running code from a file takes a word from the person who starts the program.
    """

    models: list[str] = Field(default_factory=list)
    data: str | None = None
    data_root: str | None = None
    split: Split = "train"
    arch: str | None = None
    mean: list[float] | None = None
    std: list[float] | None = None
    resize: Annotated[int, Field(ge=1)] | None = None
    """Pixels of the shorter side that photographs are scaled to (bilinear, antialiased); 256 for ``imagenet``."""
    crop: Annotated[int, Field(ge=1)] | None = None
    """Pixels of the square that is cut from the centre of photographs; 224 for ``imagenet``."""
    rules: list[str] = Field(default_factory=lambda: ["default"])
    select: list[str] = Field(default_factory=list)
    ignore: list[str] = Field(default_factory=list)
    limits: dict[RuleId, Limits] = Field(default_factory=dict)
    """Limits that replace those of the packs, by rule id."""
    fail_on: Severity = "error"
    limit: Annotated[int, Field(ge=1)] | None = None
    """Images taken from each split, drawn with ``seed``; all of them where left out."""
    seed: int = 0
    batch_size: Annotated[int, Field(ge=1)] = 100
    device: str = "cpu"
    memory_budget: Positive = 2.0
    """GiB that the pooled maxima (images × filters × 4 bytes) may take; beyond it universality comes from a sketch."""
    json_path: str | None = Field(default=None, alias="json")
    markdown: str | None = None
    exit_zero: bool = False
    training: TrainingSettings | None = None
