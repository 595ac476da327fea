"""pytest's side of an audit: ``pytest model.audit.toml`` has an item for each model and rule.

Every pytest session on this machine loads this module, so it imports nothing but pytest; what an audit needs comes with
the first ``*.audit.toml``.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sparsity_audit.integrations.pytest_names import DECIDED, PROPERTY, STORE, UNDECIDED

if TYPE_CHECKING:
    from sparsity_audit.integrations.pytest_items import AuditFile
    from sparsity_audit.schema.report import AuditReport

SUFFIX = ".audit.toml"
_WORKER_KEY = "sparsity_audit_store"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of audits."""
    group = parser.getgroup("sparsity-audit", "audits of trained models (*.audit.toml)")
    group.addoption(
        "--sparsity-audit-per-layer", action="store_true", help="one item for each layer, rather than for each rule"
    )
    group.addoption(
        "--sparsity-audit-trust-code", action="store_true", help="allow python: factories of audits to run code"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker of audit items known, and watch the session for them."""
    config.addinivalue_line("markers", "sparsity_audit: an item of an audit (from a *.audit.toml)")
    config.pluginmanager.register(_Watch(config), "sparsity-audit-watch")


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> AuditFile | None:
    """Collect ``*.audit.toml``."""
    if not file_path.name.endswith(SUFFIX):
        return None
    from sparsity_audit.integrations.pytest_items import AuditFile

    config = parent.config
    if STORE not in config.stash:
        from sparsity_audit.integrations.pytest_store import Store

        folder = getattr(config, "workerinput", {}).get(_WORKER_KEY)
        config.stash[STORE] = Store(Path(folder) if folder else None)
    found: AuditFile = AuditFile.from_parent(parent, path=file_path)
    return found


@pytest.fixture(scope="session")
def audit_model() -> Callable[..., AuditReport]:
    """Audit a model in memory on the batches of a loader: ``audit_model(model, loader) -> AuditReport``.

    See ``sparsity_audit.integrations.audit_model.audit_model`` for its arguments.
    """
    from sparsity_audit.integrations.audit_model import audit_model as audit

    return audit


class _Watch:
    """Sees what becomes of audit items in the process that prints the session, wherever they ran."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.told: dict[str, int] = {}
        """How many items were decided, and how many were not."""
        self.folder: Path | None = None
        self.lines: list[str] = []
        """What the summary says."""

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: object) -> None:
        """Give xdist's workers a folder in which they find each other's audits."""
        if self.folder is None:
            self.folder = Path(tempfile.mkdtemp(prefix="sparsity-audit-"))
        node.workerinput[_WORKER_KEY] = str(self.folder)  # type: ignore[attr-defined]  # xdist's

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count the items that were decided."""
        if report.when == "call":
            for name, value in report.user_properties:
                if name == PROPERTY:
                    self.told[str(value)] = self.told.get(str(value), 0) + 1

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the files that configurations ask for; 4 where one cannot be written after all.

        End with 5 where audit items ran and none of them was decided: such a session has checked nothing.
        """
        if hasattr(self.config, "workerinput") or not self.told:
            return
        from sparsity_audit.integrations.pytest_store import Store
        from sparsity_audit.integrations.pytest_summary import conclude

        store = Store(self.folder) if self.folder is not None else self.config.stash[STORE]
        self.lines, written = conclude(store.reports())
        if session.exitstatus != pytest.ExitCode.OK:
            return
        if not written:
            session.exitstatus = pytest.ExitCode.USAGE_ERROR
        elif self._empty:
            session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED
            self.lines.append("no audit item was decided: exit code 5")

    @property
    def _empty(self) -> bool:
        return bool(self.told.get(UNDECIDED)) and not self.told.get(DECIDED)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print each model's verdict, warnings and improvements, and what was written."""
        if not self.lines:
            return
        terminalreporter.section("sparsity-audit")
        for line in self.lines:
            terminalreporter.write_line(line)

    def pytest_unconfigure(self) -> None:
        """Remove what the workers shared."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
