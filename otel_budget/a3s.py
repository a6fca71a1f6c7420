"""`for_a3s`: any guard as what the a3s-code Python SDK expects."""

from __future__ import annotations

import weakref
from concurrent.futures import CancelledError, Future
from types import TracebackType
from typing import Any, Final, Self

from otel_budget.asking import Asker
from otel_budget.background_loop import BackgroundLoop
from otel_budget.contract import Allow
from otel_budget.dialects import print_decision
from otel_budget.interpretation import RUNTIME_DEADLINE
from otel_budget.patience import Patience, patience
from otel_budget.replies import (
    Fail,
    Question,
    Reply,
    after_llm,
    before_llm,
    before_tool,
    checked_fail,
    checked_timeout,
    verdict,
)

#: Half a second below the runtime's own deadline: what is left for its threads to take turns.
_TIMEOUT: Final = RUNTIME_DEADLINE - 0.5


class A3SGuard:
    """A guard in the dialect of the a3s-code Python SDK; made by `for_a3s`.

    Its methods may be called from any thread, several at once. They answer dicts, never raise, and
    never take much longer than the timeout. As a context manager it closes itself.
    """

    def __init__(self, guard: Any, timeout: float, fail: Fail) -> None:
        self._asker = Asker(guard, timeout, "dict")
        self._fail: Fail = fail
        self._loop = BackgroundLoop()
        # When nobody has the guard any longer, and when the interpreter exits.
        self._finalizer = weakref.finalize(self, self._loop.close)

    def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> dict[str, Any]:
        """May this session call the model with about so many prompt tokens?"""
        return self._check(before_llm(session_id, estimated_prompt_tokens))

    def check_before_tool(self, session_id: str, tool_name: str) -> dict[str, Any]:
        """May this session call this tool?"""
        return self._check(before_tool(session_id, tool_name))

    def record_after_llm(self, session_id: str, usage: dict[str, Any]) -> None:
        """A model call of this session succeeded and used this much. A failing guard is logged."""
        question = after_llm(session_id, self._asker.usage_for_guard(usage))
        reply = self._ask(question)
        if reply.failure is not None:
            self._asker.say_failed(question, reply)

    def close(self) -> None:
        """End the background loop; calls under way and later ones are answered as failures."""
        self._finalizer.detach()
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        stack: TracebackType | None,
    ) -> None:
        self.close()

    def __getattr__(self, attribute: str) -> Any:
        # Only what is not found otherwise; private names would recurse before __init__ has run.
        if attribute.startswith("_"):
            raise AttributeError(attribute)
        return getattr(self._asker.guard, attribute)

    def __repr__(self) -> str:
        return f"for_a3s({self._asker.guard!r})"

    # -- asking ----------------------------------------------------------------------------
    def _check(self, question: Question) -> dict[str, Any]:
        reply = self._ask(question)
        if reply.failure is not None:
            self._asker.say_failed(question, reply)
        result = verdict(reply, self._fail)
        decision = result.decision
        if result.unreported and not isinstance(decision, Allow):
            self._asker.report(question, decision)
        return print_decision(decision)

    def _ask(self, question: Question) -> Reply:
        """Ask, and wait no longer than the timeout."""
        asker = self._asker
        with patience(asker.timeout) as patient:
            try:
                asked = self._start(question, patient)
            except RuntimeError as error:
                return asker.give_up(question, patient, error)
            try:
                return asked.result(asker.timeout)
            except TimeoutError:
                reply = asker.give_up(question, patient)
            except CancelledError as error:  # the loop was closed before it began
                return asker.give_up(question, patient, error)
            except BaseException as error:  # a signal handler has raised in this thread
                asker.give_up(question, patient, error)
                asked.cancel()
                raise
            asked.cancel()
            return reply

    def _start(self, question: Question, patient: Patience) -> Future[Reply]:
        asker = self._asker
        if not asker.is_async:
            return asker.call_on_a_thread(question, patient)
        if self._loop.is_this_thread:
            raise RuntimeError("an async guard must not call itself through its bridge")
        return self._loop.submit(asker.acall, question, patient)


def for_a3s(guard: Any, *, timeout: float = _TIMEOUT, fail: Fail = "closed") -> A3SGuard:
    """Make any guard the object that a3s-code's Python SDK expects.

    ::

        session.set_budget_guard(for_a3s(instrument(guard)))

    An async guard runs on one event loop on a thread of its own, started with the first call; a
    sync one on daemon threads. Both have the caller's context. Where the guard gives no readable
    answer in time, the bridge answers in its stead, on the resource ``guard_unavailable``.

    Args:
        guard: Sync or async, typed or dict, instrumented or not. Instrument the guard, not the
            bridge, to see a late or failing guard as such.
        timeout: Seconds a call may take, below the runtime's own deadline (5 s unless you set it).
        fail: What a check that raises or is late comes to: ``closed`` refuses, as the runtime does;
            ``open`` proceeds as a soft limit.

    Raises:
        TypeError: `guard` is none, or mixes sync and async methods; `timeout` is no number.
        ValueError: `timeout` or `fail` has a value it cannot have.
    """
    return A3SGuard(guard, checked_timeout(timeout), checked_fail(fail))
