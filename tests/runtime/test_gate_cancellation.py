"""A gate whose caller, guard or body is cancelled."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from otel_budget import (
    Allow,
    BudgetExhausted,
    BudgetGate,
    BudgetGuard,
    BudgetThresholdHit,
    SyncBudgetGuard,
    TokenUsage,
)
from support.backend import Backend
from support.gate_guards import USAGE, AsyncFixed, SyncFixed
from support.guards import Make


@pytest.mark.parametrize("asynchronous", [True, False], ids=["async guard", "sync guard"])
async def test_a_caller_cancelled_during_a_check(backend: Backend, asynchronous: bool) -> None:
    asked = threading.Event()
    release = threading.Event()

    class Async(BudgetGuard):
        async def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            asked.set()
            await asyncio.sleep(20)

    class Sync(SyncBudgetGuard):
        def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            asked.set()
            release.wait(20)
            return Allow()

    hits: list[BudgetThresholdHit] = []
    gate = BudgetGate(backend.instrument(Async() if asynchronous else Sync()), hits)
    task = asyncio.create_task(gate.check_llm("s1", 1))
    while not asked.is_set():
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert backend.value("budget.decisions", budget__decision="cancelled") == 1
    release.set()
    await asyncio.sleep(0.05)
    assert backend.value("budget.decisions") == 1
    assert hits == []


@pytest.mark.parametrize("asynchronous", [True, False], ids=["async guard", "sync guard"])
async def test_a_caller_cancelled_during_the_record_still_records(
    backend: Backend, asynchronous: bool
) -> None:
    recorded = []
    began = threading.Event()

    class Async(BudgetGuard):
        async def record_after_llm(self, session_id: str, usage: TokenUsage) -> None:
            began.set()
            await asyncio.sleep(0.1)
            recorded.append(usage)

    class Sync(SyncBudgetGuard):
        def record_after_llm(self, session_id: str, usage: TokenUsage) -> None:
            began.set()
            time.sleep(0.1)
            recorded.append(usage)

    gate = BudgetGate(backend.instrument(Async() if asynchronous else Sync()))

    async def call_the_model() -> None:
        async with gate.llm_call("s1", 1) as call:
            call.usage(USAGE)

    task = asyncio.create_task(call_the_model())
    while not began.is_set():
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert recorded == [USAGE]
    assert backend.value("budget.calls") == 1


async def test_a_guard_that_cancels_itself_does_not_cancel_the_caller(backend: Backend) -> None:
    class Odd(BudgetGuard):
        async def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            raise asyncio.CancelledError

    with pytest.raises(BudgetExhausted, match="guard_unavailable"):
        await BudgetGate(backend.instrument(Odd())).check_llm("s1", 1)
    assert backend.value("budget.decisions", budget__decision="cancelled") == 1


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_program_is_not_a_failure_of_the_guard(kind: type[BaseException]) -> None:
    class Interrupted(SyncBudgetGuard):
        def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            raise kind

    with pytest.raises(kind):
        BudgetGate(Interrupted(), fail="open").check_llm_sync("s1", 1)


@pytest.mark.parametrize("asynchronous", [True, False], ids=["async guard", "sync guard"])
async def test_a_body_whose_task_is_cancelled_records_nothing(
    backend: Backend, asynchronous: bool
) -> None:
    table = (AsyncFixed if asynchronous else SyncFixed)(Make(asynchronous, True), "allow")
    gate = BudgetGate(backend.instrument(table))
    inside = asyncio.Event()

    async def call_the_model() -> None:
        async with gate.llm_call("s1", 1_000):
            inside.set()
            await asyncio.sleep(20)

    task = asyncio.create_task(call_the_model())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert table.recorded == []
    assert backend.value("budget.calls") == backend.value("budget.calls_without_usage") == 0
