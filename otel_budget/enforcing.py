"""The runtime's duties at each decision point: ask, refuse, tell of hits, record."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from otel_budget import semconv
from otel_budget.asking import Asker
from otel_budget.contract import (
    Allow,
    BudgetExhausted,
    BudgetThresholdHit,
    Deny,
    SoftLimit,
    TokenUsage,
)
from otel_budget.dialects import Malformed, read_usage
from otel_budget.log_once import log_once
from otel_budget.replies import Fail, Question, Reply, after_llm, verdict
from otel_budget.usage_recording import UsageRecord


class _Appends(Protocol):
    def append(self, hit: BudgetThresholdHit, /) -> object: ...


class _Queues(Protocol):
    def put_nowait(self, item: BudgetThresholdHit, /) -> object: ...


#: Where hits go: a function, a list or deque, or a queue (of `queue` or `asyncio`).
HitSink = Callable[[BudgetThresholdHit], object] | _Appends | _Queues


class Enforcer:
    """Does a runtime's duties with one guard. The sync and async twins differ by how they ask.

    Args:
        asker: Asks the guard.
        on_hit: Where hits go.
        fail: What a failing check comes to.
    """

    def __init__(self, asker: Asker, on_hit: HitSink | None, fail: Fail) -> None:
        self._asker = asker
        self._deliver = _sink(on_hit)
        self._fail: Fail = fail

    async def check(self, question: Question) -> Allow | SoftLimit:
        """Ask, tell of a hit, refuse.

        Raises:
            BudgetExhausted: The guard refuses.
        """
        return self._act(question, await self._asker.ask_async(question))

    def check_sync(self, question: Question) -> Allow | SoftLimit:
        """The same for sync loops and guards."""
        return self._act(question, self._ask_sync(question))

    def _ask_sync(self, question: Question) -> Reply:
        if self._asker.is_async:
            raise TypeError(
                f"{type(self._asker.guard).__name__} is an async guard: "
                "use `async with`, or the methods without _sync"
            )
        return self._asker.ask(question)

    def _act(self, question: Question, reply: Reply) -> Allow | SoftLimit:
        """Do what the contract says of `reply`."""
        _pass_on_what_is_no_failure(reply)
        if reply.failure is not None:
            self._asker.say_failed(question, reply)
        result = verdict(reply, self._fail)
        decision = result.decision
        if isinstance(decision, Allow):
            return decision
        if result.unreported:
            self._asker.report(question, decision)
        self._deliver(BudgetThresholdHit.of(decision))
        if isinstance(decision, Deny):
            raise BudgetExhausted(decision.resource, decision.reason) from reply.error
        return decision

    # -- recording -------------------------------------------------------------------------
    async def record(self, session_id: str, usage: TokenUsage | Mapping[str, Any]) -> None:
        """Tell the guard a usage. A guard that fails at it is logged."""
        question = self._record_of(session_id, usage)
        self._recorded(question, await self._asker.ask_async(question))

    def record_sync(self, session_id: str, usage: TokenUsage | Mapping[str, Any]) -> None:
        """The same for sync loops and guards."""
        question = self._record_of(session_id, usage)
        self._recorded(question, self._ask_sync(question))

    def _record_of(self, session_id: str, usage: TokenUsage | Mapping[str, Any]) -> Question:
        return after_llm(session_id, self._asker.usage_for_guard(usage_of(usage)))

    def _recorded(self, question: Question, reply: Reply) -> None:
        # The model has answered already: there is nothing left to refuse.
        _pass_on_what_is_no_failure(reply)
        if reply.failure is not None:
            self._asker.say_failed(question, reply)

    def missing(self, session_id: str, reason: str) -> None:
        """Make it visible that a model call has no usage to record."""
        log_once(logging.WARNING, _MISSING[reason])
        recorder = self._asker.recorder
        if recorder is not None:
            record = after_llm(session_id, None).call(recorder)
            if isinstance(record, UsageRecord):
                record.missing(reason)


_MISSING: Final = {
    semconv.NOT_REPORTED: "A model call behind a BudgetGate ended without call.usage(…): what it "
    "used is recorded nowhere.",
    semconv.ABANDONED: "The stream of a model call behind a BudgetGate was abandoned: what it used "
    "is recorded nowhere.",
    semconv.DISCARDED: "A model call behind a BudgetGate failed after call.usage(…), so its usage "
    "is recorded nowhere: keep what may fail out of the block.",
}


# -- helpers -------------------------------------------------------------------------------
def usage_of(usage: Any) -> TokenUsage:
    """`usage`, of either dialect, as the contract's type.

    Raises:
        ValueError: It cannot be read.
    """
    read = read_usage(usage)
    if isinstance(read, Malformed):
        raise ValueError(f"usage must be a TokenUsage: this is {read.why}")
    return read


def _pass_on_what_is_no_failure(reply: Reply) -> None:
    """KeyboardInterrupt and SystemExit are for the host, not for the budget."""
    if isinstance(reply.error, KeyboardInterrupt | SystemExit):
        raise reply.error


def _sink(on_hit: Any) -> Callable[[BudgetThresholdHit], None]:
    if on_hit is None:
        return lambda _: None
    names = ("put_nowait", "append", "__call__")
    methods = (getattr(on_hit, name, None) for name in names)
    deliver = next((method for method in methods if callable(method)), None)
    if deliver is None:
        raise TypeError(f"on_hit must be a function, a list or a queue, not {on_hit!r}")
    if inspect.iscoroutinefunction(on_hit) or inspect.iscoroutinefunction(deliver):
        raise TypeError("on_hit must not be async: give it an asyncio.Queue and read that")

    def shielded(hit: BudgetThresholdHit) -> None:
        try:
            deliver(hit)
        except Exception as error:
            log_once(
                logging.ERROR, f"on_hit raised {type(error).__name__}: a hit was not told.", error
            )

    return shielded
