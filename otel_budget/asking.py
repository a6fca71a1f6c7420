"""Asking a guard on a runtime's behalf: with a deadline, and with its failures as values.

The three ways to ask (`Asker.ask`, `Asker.ask_async`, and the bridge's) differ in how they wait;
what they ask and what they make of the reply is the same.
"""

from __future__ import annotations

import asyncio
import logging
import time
import weakref
from collections.abc import Mapping
from concurrent.futures import Future
from contextvars import copy_context
from typing import Any, Final, Literal

from otel_budget.check_recording import CheckCall
from otel_budget.contract import (
    BudgetGuard,
    Deny,
    SoftLimit,
    SyncBudgetGuard,
    TokenUsage,
)
from otel_budget.dialects import Malformed, is_typed, print_usage, read_usage
from otel_budget.guard import is_async, recorder_of
from otel_budget.log_once import log_once
from otel_budget.patience import Patience, patience
from otel_budget.recorder import GuardSettings
from otel_budget.replies import Question, Reply, raised
from otel_budget.usage_recording import UsageRecord
from otel_budget.workers import Workers

Dialect = Literal["typed", "dict"]


# -- asking --------------------------------------------------------------------------------
class Asker:
    """Asks one guard.

    Args:
        guard: Any guard.
        timeout: Seconds that an answer may take.
        dialect: How usage is told to a guard that shows nowhere which dialect it speaks.

    Raises:
        TypeError: `guard` is none, or mixes sync and async methods.
    """

    def __init__(self, guard: Any, timeout: float, dialect: Dialect) -> None:
        self.guard = guard
        self.is_async = is_async(guard)
        self.timeout = timeout
        self._name = guard.__class__.__name__
        self.late = Reply(failure=f"the budget guard gave no answer within {timeout:g} s")
        self._dialect = dialect
        self._declared = _declared_dialect(guard)
        self._workers = Workers()
        # A host may make a gate for each request: its threads end with it, not when they are idle.
        weakref.finalize(self, self._workers.close).atexit = False
        self._given_up: set[asyncio.Future[Reply]] = set()

    @property
    def recorder(self) -> GuardSettings | None:
        """The guard's recorder, if it is instrumented."""
        return recorder_of(self.guard)

    # -- the three ways to wait ------------------------------------------------------------
    def ask(self, question: Question) -> Reply:
        """Ask a sync guard on this thread: nothing can cut it off, so lateness is only reported."""
        with patience(self.timeout) as patient:
            start = time.perf_counter()
            reply = self.call(question, patient)
            if time.perf_counter() - start > self.timeout:
                log_once(
                    logging.WARNING,
                    f"{self._name}.{question.method}: took longer than {self.timeout:g} s.",
                )
            return reply

    async def ask_async(self, question: Question) -> Reply:
        """Ask from a running asyncio loop: an async guard in a task, a sync one on a thread.

        If the caller is cancelled meanwhile, a check is cancelled with it; a record, which tells of
        money that is spent, is given the rest of its time.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.timeout
        with patience(self.timeout) as patient:
            asked: asyncio.Future[Reply]
            if self.is_async:
                asked = loop.create_task(self.acall(question, patient))
            else:
                try:
                    asked = asyncio.wrap_future(self.call_on_a_thread(question, patient))
                except RuntimeError as error:
                    return self.give_up(question, patient, error)
            try:
                await asyncio.wait({asked}, timeout=self.timeout)
            except asyncio.CancelledError as cancelled:
                await self._cancelled(question, patient, asked, deadline, cancelled)
                raise
            if asked.done():
                return raised(asyncio.CancelledError()) if asked.cancelled() else asked.result()
            reply = self.give_up(question, patient)
            self._abandon(asked)
            return reply

    async def _cancelled(
        self,
        question: Question,
        patient: Patience,
        asked: asyncio.Future[Reply],
        deadline: float,
        cancelled: asyncio.CancelledError,
    ) -> None:
        """The caller has been cancelled while it waited for `asked`."""
        is_record = issubclass(question.recorded_as, UsageRecord)
        try:
            if self.is_async and not is_record:
                asked.cancel()
            if self.is_async or is_record:
                rest = max(0.0, deadline - asyncio.get_running_loop().time())
                await asyncio.wait({asked}, timeout=rest)
        finally:
            if not asked.done():
                self.give_up(question, patient, cancelled)
                self._abandon(asked)
            elif asked.cancelled():  # before it had begun
                self.give_up(question, patient, cancelled)

    def _abandon(self, asked: asyncio.Future[Reply]) -> None:
        self._given_up.add(asked)  # the loop itself holds its tasks weakly
        asked.add_done_callback(self._given_up.discard)
        asked.cancel()

    def give_up(
        self, question: Question, patient: Patience, error: BaseException | None = None
    ) -> Reply:
        """Wait no longer, and see that an instrumented guard's call is counted once.

        Args:
            question: What was asked.
            patient: What the call shares with its caller, whose context this is.
            error: Why, if not because of the deadline.
        """
        had_begun = patient.give_up(error)
        recorder = self.recorder
        if not had_begun and recorder is not None:
            # No thread or loop was free to ask it: opened now, the call is closed at once.
            with question.call(recorder):
                pass
        if error is None:
            return self.late
        return Reply(failure=f"the budget guard could not be asked: {error}", error=error)

    # -- calling it ------------------------------------------------------------------------
    def call(self, question: Question, patient: Patience) -> Reply:
        """Call a sync guard."""
        if not patient.start():
            return self.late
        try:
            method = getattr(self.guard, question.method, None)
            answer = None if method is None else method(*question.args)
        except BaseException as error:
            return raised(error)
        return self._replied(question, answer, method, patient)

    async def acall(self, question: Question, patient: Patience) -> Reply:
        """Call an async guard."""
        if not patient.start():
            return self.late
        try:
            method = getattr(self.guard, question.method, None)
            answer = None if method is None else await method(*question.args)
        except BaseException as error:
            return raised(error)
        return self._replied(question, answer, method, patient)

    def call_on_a_thread(self, question: Question, patient: Patience) -> Future[Reply]:
        """Call a sync guard on a thread of ours, with the caller's context.

        Raises:
            RuntimeError: No thread can be started.
        """
        return self._workers.submit(copy_context().run, self.call, question, patient)

    def _replied(self, question: Question, answer: Any, method: Any, patient: Patience) -> Reply:
        if method is not None and issubclass(question.recorded_as, CheckCall):
            self._dialect = "typed" if is_typed(answer) else "dict"
        return Reply(answer=answer, was_late=patient.was_late)

    # -- usage -----------------------------------------------------------------------------
    def usage_for_guard(self, usage: Any) -> Any:
        """`usage` in the dialect of the guard: as it declares, else as it has answered."""
        if (self._declared or self._dialect) == "dict":
            return print_usage(usage) if isinstance(usage, TokenUsage) else usage
        read = read_usage(usage) if isinstance(usage, Mapping) else usage
        return usage if isinstance(read, Malformed) else read

    # -- saying so -------------------------------------------------------------------------
    def report(self, question: Question, decision: SoftLimit | Deny) -> None:
        """Report a hit that the guard's own telemetry does not have."""
        recorder = self.recorder
        if recorder is not None:
            call = question.call(recorder)
            if isinstance(call, CheckCall):
                call.stand_in(decision)

    def say_failed(self, question: Question, reply: Reply) -> None:
        """Log, once a kind, that the guard has failed."""
        log_once(
            logging.WARNING,
            f"{self._name}.{question.method}: {reply.failure}.",
            reply.error,
        )


_RECORD: Final = "record_after_llm"


def _declared_dialect(guard: Any) -> Dialect | None:
    """The dialect that the guard's base class or its annotation of ``usage`` declares."""
    if isinstance(guard, BudgetGuard | SyncBudgetGuard):
        return "typed"
    # From the class: the method of an instrumented guard takes anything.
    method = getattr(guard.__class__, _RECORD, None)
    annotations = dict(getattr(method, "__annotations__", {}))
    annotations.pop("return", None)
    declared = " ".join(str(annotation) for annotation in annotations.values())
    if TokenUsage.__name__ in declared:
        return "typed"
    return "dict" if any(word in declared for word in ("dict", "Mapping", "Dict")) else None
