"""A background event loop for sync callers: started on first use, closed with its owner.

A fork leaves the thread with the parent, and closing the inherited loop would unregister the
parent's own wake-up (both share an epoll instance), so the child drops it without closing it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final, TypeVar

from otel_budget.forks import renew_in_child

# Imported where it is used: only an async guard needs a loop.
if TYPE_CHECKING:
    import asyncio
    from concurrent.futures import Future

Result = TypeVar("Result")

#: Seconds that tasks have to handle their cancellation when the loop is closed.
_FAREWELL: Final = 1.0

#: Loops of a parent process, kept so that no finalizer closes them.
_inherited: list[asyncio.AbstractEventLoop] = []


class BackgroundLoop:
    """One event loop on one daemon thread."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._closed = False
        renew_in_child(self)

    @property
    def is_this_thread(self) -> bool:
        """Whether the caller runs on the loop itself, where waiting for it would deadlock."""
        return self._thread is threading.current_thread()

    def submit(
        self, work: Callable[..., Coroutine[Any, Any, Result]], *args: Any
    ) -> Future[Result]:
        """Run ``work(*args)`` on the loop, with the caller's context.

        Raises:
            RuntimeError: The loop has been closed, or a thread can no longer be started.
        """
        import asyncio

        with self._lock:
            if self._closed:
                raise RuntimeError("its bridge has been closed")
            loop = self._running()
            # Under the lock, so that work submitted before a close is cancelled by it, not lost.
            coroutine = work(*args)
            try:
                return asyncio.run_coroutine_threadsafe(coroutine, loop)
            except RuntimeError:
                coroutine.close()
                raise

    def _running(self) -> asyncio.AbstractEventLoop:
        import asyncio

        if self._loop is None or self._thread is None or not self._thread.is_alive():
            loop = asyncio.new_event_loop()
            thread = threading.Thread(
                target=_serve, args=(loop,), name="otel-budget-loop", daemon=True
            )
            try:
                thread.start()
            except RuntimeError:
                loop.close()
                raise
            self._loop, self._thread = loop, thread
        return self._loop

    def close(self) -> None:
        """Cancel the loop's tasks, end its thread and close it. Later calls do nothing."""
        with self._lock:
            self._closed = True
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
            if loop is None or thread is None:
                return
            try:
                loop.call_soon_threadsafe(loop.stop)
            except RuntimeError:  # it has ended already
                return
        if thread is not threading.current_thread():
            thread.join(2 * _FAREWELL)

    def after_fork(self) -> None:
        """Leave lock, thread and loop to the parent process."""
        self._lock = threading.RLock()
        if self._loop is not None:
            _inherited.append(self._loop)
        self._loop = self._thread = None


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    import asyncio

    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    except SystemExit:  # raised by a task: it ends this thread only, as in any thread
        return
    finally:
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        if tasks:
            loop.run_until_complete(asyncio.wait(tasks, timeout=_FAREWELL))
        loop.run_until_complete(loop.shutdown_asyncgens())
        asyncio.set_event_loop(None)
        loop.close()
