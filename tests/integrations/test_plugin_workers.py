"""xdist: one audit per model whoever asks, workers that die, and nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from audit_folder import AuditFolder

COUNT = """
import os, pathlib
from sparsity_audit.engine.session import Session

whole = Session.run

def counted(self, paths):
    for path in paths:
        with open("runs.txt", "a") as file:
            file.write(path + "\\n")
    {extra}
    return whole(self, paths)

Session.run = counted
"""


def runs(folder: AuditFolder) -> list[str]:
    return sorted((folder.path / "runs.txt").read_text().split())


def two_models(folder: AuditFolder, extra: str = "pass") -> None:
    folder.good()
    folder.sick()
    folder.audit("good.safetensors", "sick.safetensors", text="select = []")
    folder.pytester.makeconftest(COUNT.format(extra=extra))


@pytest.mark.parametrize(
    "options", [(), ("-n", "2"), ("-n", "2", "--dist", "loadscope"), ("-n", "2", "--sparsity-audit-per-layer")]
)
def test_each_model_is_audited_once(folder: AuditFolder, options: tuple[str, ...]) -> None:
    two_models(folder)
    result = folder.run_process(*options)
    assert result.parseoutcomes()["failed"] == 1
    assert result.ret == 1
    assert runs(folder) == ["good.safetensors", "sick.safetensors"]
    assert not list(folder.left.glob("sparsity-audit-*"))


def test_dist_each(folder: AuditFolder) -> None:
    two_models(folder)
    result = folder.run_process("-n", "2", "--dist", "each")
    assert result.parseoutcomes()["failed"] == 2
    assert runs(folder) == ["good.safetensors", "sick.safetensors"]


def test_nothing_decided_by_any_worker_ends_with_5(folder: AuditFolder) -> None:
    folder.good()
    folder.audit("good.safetensors", text='select = ["SA102", "SA103"]')
    folder.pytester.makepyfile(test_own="def test_own():\n    pass\n")
    assert folder.run_process("-n", "2").ret == 5


def test_a_worker_that_dies_in_an_audit_holds_nobody_up(folder: AuditFolder) -> None:
    two_models(folder, "pathlib.Path('died').exists() or (pathlib.Path('died').touch(), os._exit(9))")
    result = folder.run_process("-n", "2")
    assert result.ret == 1
    assert "crashed while running" in result.stdout.str()
    assert len(runs(folder)) == 3  # the one that died, and each once
    assert not list(folder.left.glob("sparsity-audit-*"))


def test_an_interrupted_session_leaves_nothing(folder: AuditFolder) -> None:
    two_models(folder, "import time; time.sleep(30)")
    command = [sys.executable, "-m", "pytest", "-n", "2"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True) as run:
        end = time.monotonic() + 40
        while not (folder.path / "runs.txt").exists() and time.monotonic() < end:
            time.sleep(0.05)
        assert list(folder.left.glob("sparsity-audit-*"))
        os.killpg(run.pid, signal.SIGINT)
        assert run.wait(40) == 2
    assert not list(folder.left.glob("sparsity-audit-*"))
