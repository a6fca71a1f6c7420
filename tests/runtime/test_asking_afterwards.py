"""What is left of a call that nobody waits for any longer: it goes on or ends, then is let go."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from otel_budget import BudgetExhausted, BudgetGate, BudgetGuard
from support.gate_guards import USAGE


async def test_a_late_record_is_held_until_it_is_done_and_then_let_go() -> None:
    release = asyncio.Event()
    recorded: list[Any] = []

    class Slow(BudgetGuard):
        async def record_after_llm(self, session_id: str, usage: Any) -> None:
            await release.wait()
            recorded.append(usage)

    gate = BudgetGate(Slow(), timeout=0.01)
    await gate.record_llm("s1", USAGE)
    (left,) = gate._asker._left
    assert not left.cancelled()
    release.set()
    await asyncio.wait({left}, timeout=20)
    await asyncio.sleep(0)
    assert recorded == [USAGE]
    assert not gate._asker._left


async def test_a_late_check_is_cancelled_and_let_go() -> None:
    ended = asyncio.Event()

    class Slow(BudgetGuard):
        async def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            try:
                await asyncio.sleep(60)
            finally:
                ended.set()

    gate = BudgetGate(Slow(), timeout=0.01)
    with pytest.raises(BudgetExhausted, match="no answer within"):
        await gate.check_llm("s1", 1)
    await asyncio.wait_for(ended.wait(), 20)
    await asyncio.sleep(0)
    assert not gate._asker._left
