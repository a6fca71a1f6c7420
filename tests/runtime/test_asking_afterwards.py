"""What is left of a call that nobody waits for any longer: it goes on or ends, then is let go."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from otel_budget import BudgetExhausted, BudgetGate, BudgetGuard, SyncBudgetGuard
from otel_budget.runtime.inquiry import Inquiry
from otel_budget.runtime.questions import before_llm
from support.gate_guards import USAGE


@pytest.mark.parametrize("cancelled", [True, False], ids=["caller cancelled", "caller waits"])
async def test_a_late_record_is_held_until_it_is_done_and_then_let_go(cancelled: bool) -> None:
    release = asyncio.Event()
    recorded: list[Any] = []

    class Slow(BudgetGuard):
        async def record_after_llm(self, session_id: str, usage: Any) -> None:
            await release.wait()
            recorded.append(usage)

    gate = BudgetGate(Slow(), timeout=0.01)
    task = asyncio.create_task(gate.record_llm("s1", USAGE))
    if cancelled:
        await asyncio.sleep(0)
        task.cancel()
    await asyncio.wait({task})
    assert task.cancelled() == cancelled
    (left,) = gate._asker._unfinished
    assert not left.cancelled()
    release.set()
    await asyncio.wait({left}, timeout=20)
    await asyncio.sleep(0)
    assert recorded == [USAGE]
    assert not gate._asker._unfinished


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
    assert not gate._asker._unfinished


@pytest.mark.parametrize("fail", ["closed", "open"])
def test_a_check_whose_time_is_over_before_it_begins_is_never_made(fail: Any) -> None:
    asked: list[str] = []

    class Guard(SyncBudgetGuard):
        def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            asked.append(session_id)

        def record_after_llm(self, session_id: str, usage: Any) -> None:
            asked.append("record")

    gate = BudgetGate(Guard(), timeout=1e-9, fail=fail)
    why = "the budget guard gave no answer within 1e-09 s"
    if fail == "closed":
        with pytest.raises(BudgetExhausted) as refused:
            gate.check_llm_sync("s1", 1)
        assert (refused.value.resource, refused.value.reason) == ("guard_unavailable", why)
    else:
        decision = gate.check_llm_sync("s1", 1)
        assert (decision.resource, decision.message) == (  # type: ignore[union-attr]
            "guard_unavailable",
            f"{why}; let through",
        )
    gate.record_llm_sync("s1", USAGE)  # money that is spent is told, however late it is
    assert asked == ["record"]


async def test_an_async_check_whose_time_is_over_answers_that_it_is_late() -> None:
    asker = BudgetGate(BudgetGuard(), timeout=1e-9)._asker
    with Inquiry(asker.asked_guard, before_llm("s1", 1)) as inquiry:
        assert await inquiry.run_async() is asker.asked_guard.late_reply
    assert asker.asked_guard.late_reply.late


def test_what_remains_until_the_deadline_is_never_negative() -> None:
    over = BudgetGate(BudgetGuard(), timeout=1e-9)._asker.asked_guard
    assert Inquiry(over, before_llm("s1", 1)).remaining == 0.0
    ahead = BudgetGate(BudgetGuard(), timeout=600)._asker.asked_guard
    assert 0 < Inquiry(ahead, before_llm("s1", 1)).remaining <= 600
