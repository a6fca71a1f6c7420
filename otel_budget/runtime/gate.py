"""`BudgetGate`: the runtime's half of the contract, for agent loops without a runtime."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

from otel_budget import semconv
from otel_budget.contract import (
    Allow,
    BudgetExhausted,
    BudgetThresholdHit,
    Deny,
    Proceeds,
    TokenUsage,
)
from otel_budget.contract.dialects import usage_of
from otel_budget.log_once import log_once
from otel_budget.runtime.asking import Asker
from otel_budget.runtime.gated_calls import LlmCall, ToolCall
from otel_budget.runtime.hits import HitSink, hit_sink
from otel_budget.runtime.inquiry import Fail
from otel_budget.runtime.joining import JoinedBody, join_body
from otel_budget.runtime.questions import (
    Question,
    Verdict,
    after_llm,
    before_llm,
    before_tool,
    without_record,
)
from otel_budget.telemetry.traced_call import tracing_is_set_up

_WITHOUT_USAGE: Final = {
    semconv.NOT_REPORTED: "A model call behind a BudgetGate ended without call.usage(…), or with "
    "usage=None: its usage is not recorded.",
    semconv.ABANDONED: "The stream of a model call behind a BudgetGate was abandoned: its usage is "
    "not recorded.",
    semconv.DISCARDED: "A model call behind a BudgetGate failed after call.usage(…), so its usage "
    "is not recorded: move code that may fail out of the block.",
}


class BudgetGate:
    """Puts any guard in front of any loop: asks it, refuses, reports hits, records usage.

    ::

        gate = BudgetGate(guard, on_hit=print)
        async with gate.llm_call("session-1", 1_200) as call:  # raises BudgetExhausted
            response = await client.chat.completions.create(...)
            call.usage(response.usage)

    Under ``with``, a sync guard is asked on the calling thread; under ``async with`` (asyncio), on
    one of the gate's threads, with the caller's context. An async guard needs ``async with``. Loops
    that cannot use a context manager call `check_llm`, `record_llm` and `check_tool`, or their sync
    twins; they must then see to it themselves that each successful call is recorded once, and that
    `release_llm` tells of each other one that was allowed, if the guard reserves.

    Args:
        guard: Any guard: sync or async, typed or dict, instrumented or not.
        on_hit: Where each `BudgetThresholdHit` goes, before a refusal is raised: a function, a list
            or a queue. If it raises, that is logged.
        timeout: Seconds the guard may take. A late answer counts as a failure, except under
            ``with``, where nothing can cut the guard off: there it is used and reported as late.
        fail: What happens if a check raises or is late: ``closed`` refuses with the resource
            ``guard_unavailable``, ``open`` proceeds as a soft limit on it. An unreadable answer is
            a denial either way; a record that fails is logged.
        join: Whether the bodies of `llm_call` and `tool_call` join the trace of their session, so
            that the model's own spans stand between check and record: if `guard` is instrumented
            with the global tracer provider and no span is active, the session's root is the current
            span in the body. The root's sampling decision is then the model spans': turn it off
            where a sampler chooses root spans by name. Of streams that one task consumes in turn,
            spans made between chunks can stand in the other's trace.

    Raises:
        TypeError: `guard` is not a budget guard, or mixes sync and async methods; `on_hit` is async
            or cannot take hits; `timeout` is not a number.
        ValueError: `timeout` is not above 0 and finite, or `fail` is neither of the two.
    """

    def __init__(
        self,
        guard: Any,
        on_hit: HitSink | None = None,
        *,
        timeout: float = 5.0,
        fail: Fail = "closed",
        join: bool = True,
    ) -> None:
        self._asker = Asker(guard, timeout, fail, "typed", reraises_interrupts=True)
        self._joined = self._asker.asked_guard.settings if join else None
        tracing_is_set_up()  # looks; a body does not
        self._deliver = hit_sink(on_hit)

    # -- context managers ------------------------------------------------------------------
    def llm_call(
        self,
        session_id: str,
        estimated_prompt_tokens: int,
        *,
        model: str | None = None,
        provider: str | None = None,
    ) -> LlmCall:
        """A model call: checked on entry, its usage recorded on exit if the body succeeded.

        Args:
            session_id: The session that makes it.
            estimated_prompt_tokens: About how many tokens will be sent.
            model: The model's name, as in `call_info`.
            provider: The model's provider, as in `call_info`.
        """
        question = before_llm(session_id, estimated_prompt_tokens)
        return LlmCall(self, session_id, question, model, provider)

    def tool_call(self, session_id: str, tool_name: str) -> ToolCall:
        """A tool call: checked on entry."""
        return ToolCall(self, session_id, before_tool(session_id, tool_name))

    # -- plain methods ---------------------------------------------------------------------
    async def check_llm(self, session_id: str, estimated_prompt_tokens: int) -> Proceeds:
        """Ask before a model call; name the model with `call_info`.

        Raises:
            BudgetExhausted: The guard refuses.
        """
        return await self._check(before_llm(session_id, estimated_prompt_tokens))

    async def check_tool(self, session_id: str, tool_name: str) -> Proceeds:
        """Ask before a tool call.

        Raises:
            BudgetExhausted: The guard refuses.
        """
        return await self._check(before_tool(session_id, tool_name))

    async def record_llm(self, session_id: str, usage: TokenUsage | Mapping[str, Any]) -> None:
        """Report the usage of one successful model call. If the guard fails, that is logged.

        Raises:
            ValueError: `usage` cannot be read.
        """
        await self._record(session_id, usage_of(usage))

    async def release_llm(self, session_id: str) -> None:
        """Report that a model call that was allowed ended without a usage to record.

        A guard that reserves (it has a method `release_llm`) then ends a reservation of the
        session; for any other guard nothing is done. If the guard fails, that is logged.
        """
        if self._asker.asked_guard.can_release:
            await self._asker.ask_async(without_record(session_id))

    def check_llm_sync(self, session_id: str, estimated_prompt_tokens: int) -> Proceeds:
        """`check_llm` for sync loops and guards."""
        return self._check_sync(before_llm(session_id, estimated_prompt_tokens))

    def check_tool_sync(self, session_id: str, tool_name: str) -> Proceeds:
        """`check_tool` for sync loops and guards."""
        return self._check_sync(before_tool(session_id, tool_name))

    def record_llm_sync(self, session_id: str, usage: TokenUsage | Mapping[str, Any]) -> None:
        """`record_llm` for sync loops and guards."""
        self._record_sync(session_id, usage_of(usage))

    def release_llm_sync(self, session_id: str) -> None:
        """`release_llm` for sync loops and guards."""
        if self._asker.asked_guard.can_release:
            self._ask_here(without_record(session_id))

    # -- acting on the guard's answer ------------------------------------------------------
    async def _check(self, question: Question) -> Proceeds:
        return self._act(await self._asker.ask_async(question))

    def _check_sync(self, question: Question) -> Proceeds:
        return self._act(self._ask_here(question))

    def _ask_here(self, question: Question) -> Verdict:
        if self._asker.is_async:
            raise TypeError(
                f"{self._asker.asked_guard.name} is an async guard: "
                "use `async with`, or the methods without _sync"
            )
        return self._asker.ask_here(question)

    def _act(self, verdict: Verdict) -> Proceeds:
        """Proceed or refuse; deliver a hit first."""
        decision = verdict.decision
        if isinstance(decision, Allow):
            return decision
        self._deliver(BudgetThresholdHit.of(decision))
        if isinstance(decision, Deny):
            raise BudgetExhausted(decision.resource, decision.reason, decision) from verdict.error
        return decision

    async def _record(self, session_id: str, usage: TokenUsage) -> None:
        """`record_llm` of a usage that has been read."""
        dialect = self._asker.asked_guard.dialect
        await self._asker.ask_async(after_llm(session_id, dialect.usage(usage)))

    def _record_sync(self, session_id: str, usage: TokenUsage) -> None:
        """`record_llm_sync` of a usage that has been read."""
        self._ask_here(after_llm(session_id, self._asker.asked_guard.dialect.usage(usage)))

    def _release_soon(self, session_id: str) -> None:
        """`release_llm` for a caller that is being ended and must not wait."""
        if self._asker.asked_guard.can_release:
            self._asker.tell(without_record(session_id))

    def _call_without_usage(self, session_id: str, reason: str) -> None:
        """Log and count a model call that ended without usage to record."""
        log_once(logging.WARNING, _WITHOUT_USAGE[reason])
        self._asker.asked_guard.call_without_usage(session_id, reason)

    def _join(self, session_id: str) -> JoinedBody | None:
        return None if self._joined is None else join_body(self._joined, session_id)
