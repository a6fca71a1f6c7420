"""Asking a guard on a runtime's behalf: three ways to wait for an inquiry."""

from __future__ import annotations

import weakref
from collections.abc import Coroutine
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from otel_budget.contract import Allow, Deny, SoftLimit
from otel_budget.contract.dialects import Dialect, UsageDialect, read_decision
from otel_budget.contract.guards import is_async
from otel_budget.runtime.background_loop import BackgroundLoop
from otel_budget.runtime.daemon_threads import DaemonThreads
from otel_budget.runtime.inquiry import AskedGuard, Fail, Inquiry
from otel_budget.runtime.questions import (
    Question,
    Reply,
    Verdict,
    not_asked,
    raised,
    without_record,
)

# Imported where it is used: a sync host needs none of it.
if TYPE_CHECKING:
    import asyncio
    from concurrent.futures import Future


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
        if self.is_async:
            import asyncio  # noqa: F401 - now, and not in the first call
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
                if reply.failure is None and not question.kind.is_record:
                    reply = reply._replace(late=True)
            return inquiry.conclude(reply)

    async def ask_async(self, question: Question) -> Verdict:
        """Ask from a running asyncio loop: an async guard in a task, a sync one on a thread.

        If the caller is cancelled, a check is cancelled with it. A record reports money spent: it
        is waited for until its deadline and then left to finish by itself.
        """
        import asyncio

        with Inquiry(self.asked_guard, question) as inquiry:
            loop = asyncio.get_running_loop()
            over: asyncio.Future[None] = loop.create_future()  # the waiting, whatever ends it
            task: asyncio.Task[Reply] | None = None
            if self.is_async:
                inquiry.pass_reply_to(partial(_end, over))
                task = loop.create_task(inquiry.run_async())
                task.add_done_callback(partial(_end, over))  # even if it never began
            else:
                # Raises if the loop is closed by then: nobody waits, and the thread survives it.
                inquiry.pass_reply_to(partial(loop.call_soon_threadsafe, _end, over))
                try:
                    self._run_on_a_thread(inquiry)
                except RuntimeError as error:
                    return inquiry.conclude(not_asked(error))
            timer = loop.call_later(self._timeout, _end, over)
            try:
                await over
            except asyncio.CancelledError:
                await self._caller_cancelled(loop, inquiry, task)
                raise
            except GeneratorExit:  # the caller's coroutine is closed, which may not wait
                self._release_unused(inquiry)
                raise
            finally:
                timer.cancel()
            if inquiry.reply is not None:
                return inquiry.conclude(inquiry.reply)
            if task is not None and task.cancelled():
                return inquiry.conclude(raised(asyncio.CancelledError()))
            self._leave(question, task)
            verdict = inquiry.conclude(self.asked_guard.late_reply)
            if isinstance(verdict.decision, Deny):  # else the call goes on and is recorded
                self._release_unused(inquiry)
            return verdict

    async def _caller_cancelled(
        self,
        loop: asyncio.AbstractEventLoop,
        inquiry: Inquiry,
        task: asyncio.Task[Reply] | None,
    ) -> None:
        import asyncio

        is_record = inquiry.question.kind.is_record
        if not is_record:
            self._release_unused(inquiry)
            if task is None:
                return
            task.cancel()
        over: asyncio.Future[Any]
        if task is None:
            over = loop.create_future()
            inquiry.pass_reply_to(partial(loop.call_soon_threadsafe, _end, over))
        else:
            over = task
        try:
            await asyncio.wait({over}, timeout=inquiry.remaining)
        finally:
            if not over.done():
                self._leave(inquiry.question, task)
        if is_record and inquiry.reply is not None:
            inquiry.conclude(inquiry.reply)

    def _leave(self, question: Question, task: asyncio.Task[Reply] | None) -> None:
        """Stop waiting. A record goes on; so does a sync guard, which nothing can stop."""
        if task is not None:
            self._keep(task)
            if not question.kind.is_record:
                task.cancel()

    def _keep(self, task: asyncio.Task[Any]) -> None:
        """Hold a task that nobody waits for: the loop does so only weakly."""
        self._unfinished.add(task)
        task.add_done_callback(self._unfinished.discard)

    # -- calls that end without a record ---------------------------------------------------
    def tell(self, question: Question) -> None:
        """Ask without waiting for the answer, from code that must not wait or has no loop."""
        if not self.is_async:
            try:
                self._threads.start(partial(copy_context().run, self.ask_here, question))
            except RuntimeError:  # no thread can be started
                self.ask_here(question)
            return
        import asyncio

        telling = self._tell(question)
        try:
            task = asyncio.get_running_loop().create_task(telling)
        except RuntimeError:  # no loop runs here
            self._run_without_a_loop(question, telling)
        else:
            self._keep(task)

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

    def _release_unused(self, inquiry: Inquiry) -> None:
        """Once a check has let a call proceed that is not made, tell the guard."""
        question = inquiry.question
        if not (question.kind.may_reserve and self.asked_guard.can_release):
            return
        release = without_record(question.args[0])

        def replied(reply: Reply) -> None:
            if reply.failure is None and isinstance(read_decision(reply.answer), Allow | SoftLimit):
                self.tell(release)

        inquiry.pass_reply_to(replied)

    def ask_from_any_thread(self, question: Question, loop: BackgroundLoop) -> Verdict:
        """Ask while this thread waits: an async guard on `loop`, a sync one on another thread."""
        with Inquiry(self.asked_guard, question) as inquiry:
            replies: SimpleQueue[Reply] = SimpleQueue()
            inquiry.pass_reply_to(replies.put)
            future: Future[Reply] | None = None
            try:
                if self.is_async:
                    future = self._run_on_the_loop(loop, inquiry, replies)
                else:
                    self._run_on_a_thread(inquiry)
            except RuntimeError as error:
                return inquiry.conclude(not_asked(error))
            try:
                reply = replies.get(timeout=inquiry.remaining)
            except BaseException as error:  # Empty, or raised by a signal handler in this thread
                if future is not None and not question.kind.is_record:
                    future.cancel()
                if not isinstance(error, Empty):
                    raise
                reply = self.asked_guard.late_reply
            return inquiry.conclude(reply)

    def _run_on_the_loop(
        self, loop: BackgroundLoop, inquiry: Inquiry, replies: SimpleQueue[Reply]
    ) -> Future[Reply]:
        """Call an async guard on `loop`, with the caller's context.

        Raises:
            RuntimeError: The loop takes no work, or it is the caller's own.
        """
        from concurrent.futures import CancelledError

        if loop.is_this_thread:
            raise RuntimeError("an async guard must not call itself through its bridge")
        future = loop.submit(inquiry.run_async)

        def done(future: Future[Reply]) -> None:
            if future.cancelled():  # the loop was closed before the call began
                replies.put(not_asked(CancelledError()))

        future.add_done_callback(done)
        return future

    def _run_on_a_thread(self, inquiry: Inquiry) -> None:
        """Call a sync guard on a thread of ours, with the caller's context.

        Raises:
            RuntimeError: No thread can be started.
        """
        self._threads.start(partial(copy_context().run, inquiry.run))


def _end(over: asyncio.Future[None], _: object = None) -> None:
    """End the waiting for `over`."""
    if not over.done():
        over.set_result(None)


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
