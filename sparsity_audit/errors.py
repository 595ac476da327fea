"""Names of failures, and the exit code each ends the program with.

Exit codes are pytest's. A failure carries one line that says what is wrong, where, and what to do;
the command line prints that line and no traceback.
"""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterable
from enum import IntEnum


class ExitCode(IntEnum):
    """What the process tells its caller; where several apply, 3 wins over 4 over 5 over 1."""

    PASSED = 0
    """No rule failed at or above ``--fail-on``."""
    FAILED = 1
    """A rule failed at or above ``--fail-on``, or a limit cannot be kept."""
    INTERRUPTED = 2
    """Ctrl-C."""
    INTERNAL = 3
    """A crash of ours, or a rule that crashed."""
    USAGE = 4
    """Wrong usage, or a model, spec, configuration or data set that cannot be read."""
    NOTHING_AUDITED = 5
    """No feature layer was audited in the whole session."""


class SparsityAuditError(Exception):
    """Base of every failure that is the input's, not ours; its text is one line for the user."""

    exit_code = ExitCode.USAGE


class UsageError(SparsityAuditError):
    """Options that don't go together, unknown names, outputs that cannot be written."""


class ConfigError(SparsityAuditError):
    """A configuration, rule or spec file that cannot be read or does not fit its schema."""


class CheckpointError(SparsityAuditError):
    """A weight file that cannot be read safely."""


class UntrustedCodeError(CheckpointError):
    """A file that would run code when loaded, without the flag that allows it."""


class ArchitectureError(SparsityAuditError):
    """Weights that fit no known architecture, or not the one that was named."""


class DataError(SparsityAuditError):
    """A corpus that is absent, empty, corrupt, or does not fit the model."""


class GraphError(SparsityAuditError):
    """A model whose graph cannot be captured."""


class TrainingError(SparsityAuditError):
    """A spec that cannot be trained: its loss is not finite any more."""


class LimitError(SparsityAuditError):
    """A limit that the user set and that cannot be kept: a failed check, like a failed rule."""

    exit_code = ExitCode.FAILED


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `` (did you mean 'x'?)`` for the nearest known name, or the list of them where none is near."""
    choices = list(known)
    near = difflib.get_close_matches(name, choices, n=len(choices) or 1, cutoff=0.6)
    if near:
        # Of names about as close, the one that begins alike: SA199 is nearer to SA105 than to SA904.
        best = max(near, key=lambda choice: _common_beginning(name, choice))
        return f" (did you mean {best!r}?)"
    return f" (known: {', '.join(choices)})" if choices else ""


def _common_beginning(left: str, right: str) -> int:
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(left, right, strict=False)))
