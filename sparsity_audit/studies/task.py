"""What an executor is given to do, and what it is told meanwhile: values that go from process to process as JSON."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from sparsity_audit.schema.base import Strict
from sparsity_audit.schema.spec import ZooSpec


class RunTask(Strict):
    """One run: train it from where it is to the end, then audit it. Independent of all others, and repeatable."""

    name: str
    """Row id, or spec id: what its record calls it."""
    origin: str
    """What to call its spec in messages."""
    spec: ZooSpec
    folder: str
    """The run's own folder."""
    device: str = "cpu"
    data_root: str | None = None
    checkpoint_seconds: float = 30.0
    audit: bool = True
    """Whether ``audit.json`` is written."""


class Doing(Strict):
    """Where a run is; loss, error and filters inactive by scale only while it is trained."""

    kind: Literal["doing"] = "doing"
    label: str
    done: int
    total: int
    loss: float | None = None
    error: float | None = None
    inactive: int | None = None
    filters: int | None = None


class Outcome(Strict):
    """How an attempt at a run ended.

    ``finished``: it is trained. ``interrupted``: it was stopped, and can go on. ``diverged``: it would fail again.
    ``elsewhere``: another process trains it. ``failed``: anything else.
    """

    kind: Literal["outcome"] = "outcome"
    status: Literal["finished", "interrupted", "diverged", "elsewhere", "failed"]
    message: str | None = None
    """One line on what kept it from being finished."""
    notes: list[str] = Field(default_factory=list)
    """What the user should know all the same."""


EVENTS: TypeAdapter[Doing | Outcome] = TypeAdapter(Annotated[Doing | Outcome, Field(discriminator="kind")])
