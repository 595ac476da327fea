"""The process that trains one run after the other: tasks come as lines on standard input, news go out as lines.

Standard input is also how it learns that it should stop, or that whoever started it is gone, however that came about:
its end means both. The run in hand then stops after its step, with a checkpoint.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import sys
import threading
from collections.abc import Sequence
from typing import IO

from sparsity_audit.studies.task import Doing, Outcome, RunTask


def main(threads: int, cores: Sequence[int]) -> None:
    """Work off the tasks of standard input until it ends.

    Args:
        threads: of torch; ``OMP_NUM_THREADS`` has to be set before Python starts.
        cores: to stay on; empty: all.
    """
    # A shell that starts a program in the background lets it ignore SIGINT, and we would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if cores:
        os.sched_setaffinity(0, cores)
    # What a library prints must not fall between our lines.
    stream = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="replace")
    os.dup2(2, 1)
    tasks: queue.SimpleQueue[RunTask | None] = queue.SimpleQueue()
    with contextlib.suppress(KeyboardInterrupt):
        threading.Thread(target=_listen, args=(sys.stdin, tasks), daemon=True).start()
        import torch

        from sparsity_audit.studies.attempt import attempt

        torch.set_num_threads(threads)
        while (task := tasks.get()) is not None:
            _send(stream, attempt(task, lambda news: _send(stream, news)))
    os._exit(0)  # everything is on disk; torch's own farewell takes longer than a small run


def _listen(lines: IO[str], tasks: queue.SimpleQueue[RunTask | None]) -> None:
    for line in lines:
        tasks.put(RunTask.model_validate_json(line))
    tasks.put(None)
    # To the main thread, as a Ctrl-C: raise_signal() would not wake it from what it waits for.
    main_thread = threading.main_thread().ident
    if hasattr(signal, "pthread_kill") and main_thread is not None:
        signal.pthread_kill(main_thread, signal.SIGINT)
    else:
        signal.raise_signal(signal.SIGINT)


def _send(stream: IO[str], news: Doing | Outcome) -> None:
    with contextlib.suppress(OSError):  # nobody reads any more: standard input has ended too, and that stops us
        print(news.model_dump_json(), file=stream, flush=True)
