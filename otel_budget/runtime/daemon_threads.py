"""Daemon threads for calls that may never return: they hold up neither a host nor its exit.

The standard library's pools are joined when the interpreter exits, so a hanging guard would hang
the host.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Final

from otel_budget.forks import renew_in_child

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
        self._lock = threading.RLock()
        #: None wakes a thread that may be idle. Not a condition: a wake-up is a call in C.
        self._jobs: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._threads = 0
        #: Jobs that wait or are being done: with as many threads, none waits behind another.
        self._unfinished = 0

    def start(self, job: Callable[[], object]) -> None:
        """Do ``job()`` on one of the threads. What it returns or raises is lost.

        Raises:
            RuntimeError: No thread can be started (the interpreter is exiting), or too many calls
                wait.
        """
        with self._lock:
            if self._threads >= self._most and self._jobs.qsize() >= _MAX_WAITING:
                raise RuntimeError(f"{self._jobs.qsize():,} calls wait for a thread already")
            # First: a signal handler that comes between and starts a job finds this one counted.
            self._unfinished += 1
            if self._unfinished > self._threads and self._threads < self._most:
                try:
                    threading.Thread(
                        target=self._serve, name="otel-budget-ask", daemon=True
                    ).start()
                except BaseException:
                    self._unfinished -= 1
                    raise
                self._threads += 1
            self._jobs.put(job)

    def close(self) -> None:
        """End idle threads now and the others after their work."""
        with self._lock:
            self._closed = True
            for _ in range(self._threads):
                self._jobs.put(None)

    def _serve(self) -> None:
        while True:
            try:
                job = self._jobs.get(timeout=0 if self._closed else _IDLE)
            except Empty:
                with self._lock:
                    if self._jobs.empty():
                        self._threads -= 1
                        return
                continue
            if job is None:
                continue
            with suppress(BaseException):
                job()
            del job  # while idle, the thread must not keep alive what the job holds
            with self._lock:
                self._unfinished -= 1
