"""Guards for the gate's tests: all checks of a guard give the same decision."""

from __future__ import annotations

import asyncio
from typing import Any

from otel_budget import BudgetGate, TokenUsage
from support.guards import Make

USAGE = TokenUsage(prompt_tokens=100, completion_tokens=20, total_tokens=120)
PRINTED = {
    "prompt_tokens": 100,
    "completion_tokens": 20,
    "total_tokens": 120,
    "cache_read_tokens": None,
    "cache_write_tokens": None,
}


class GuardDownError(Exception):
    """What a failing guard raises."""


def check(make: Make, decision: str) -> Any:
    """Answer a check with this decision, or raise."""
    if decision == "raises":
        raise GuardDownError("redis://user:secret@host")
    return {
        "allow": make.allow,
        "soft_limit": make.soft(message="nearly"),
        "deny": make.deny(),
        "malformed": True,
    }[decision]


class SyncFixed:
    """A guard whose checks all give one decision, and that keeps the usage reported to it."""

    def __init__(self, make: Make, decision: str) -> None:
        self.make, self.decision, self.recorded = make, decision, list[Any]()

    def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
        assert (session_id, estimated_prompt_tokens) == ("s1", 1_000)
        return check(self.make, self.decision)

    def check_before_tool(self, session_id: str, tool_name: str) -> Any:
        assert (session_id, tool_name) == ("s1", "web_search")
        return check(self.make, self.decision)

    def record_after_llm(self, session_id: str, usage: Any) -> None:
        assert session_id == "s1"
        self.recorded.append(usage)


class AsyncFixed(SyncFixed):
    """The same, asynchronous."""

    async def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
        await asyncio.sleep(0)
        return super().check_before_llm(session_id, estimated_prompt_tokens)

    async def check_before_tool(self, session_id: str, tool_name: str) -> Any:
        await asyncio.sleep(0)
        return super().check_before_tool(session_id, tool_name)

    async def record_after_llm(self, session_id: str, usage: Any) -> None:
        await asyncio.sleep(0)
        super().record_after_llm(session_id, usage)


def make_call(gate: BudgetGate, point: str) -> Any:
    return gate.llm_call("s1", 1_000) if point == "llm" else gate.tool_call("s1", "web_search")
