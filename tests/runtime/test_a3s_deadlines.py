"""The bridge's deadline: a call that is cut off counts once."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from otel_budget import Allow, BudgetGuard, Deny, SyncBudgetGuard, TokenUsage, for_a3s
from support.a3s_calls import USAGE, ask, denied, on_bare_threads
from support.backend import Backend


def test_the_default_deadline_is_below_the_runtimes_five_seconds() -> None:
    class Slow(BudgetGuard):
        async def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            await asyncio.sleep(60)

    with for_a3s(Slow()) as bridge:
        start = time.monotonic()
        assert ask(bridge) == denied(" gave no answer within 4.5 s")
        assert (
            time.monotonic() - start < 5.0
        )  # the runtime's own deadline; later answers are ignored


class SyncSlow(SyncBudgetGuard):
    """Answers when it is released."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.answered = threading.Event()

    def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
        if estimated_prompt_tokens:
            self.release.wait(20)
            self.answered.set()
        return Deny(resource="too_late", reason="nobody waits")

    def record_after_llm(self, session_id: str, usage: TokenUsage) -> None:
        self.release.wait(20)
        self.answered.set()


class BlocksItsLoop(SyncSlow):
    """An async guard that does not await."""

    async def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
        return super().check_before_llm(session_id, estimated_prompt_tokens)

    async def record_after_llm(self, session_id: str, usage: TokenUsage) -> None:
        super().record_after_llm(session_id, usage)

    async def check_before_tool(self, session_id: str, tool_name: str) -> Any:
        return Allow()


@pytest.mark.parametrize("kind", [SyncSlow, BlocksItsLoop])
def test_a_call_that_is_cut_off_counts_once_as_late(backend: Backend, kind: type[Any]) -> None:
    guard = kind()
    with for_a3s(backend.instrument(guard), timeout=0.3) as bridge:
        late = denied(" gave no answer within 0.3 s")
        assert ask(bridge) == late
        if kind is BlocksItsLoop:  # these calls do not even begin
            answers = on_bare_threads(*[lambda: bridge.check_before_llm("s1", 1)] * 3)
            assert answers == [late] * 3
        count = 4 if kind is BlocksItsLoop else 1
        assert backend.value("budget.decisions", budget__decision="late") == count
        guard.release.set()
        assert guard.answered.wait(5)
        assert ask(bridge, 0) == {
            "decision": "deny",
            "resource": "too_late",
            "reason": "nobody waits",
        }
    assert backend.value("budget.decisions") == count + 1
    assert backend.value("budget.threshold_hits", budget__resource="guard_unavailable") == count
    assert backend.value("budget.threshold_hits", budget__resource="too_late") == 1
    assert len(backend.spans()) == count + 1


def test_an_async_record_goes_on_when_its_caller_has_gone() -> None:
    recorded = threading.Event()

    class Slow(BudgetGuard):
        async def record_after_llm(self, session_id: str, usage: TokenUsage) -> None:
            await asyncio.sleep(0.2)
            recorded.set()

    with for_a3s(Slow(), timeout=0.02) as bridge:
        bridge.record_after_llm("s1", dict(USAGE))
        assert not recorded.is_set()
        assert recorded.wait(20)


@pytest.mark.parametrize("kind", [SyncSlow, BlocksItsLoop])
def test_a_record_that_is_cut_off_still_counts_its_usage_once(
    backend: Backend, kind: type[Any]
) -> None:
    guard = kind()
    with for_a3s(backend.instrument(guard), timeout=0.05) as bridge:
        for _ in range(2):
            on_bare_threads(lambda: bridge.record_after_llm("s1", dict(USAGE)))
        guard.release.set()
        assert guard.answered.wait(5)
    assert backend.value("budget.calls") == 2
    assert backend.value("budget.tokens") == 240
    assert backend.value("budget.telemetry.errors") == 0
