"""The audit configuration: one schema for ``sparsity-audit.toml``, ``[tool.sparsity-audit]``, ``*.audit.toml``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from sparsity_audit.schema.base import Strict
from sparsity_audit.schema.gate import Tolerance, Waiver
from sparsity_audit.schema.rule import Limits, RuleId, Severity
from sparsity_audit.schema.spec import Positive, TrainingSettings

Split = Literal["train", "test"]
Format = Literal["json", "markdown", "html", "junit_xml", "sarif"]
"""What a report can be written as; each is a key of the configuration that holds the file's path."""


class AuditConfig(Strict):
    """What to audit and by which rules; each key is the command-line flag's name with underscores.

    ``--trust-code`` has no key: running code from a file takes a word from the person who starts the program; nor has
    ``--update-baseline``, which changes a file that others rely on.
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
    html: str | None = None
    junit_xml: str | None = None
    sarif: str | None = None
    format: Literal["terminal", "github"] = "terminal"
    """``github`` adds annotations to what is printed."""
    baseline: str | None = None
    """An earlier JSON report: only failures that are new or worse fail the session."""
    baseline_tolerance: Tolerance = 1e-4
    """How much worse than the baseline a value may be; times its size where that is above 1."""
    waivers: list[Waiver] = Field(default_factory=list)
    exit_zero: bool = False
    training: TrainingSettings | None = None

    @property
    def outputs(self) -> dict[Format, str]:
        """Paths of the files that were asked for, by format."""
        asked: dict[Format, str | None] = {
            "json": self.json_path,
            "markdown": self.markdown,
            "html": self.html,
            "junit_xml": self.junit_xml,
            "sarif": self.sarif,
        }
        return {name: path for name, path in asked.items() if path is not None}
