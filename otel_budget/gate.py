"""`BudgetGate`: the runtime's half of the contract, for agent loops that have no runtime."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from otel_budget.asking import Asker
from otel_budget.contract import Allow, SoftLimit, TokenUsage
from otel_budget.enforcing import Enforcer, HitSink
from otel_budget.gated_calls import LlmCall, ToolCall
from otel_budget.replies import Fail, before_llm, before_tool, checked_fail, checked_timeout


class BudgetGate:
    """Puts any guard in front of any loop: asks it, refuses, tells of hits, records usage.

    ::

        gate = BudgetGate(guard, on_hit=print)
        async with gate.llm_call("session-1", 1_200) as call:  # raises BudgetExhausted
            response = await client.chat.completions.create(...)
            call.usage(TokenUsage.from_openai(response.usage))

    A sync guard is asked by ``with`` on the calling thread, or by ``async with`` (asyncio) on a
    thread of the gate's with the caller's context. An async guard needs ``async with``. Loops that
    cannot use a context manager call `check_llm`, `record_llm` and `check_tool`, or their sync
    twins; these leave it to the loop to record once and only what succeeded.

    Args:
        guard: Any guard: sync or async, typed or dict, instrumented or not.
        on_hit: Where each `BudgetThresholdHit` goes, before a refusal is raised: a function, a list
            or a queue. What it raises is logged.
        timeout: Seconds the guard may take. A late answer counts as a failure, except under
            ``with``, where nothing can cut the guard off: there it is used and reported as late.
        fail: What a check that raises or is late comes to: ``closed`` refuses with the resource
            ``guard_unavailable``, ``open`` proceeds as a soft limit on it. An answer that cannot be
            read is a denial either way; a record that fails is logged.

    Raises:
        TypeError: `guard` is none or mixes sync and async methods; `on_hit` is async or nothing
            that takes hits; `timeout` is no number.
        ValueError: `timeout` or `fail` has a value it cannot have.
    """

    def __init__(
        self,
        guard: Any,
        on_hit: HitSink | None = None,
        *,
        timeout: float = 5.0,
        fail: Fail = "closed",
    ) -> None:
        asker = Asker(guard, checked_timeout(timeout), "typed")
        self._enforcer = Enforcer(asker, on_hit, checked_fail(fail))

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
            session_id: Whose call.
            estimated_prompt_tokens: About how many tokens will be sent.
            model: Which model, as in `call_info`.
            provider: Whose, as in `call_info`.
        """
        return LlmCall(
            self._enforcer, before_llm(session_id, estimated_prompt_tokens), model, provider
        )

    def tool_call(self, session_id: str, tool_name: str) -> ToolCall:
        """A tool call: checked on entry."""
        return ToolCall(self._enforcer, before_tool(session_id, tool_name))

    # -- plain methods ---------------------------------------------------------------------
    async def check_llm(self, session_id: str, estimated_prompt_tokens: int) -> Allow | SoftLimit:
        """Ask before a model call; `call_info` says which model.

        Raises:
            BudgetExhausted: The guard refuses.
        """
        return await self._enforcer.check(before_llm(session_id, estimated_prompt_tokens))

    async def check_tool(self, session_id: str, tool_name: str) -> Allow | SoftLimit:
        """Ask before a tool call.

        Raises:
            BudgetExhausted: The guard refuses.
        """
        return await self._enforcer.check(before_tool(session_id, tool_name))

    async def record_llm(self, session_id: str, usage: TokenUsage | Mapping[str, Any]) -> None:
        """Tell the usage of one model call that succeeded. A guard that fails at it is logged."""
        await self._enforcer.record(session_id, usage)

    def check_llm_sync(self, session_id: str, estimated_prompt_tokens: int) -> Allow | SoftLimit:
        """`check_llm` for sync loops and guards."""
        return self._enforcer.check_sync(before_llm(session_id, estimated_prompt_tokens))

    def check_tool_sync(self, session_id: str, tool_name: str) -> Allow | SoftLimit:
        """`check_tool` for sync loops and guards."""
        return self._enforcer.check_sync(before_tool(session_id, tool_name))

    def record_llm_sync(self, session_id: str, usage: TokenUsage | Mapping[str, Any]) -> None:
        """`record_llm` for sync loops and guards."""
        self._enforcer.record_sync(session_id, usage)
