"""One worker process, seen from the process that started it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence

from pydantic import ValidationError

from sparsity_audit.errors import UsageError
from sparsity_audit.studies.task import EVENTS, Doing, Outcome, RunTask

News = Doing | Outcome | None
"""None: the process has ended."""

# As multiprocessing's spawn does it: the child finds modules where we do.
_BOOT = """
import json, sys
setup = json.loads(sys.argv[1])
sys.path[:] = setup["path"]
from sparsity_audit.studies.worker import main
main(setup["threads"], setup["cores"])
"""


class WorkerProcess:
    """A process that trains the runs it is given, and tells of them through ``put``, in a thread of ours."""

    def __init__(self, cores: Sequence[int], threads: int, put: Callable[[tuple[WorkerProcess, News]], None]) -> None:
        """``cores``: to stay on; empty: all."""
        self.cores = cores
        self.task: RunTask | None = None
        """What it is at."""
        self._put = put
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # it is the process's until epitaph()
        setup = json.dumps({"path": sys.path, "threads": threads, "cores": list(cores)})
        number = str(threads)
        try:
            # In a session of its own: a terminal's Ctrl-C reaches us alone, and we hand it on once, by dismiss().
            self._process = subprocess.Popen(  # noqa: S603  # our own interpreter
                [sys.executable, "-c", _BOOT, setup],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env={**os.environ, "OMP_NUM_THREADS": number, "MKL_NUM_THREADS": number},
                start_new_session=True,
                encoding="utf-8",
            )
        except OSError as failure:
            raise UsageError(f"no further process can be started ({failure.strerror}); use fewer --jobs") from None
        threading.Thread(target=self._listen, daemon=True).start()

    def give(self, task: RunTask) -> None:
        """Let it do a task; one at a time."""
        assert self._process.stdin is not None
        self.task = task
        with contextlib.suppress(OSError):  # it is dead: we shall hear of it
            self._process.stdin.write(f"{task.model_dump_json(by_alias=True)}\n")
            self._process.stdin.flush()

    def dismiss(self) -> None:
        """Let it stop what it is at as soon as that can be resumed, and end."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()

    def kill(self) -> None:
        """End it now."""
        self._process.kill()
        self.epitaph()

    def epitaph(self) -> str:
        """Wait for its end, and return one line on how it came about."""
        code = self._process.wait()
        self.dismiss()
        with self._errors:
            if code < 0:
                return f"its process was killed by {_signal_name(-code)}"
            self._errors.seek(0)
            last = self._errors.read().decode("utf-8", "replace").strip().splitlines()[-1:]
            return ": ".join([f"its process ended with exit code {code}", *last])

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                with contextlib.suppress(ValidationError):  # a line that was cut off by its death
                    self._put((self, EVENTS.validate_json(line)))
        self._put((self, None))


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time one
        return f"signal {number}"
