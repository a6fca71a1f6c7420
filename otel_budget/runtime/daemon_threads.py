"""Daemon threads for calls that may never return: they hold up neither a host nor its exit.

The standard library's pools are joined when the interpreter exits, so a hanging guard would hang
the host.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final, TypeVar

from otel_budget.forks import renew_in_child

Result = TypeVar("Result")

#: Seconds after which an idle thread ends.
_IDLE: Final = 30.0
#: Calls that may wait for a thread: behind a guard that hangs for good, memory stays bounded.
_MAX_WAITING: Final = 10_000


class DaemonThreads:
    """Threads that are started when needed and end when idle.

    Args:
        most: The largest number of threads. Further calls wait for a free one.
    """

    def __init__(self, most: int = 64) -> None:
        self._most = most
        self._closed = False
        self.after_fork()
        renew_in_child(self)

    def after_fork(self) -> None:
        """Start without threads: they stayed with the parent, one perhaps holding the lock."""
        # Reentrant: the garbage collector may close this very object while the lock is held.
        self._wake = threading.Condition(threading.RLock())
        self._jobs: deque[Callable[[], None]] = deque()
        self._threads = 0
        self._idle = 0

    def submit(self, work: Callable[..., Result], *args: Any) -> Future[Result]:
        """Do ``work(*args)`` on one of the threads.

        Raises:
            RuntimeError: No thread can be started (the interpreter is exiting), or too many calls
                wait.
        """
        future: Future[Result] = Future()
        # Running from the start: a waiter that gives up must not cancel it while a thread works.
        future.set_running_or_notify_cancel()

        def job() -> None:
            try:
                future.set_result(work(*args))
            except BaseException as error:
                future.set_exception(error)

        with self._wake:
            if self._threads >= self._most and len(self._jobs) >= _MAX_WAITING:
                raise RuntimeError(f"{len(self._jobs):,} calls wait for a thread already")
            self._jobs.append(job)
            if self._idle >= len(self._jobs):
                self._wake.notify()
            elif self._threads < self._most:
                try:
                    threading.Thread(
                        target=self._serve, name="otel-budget-ask", daemon=True
                    ).start()
                except RuntimeError:
                    self._jobs.remove(job)
                    raise
                self._threads += 1
        return future

    def close(self) -> None:
        """End idle threads now and the others after their work."""
        with self._wake:
            self._closed = True
            self._wake.notify_all()

    def _serve(self) -> None:
        while True:
            with self._wake:
                if not self._jobs and not self._closed:
                    self._idle += 1
                    self._wake.wait(_IDLE)
                    self._idle -= 1
                if not self._jobs:
                    self._threads -= 1
                    return
                job = self._jobs.popleft()
            job()
            del job  # while idle, the thread must not keep alive what the job holds
