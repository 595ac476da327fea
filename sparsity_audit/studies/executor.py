"""Where the runs of a study are trained: behind one small interface, and here in processes of this machine."""

from __future__ import annotations

import os
import queue
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from sparsity_audit.studies.process import News, WorkerProcess
from sparsity_audit.studies.task import Doing, Outcome, RunTask

OnDone = Callable[[RunTask, Outcome], bool]
OnDoing = Callable[[RunTask, Doing], None]
Stop = Callable[[], bool]

_LOOK_SECONDS = 0.2
"""Between two looks at whether to stop."""


class Executor(Protocol):
    """Works off independent, repeatable tasks.

    ``studies.attempt.attempt`` is what a task amounts to, and everything that it leaves lies in the task's folder. So
    another executor (Ray on machines with a common file system, say) only has to call that function and to pass on
    what it tells; retries, resuming and reports stay with whoever calls ``run``.
    """

    def run(self, tasks: Sequence[RunTask], on_done: OnDone, on_doing: OnDoing, stop: Stop) -> None:
        """Attempt every task, and return when nothing is left to do.

        Args:
            on_done: called in this thread with the outcome of each attempt; True: it is to be attempted again, last.
            on_doing: called in this thread while an attempt goes on.
            stop: asked now and then; once True nothing is begun any more, and what goes on is stopped so that it can
                be resumed. Tasks that were not begun have no outcome.
        """


class LocalExecutor:
    """Processes of this machine, each training one run after the other with ``threads`` threads."""

    def __init__(self, jobs: int = 1, threads: int = 1) -> None:
        self.jobs = jobs
        self.threads = threads

    def run(self, tasks: Sequence[RunTask], on_done: OnDone, on_doing: OnDoing, stop: Stop) -> None:
        """As ``Executor.run``; a process that dies is a failed attempt at its own run only.

        Raises:
            UsageError: no further process can be started.
        """
        crew = _Crew(tasks, places(self.jobs, self.threads), self.threads)
        try:
            while crew.busy:
                if stop():
                    crew.stop()
                crew.hire()
                crew.hear(on_done, on_doing)
        finally:  # nobody is left where we leave by an exception, a second Ctrl-C among them
            crew.kill()


class _Crew:
    """The processes of one ``run``, and the tasks that wait for them."""

    def __init__(self, tasks: Sequence[RunTask], cores: Sequence[Sequence[int]], threads: int) -> None:
        self._waiting = deque(tasks)
        self._free = list(cores)
        self._threads = threads
        self._news: queue.SimpleQueue[tuple[WorkerProcess, News]] = queue.SimpleQueue()
        self._workers: list[WorkerProcess] = []
        self._stopping = False

    @property
    def busy(self) -> bool:
        """Whether there is anything left to do, or anybody left to wait for."""
        return bool(self._waiting or self._workers)

    def stop(self) -> None:
        """Begin nothing any more, and let everybody stop after the step that they are at."""
        self._stopping = True
        self._waiting.clear()
        for worker in self._workers:
            worker.dismiss()

    def kill(self) -> None:
        """End all processes at once."""
        for worker in self._workers:
            worker.kill()

    def hire(self) -> None:
        """Start as many processes as there are tasks and places for."""
        while self._waiting and self._free:
            worker = WorkerProcess(self._free.pop(0), self._threads, self._news.put)
            self._workers.append(worker)
            worker.give(self._waiting.popleft())

    def hear(self, on_done: OnDone, on_doing: OnDoing) -> None:
        """Wait a little for news of a worker, and act on it."""
        try:
            worker, news = self._news.get(timeout=_LOOK_SECONDS)
        except queue.Empty:
            return
        if isinstance(news, Doing):
            if worker.task is not None:
                on_doing(worker.task, news)
            return
        if news is None:
            news = self._bury(worker)
        task, worker.task = worker.task, None
        if task is None:
            return
        if on_done(task, news) and not self._stopping:
            self._waiting.append(task)
        # Whatever made a run fail may still be in its process.
        if worker in self._workers and self._waiting and news.status != "failed":
            worker.give(self._waiting.popleft())
        else:
            worker.dismiss()

    def _bury(self, worker: WorkerProcess) -> Outcome:
        self._workers.remove(worker)
        self._free.insert(0, worker.cores)
        return Outcome(status="interrupted" if self._stopping else "failed", message=worker.epitaph())


def places(jobs: int, threads: int) -> list[list[int]]:
    """Return the cores that each job stays on; empty: whichever it gets.

    Jobs that leave cores free are not tied to any: two studies side by side would crowd onto the same ones.
    """
    if not hasattr(os, "sched_getaffinity"):
        return [[] for _ in range(jobs)]
    cores = sorted(os.sched_getaffinity(0))
    if jobs * threads < len(cores):
        return [[] for _ in range(jobs)]
    return [
        sorted({cores[place % len(cores)] for place in range(job * threads, (job + 1) * threads)})
        for job in range(jobs)
    ]
