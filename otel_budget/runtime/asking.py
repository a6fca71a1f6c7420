"""Asking a guard on a runtime's behalf: three ways to wait for an inquiry."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Coroutine
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from contextvars import copy_context
from typing import Any

from otel_budget.contract import Allow, Deny, SoftLimit
from otel_budget.contract.dialects import Dialect, UsageDialect, read_decision
from otel_budget.contract.guards import is_async
from otel_budget.runtime.background_loop import BackgroundLoop
from otel_budget.runtime.daemon_threads import DaemonThreads
from otel_budget.runtime.inquiry import (
    AskedGuard,
    Fail,
    Inquiry,
    Question,
    Reply,
    Verdict,
    not_asked,
    raised,
    without_record,
)


class Asker:
    """Asks one guard. What it raises is documented at `BudgetGate`.

    Args:
        guard: Any guard.
        timeout: Seconds that an answer may take.
        fail: What happens if a check raises or is late.
        dialect: How usage is reported to a guard that does not show which dialect it speaks.
        reraises_interrupts: Whether a KeyboardInterrupt or SystemExit of the guard reaches the
            caller; if not, it counts as a failure.
    """

    def __init__(
        self, guard: Any, timeout: float, fail: Fail, dialect: Dialect, *, reraises_interrupts: bool
    ) -> None:
        self.is_async = is_async(guard)
        self.asked_guard = AskedGuard(
            guard,
            _checked_timeout(timeout),
            _checked_fail(fail),
            UsageDialect(guard, dialect),
            reraises_interrupts=reraises_interrupts,
        )
        self._timeout = timeout
        self._threads = DaemonThreads()
        # A host may make a gate per request: its threads end with it, not only once they are idle.
        weakref.finalize(self, self._threads.close).atexit = False
        self._unfinished: set[asyncio.Future[Any]] = set()

    def ask_here(self, question: Question) -> Verdict:
        """Ask a sync guard on this thread: nothing can cut it off, so a late answer is used."""
        with Inquiry(self.asked_guard, question) as inquiry:
            reply = inquiry.run()
            if (reply.seconds or 0.0) > self._timeout:
                self.asked_guard.log(question, f"took longer than {self._timeout:g} s")
                if reply.failure is None and not question.is_record:
                    reply = reply._replace(late=True)
            return inquiry.conclude(reply)

    async def ask_async(self, question: Question) -> Verdict:
        """Ask from a running asyncio loop: an async guard in a task, a sync one on a thread.

        If the caller is cancelled, a check is cancelled with it. A record reports money spent: it
        is waited for until its deadline and then left to finish by itself.
        """
        with Inquiry(self.asked_guard, question) as inquiry:
            future: asyncio.Future[Reply]
            answer: asyncio.Future[Reply] | Future[Reply]
            if self.is_async:
                answer = future = asyncio.get_running_loop().create_task(inquiry.run_async())
            else:
                try:
                    answer = self._run_on_a_thread(inquiry)
                except RuntimeError as error:
                    return inquiry.conclude(not_asked(error))
                future = asyncio.wrap_future(answer)
            try:
                await asyncio.wait({future}, timeout=self._timeout)
            except asyncio.CancelledError:
                self._release_unused(question, answer)
                await self._caller_cancelled(inquiry, future)
                raise
            except GeneratorExit:  # the caller's coroutine is closed, which may not wait
                self._release_unused(question, answer)
                raise
            if not future.done():
                self._leave(question, future)
                verdict = inquiry.conclude(self.asked_guard.late_reply)
                if isinstance(verdict.decision, Deny):  # else the call goes on and is recorded
                    self._release_unused(question, answer)
                return verdict
            if future.cancelled():
                return inquiry.conclude(raised(asyncio.CancelledError()))
            return inquiry.conclude(future.result())

    async def _caller_cancelled(self, inquiry: Inquiry, future: asyncio.Future[Reply]) -> None:
        is_record = inquiry.question.is_record
        try:
            if self.is_async and not is_record:
                future.cancel()
            if self.is_async or is_record:
                await asyncio.wait({future}, timeout=inquiry.remaining)
        finally:
            if not future.done():
                self._leave(inquiry.question, future)
        if is_record and future.done() and not future.cancelled():
            inquiry.conclude(future.result())

    def _leave(self, question: Question, future: asyncio.Future[Reply]) -> None:
        """Stop waiting. A record goes on; so does a sync guard, which nothing can stop."""
        if self.is_async:
            self._unfinished.add(future)  # the loop holds its tasks only weakly
            future.add_done_callback(self._unfinished.discard)
        if not (self.is_async and question.is_record):
            future.cancel()

    # -- calls that end without a record ---------------------------------------------------
    def tell(self, question: Question) -> None:
        """Ask without waiting for the answer, from code that must not wait or has no loop."""
        if not self.is_async:
            try:
                self._threads.submit(copy_context().run, self.ask_here, question)
            except RuntimeError:  # no thread can be started
                self.ask_here(question)
            return
        telling = self._tell(question)
        try:
            task = asyncio.get_running_loop().create_task(telling)
        except RuntimeError:  # no loop runs here
            self._run_without_a_loop(question, telling)
        else:
            self._unfinished.add(task)  # the loop holds its tasks only weakly
            task.add_done_callback(self._unfinished.discard)

    async def _tell(self, question: Question) -> None:
        with Inquiry(self.asked_guard, question) as inquiry:
            inquiry.conclude(await inquiry.run_async())

    def _run_without_a_loop(self, question: Question, telling: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine that needs no loop to its end; one that would wait is given up."""
        try:
            telling.send(None)
        except StopIteration:
            return
        with suppress(RuntimeError):  # a guard that will not be closed
            telling.close()
        self.asked_guard.log(question, "was not told that a call ended, as no event loop runs")

    def _release_unused(
        self, question: Question, answer: asyncio.Future[Reply] | Future[Reply]
    ) -> None:
        """Once a check has let a call proceed that is not made, tell the guard."""
        if not (question.may_reserve and self.asked_guard.can_release):
            return
        release = without_record(question.args[0])

        def answered(done: asyncio.Future[Reply] | Future[Reply]) -> None:
            if done.cancelled() or done.exception() is not None:
                return
            reply = done.result()
            if reply.failure is None and isinstance(read_decision(reply.answer), Allow | SoftLimit):
                self.tell(release)

        answer.add_done_callback(answered)

    def ask_from_any_thread(self, question: Question, loop: BackgroundLoop) -> Verdict:
        """Ask while this thread waits: an async guard on `loop`, a sync one on another thread."""
        with Inquiry(self.asked_guard, question) as inquiry:
            try:
                future = self._run_elsewhere(inquiry, loop)
            except RuntimeError as error:
                return inquiry.conclude(not_asked(error))
            try:
                return inquiry.conclude(future.result(inquiry.remaining))
            except TimeoutError:
                if not question.is_record:
                    future.cancel()
                return inquiry.conclude(self.asked_guard.late_reply)
            except CancelledError as error:  # the loop was closed before the call began
                return inquiry.conclude(not_asked(error))
            except BaseException:  # raised by a signal handler in this thread
                if not question.is_record:
                    future.cancel()
                raise

    def _run_elsewhere(self, inquiry: Inquiry, loop: BackgroundLoop) -> Future[Reply]:
        if not self.is_async:
            return self._run_on_a_thread(inquiry)
        if loop.is_this_thread:
            raise RuntimeError("an async guard must not call itself through its bridge")
        return loop.submit(inquiry.run_async)

    def _run_on_a_thread(self, inquiry: Inquiry) -> Future[Reply]:
        """Call a sync guard on a thread of ours, with the caller's context.

        Raises:
            RuntimeError: No thread can be started.
        """
        return self._threads.submit(copy_context().run, inquiry.run)


def _checked_fail(fail: str) -> Fail:
    if fail not in {"closed", "open"}:
        raise ValueError(f"fail must be 'closed' or 'open', not {fail!r}")
    return fail  # type: ignore[return-value]


def _checked_timeout(timeout: float) -> float:
    if isinstance(timeout, bool) or not isinstance(timeout, int | float):
        raise TypeError(f"timeout must be seconds, not {timeout!r}")
    if not 0 < timeout < float("inf"):
        raise ValueError(f"timeout must be a number of seconds above 0, not {timeout}")
    return timeout
