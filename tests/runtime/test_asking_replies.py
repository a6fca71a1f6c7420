"""How a reply reaches whoever waits for it: in time, late, from another thread, or never."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from otel_budget import Allow, BudgetExhausted, BudgetGate, BudgetGuard, Deny, SyncBudgetGuard
from otel_budget.runtime.inquiry import Inquiry
from otel_budget.runtime.questions import Reply, before_llm
from support.gate_guards import USAGE


def _inquiry() -> Inquiry:
    return Inquiry(BudgetGate(SyncBudgetGuard())._asker.asked_guard, before_llm("s1", 1))


# -- passing a reply on --------------------------------------------------------------------
@pytest.mark.parametrize("before", [True, False], ids=["waits already", "comes after the reply"])
def test_a_receiver_gets_the_reply_once_whichever_comes_first(before: bool) -> None:
    inquiry = _inquiry()
    got: list[Reply] = []
    if before:
        inquiry.pass_reply_to(got.append)
    reply = inquiry.run()
    if not before:
        inquiry.pass_reply_to(got.append)
    inquiry._pass_on(reply)  # as the other side does where the two meet
    assert got == [reply]
    assert inquiry.reply is reply


def test_only_the_last_receiver_gets_the_reply() -> None:
    inquiry = _inquiry()
    first: list[Reply] = []
    second: list[Reply] = []
    inquiry.pass_reply_to(first.append)
    inquiry.pass_reply_to(second.append)
    reply = inquiry.run()
    assert (first, second) == ([], [reply])


def test_a_receiver_that_meets_the_reply_gets_it_once() -> None:
    together = threading.Barrier(2)
    inquiries = [_inquiry() for _ in range(2_000)]
    got: list[list[Reply]] = [[] for _ in inquiries]

    def run() -> None:
        for inquiry in inquiries:
            together.wait(20)
            inquiry.run()

    thread = threading.Thread(target=run)
    thread.start()
    for inquiry, replies in zip(inquiries, got, strict=True):
        together.wait(20)
        inquiry.pass_reply_to(replies.append)
    thread.join(20)
    assert [len(replies) for replies in got] == [1] * len(got)


# -- a loop that has no time ---------------------------------------------------------------
@pytest.mark.parametrize("asynchronous", [True, False], ids=["async guard", "sync guard"])
async def test_an_answer_that_came_while_the_host_held_up_its_loop_is_used(
    asynchronous: bool,
) -> None:
    class Async(BudgetGuard):
        async def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            await asyncio.sleep(0.01)
            return Deny(resource="spent", reason="in time")

    class Sync(SyncBudgetGuard):
        def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            return Deny(resource="spent", reason="in time")

    gate = BudgetGate(Async() if asynchronous else Sync(), timeout=0.1)
    task = asyncio.create_task(gate.check_llm("s1", 1))
    await asyncio.sleep(0)  # the check waits
    await asyncio.sleep(0)  # an async guard has begun
    time.sleep(0.2)
    with pytest.raises(BudgetExhausted, match="spent"):
        await task


@pytest.mark.parametrize("asynchronous", [True, False], ids=["async guard", "sync guard"])
async def test_a_check_that_is_answered_leaves_no_timer(asynchronous: bool) -> None:
    loop: Any = asyncio.get_running_loop()

    def timers() -> int:
        return sum(not timer.cancelled() for timer in loop._scheduled)

    before = timers()
    gate = BudgetGate(BudgetGuard() if asynchronous else SyncBudgetGuard(), timeout=600)
    await gate.check_llm("s1", 1)
    assert timers() == before


# -- a task that ends, or a loop that is closed, before the guard has replied --------------
async def test_a_check_whose_task_is_cancelled_before_it_begins_is_not_waited_for() -> None:
    gate = BudgetGate(BudgetGuard(), timeout=60)
    check = asyncio.create_task(gate.check_llm("s1", 1))
    before = asyncio.all_tasks()
    while asyncio.all_tasks() == before:
        await asyncio.sleep(0)
        (*asked,) = asyncio.all_tasks() - before
        for task in asked:
            task.cancel()
    with pytest.raises(BudgetExhausted, match=r"raised asyncio\.exceptions\.CancelledError"):
        await asyncio.wait_for(check, 20)


@pytest.mark.parametrize("what", ["check", "record"])
def test_a_guard_that_replies_after_the_loop_is_closed_is_still_told(what: str) -> None:
    begun, release, done = threading.Event(), threading.Event(), threading.Event()
    calls: list[str] = []

    class Guard(SyncBudgetGuard):
        def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            begun.set()
            release.wait(20)
            calls.append("check")
            return Allow()

        def record_after_llm(self, session_id: str, usage: Any) -> None:
            begun.set()
            release.wait(20)
            calls.append("record")
            done.set()

        def release_llm(self, session_id: str) -> None:
            calls.append("release")
            done.set()

    gate = BudgetGate(Guard(), timeout=0.2)

    async def leaves() -> None:
        asked = gate.check_llm("s1", 1) if what == "check" else gate.record_llm("s1", USAGE)
        task = asyncio.create_task(asked)  # type: ignore[arg-type]
        while not begun.is_set():
            await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.wait({task})

    asyncio.run(leaves())
    assert calls == []
    release.set()
    assert done.wait(20)
    assert calls == (["check", "release"] if what == "check" else ["record"])
