"""The audit that a finished run is given: its model on its own training corpus, by the default rules."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sparsity_audit.engine.rulepacks import load_rules
from sparsity_audit.engine.session import Listener, Session
from sparsity_audit.errors import CheckpointError
from sparsity_audit.files import write_whole
from sparsity_audit.schema.config import AuditConfig
from sparsity_audit.studies.locate import AUDIT
from sparsity_audit.studies.task import RunTask
from sparsity_audit.training.run_folder import RunFolder


def audit_run(task: RunTask, progress: Callable[[str, int, int], None] | None = None) -> None:
    """Write ``audit.json`` into a finished run's folder, unless it is there.

    Raises:
        UsageError: another process is at work on this run.
        SparsityAuditError: the model cannot be audited, or the report not written.
    """
    folder = RunFolder(Path(task.folder))
    with folder.locked():
        target = folder.path / AUDIT
        if target.exists():
            return
        data = task.spec.data
        config = AuditConfig(
            models=[task.folder],
            data=data.name,
            data_root=task.data_root,
            resize=data.resize,
            crop=data.crop,
            device=task.device,
        )
        session = Session(config, load_rules(config.rules), listener=_Progress(progress))
        session.start()
        session.add(session.prepare(task.folder))
        try:
            write_whole(target, f"{session.report().to_json()}\n".encode())
        except OSError as failure:
            raise CheckpointError(f"{target}: cannot be written ({failure.strerror})") from None


class _Progress(Listener):
    """Hands a session's progress on."""

    def __init__(self, tell: Callable[[str, int, int], None] | None) -> None:
        self._tell = tell

    def progress(self, label: str, done: int, total: int) -> None:
        if self._tell is not None:
            self._tell(label, done, total)
