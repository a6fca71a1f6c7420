"""Guards as hosts write them, passed to functions that are annotated with the guard protocols.

`tests/test_typing.py` checks this file with mypy and pyright, both strict. Lines with an ``ignore``
must be errors: both are set to complain about an ignore without one.
"""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypedDict, assert_type

from otel_budget import (
    Allow,
    AsyncGuardProtocol,
    BudgetDecision,
    BudgetGuard,
    Deny,
    FlatRates,
    NoopBudgetGuard,
    SoftLimit,
    SyncBudgetGuard,
    SyncGuardProtocol,
    TokenUsage,
    instrument,
)
from otel_budget.guards import AsyncRedisGuard, AsyncWindowGuard, Limit, RedisGuard, WindowGuard


def sync_host(guard: SyncGuardProtocol) -> SyncGuardProtocol:
    answer = guard.check_before_llm("s", 1)
    assert_type(answer, Allow | SoftLimit | Deny | Mapping[str, Any] | None)
    guard.record_after_llm("s", TokenUsage(prompt_tokens=1, completion_tokens=1, total_tokens=2))
    return guard


async def async_host(guard: AsyncGuardProtocol) -> AsyncGuardProtocol:
    answer = await guard.check_before_tool("s", "search")
    assert_type(answer, Allow | SoftLimit | Deny | Mapping[str, Any] | None)
    await guard.record_after_llm("s", {"prompt_tokens": 1})
    return guard


# -- guards that are accepted ----------------------------------------------------------------
class Typed:
    def check_before_llm(self, session: str, tokens: int) -> BudgetDecision:
        return Deny(resource="llm_tokens", reason="too long") if tokens > 1_000 else Allow()

    def record_after_llm(self, session: str, usage: TokenUsage) -> None:
        return None

    def check_before_tool(self, session: str, tool: str) -> Allow:
        return Allow()


class AsyncTyped:
    async def check_before_llm(self, session: str, tokens: int) -> BudgetDecision:
        return Allow()

    async def record_after_llm(self, session: str, usage: TokenUsage) -> None:
        return None

    async def check_before_tool(self, session: str, tool: str) -> Deny | Allow:
        return Allow()


class Refusal(TypedDict):
    decision: Literal["deny"]
    resource: str
    reason: str


class Dicts:
    def check_before_llm(self, session_id: str, tokens: int) -> dict[str, Any] | None:
        return None

    def record_after_llm(self, session_id: str, usage: dict[str, Any]) -> None:
        return None

    def check_before_tool(self, session_id: str, tool_name: str) -> Refusal | None:
        return {"decision": "deny", "resource": "tools", "reason": tool_name}


class AsyncDicts:
    async def check_before_llm(self, session_id: str, tokens: int) -> dict[str, str]:
        return {"decision": "allow"}

    async def record_after_llm(self, session_id: str, usage: Mapping[str, Any]) -> None:
        return None

    async def check_before_tool(self, session_id: str, tool_name: str) -> None:
        return None


class OneMethod:
    def check_before_tool(self, session_id: str, tool_name: str) -> BudgetDecision:
        return Allow()


class OneMethodAndTheDefaults(OneMethod, SyncBudgetGuard):
    """Has the other two from the base class."""


def accepted() -> None:
    sync_host(Typed())
    sync_host(Dicts())
    sync_host(SyncBudgetGuard())
    sync_host(OneMethodAndTheDefaults())
    sync_host(WindowGuard(Limit(5), prices=FlatRates(3, 15)))
    sync_host(instrument(Typed()))
    sync_host(instrument(WindowGuard(Limit(5), prices=FlatRates(3, 15))))
    shared: SyncGuardProtocol = RedisGuard(Limit(5), url="redis://127.0.0.1")
    instrument(shared)
    assert_type(instrument(Typed()), Typed)
    assert_type(instrument(OneMethod()), OneMethod)
    assert_type(instrument(sync_host(Dicts())), SyncGuardProtocol)


async def accepted_async() -> None:
    await async_host(AsyncTyped())
    await async_host(AsyncDicts())
    await async_host(BudgetGuard())
    await async_host(NoopBudgetGuard())
    await async_host(AsyncWindowGuard(Limit(5), prices=FlatRates(3, 15)))
    shared: AsyncGuardProtocol = AsyncRedisGuard(Limit(5), url=["redis://a", "redis://b"])
    instrument(shared)
    await async_host(instrument(AsyncTyped()))
    assert_type(instrument(AsyncDicts()), AsyncDicts)
    assert_type(instrument(await async_host(AsyncTyped())), AsyncGuardProtocol)


# -- guards that are not ---------------------------------------------------------------------
class AnswersABool(Typed):
    def check_before_llm(self, session: str, tokens: int) -> bool:  # type: ignore[override]
        return True


class TakesNoTokens:
    def check_before_llm(self, session_id: str) -> BudgetDecision:
        return Allow()

    def record_after_llm(self, session_id: str, usage: TokenUsage) -> None:
        return None

    def check_before_tool(self, session_id: str, tool_name: str) -> BudgetDecision:
        return Allow()


class KeywordsOnly:
    def check_before_llm(self, *, session_id: str, tokens: int) -> BudgetDecision:
        return Allow()

    def record_after_llm(self, session_id: str, usage: TokenUsage) -> None:
        return None

    def check_before_tool(self, session_id: str, tool_name: str) -> BudgetDecision:
        return Allow()


class Mixed:
    def check_before_llm(self, session_id: str, tokens: int) -> BudgetDecision:
        return Allow()

    async def record_after_llm(self, session_id: str, usage: TokenUsage) -> None:
        return None

    def check_before_tool(self, session_id: str, tool_name: str) -> BudgetDecision:
        return Allow()


def refused() -> None:
    sync_host(object())  # type: ignore[arg-type]
    sync_host(OneMethod())  # type: ignore[arg-type]
    sync_host(AnswersABool())  # type: ignore[arg-type]
    sync_host(TakesNoTokens())  # type: ignore[arg-type]
    sync_host(KeywordsOnly())  # type: ignore[arg-type]
    sync_host(Mixed())  # type: ignore[arg-type]
    sync_host(AsyncTyped())  # type: ignore[arg-type]
    sync_host(instrument(BudgetGuard()))  # type: ignore[arg-type]
    sync_host(Typed)  # type: ignore[arg-type]


async def refused_async() -> None:
    await async_host(Typed())  # type: ignore[arg-type]
    await async_host(Mixed())  # type: ignore[arg-type]
    await async_host(instrument(Dicts()))  # type: ignore[arg-type]
    await async_host(SyncBudgetGuard())  # type: ignore[arg-type]
