"""A gate tells a guard of each allowed model call that ends without a record, once."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from otel_budget import (
    Allow,
    BudgetExhausted,
    BudgetGate,
    BudgetGuard,
    Deny,
    SoftLimit,
    SyncBudgetGuard,
)
from otel_budget.guards import AsyncWindowGuard, Limit, Reservation, WindowGuard
from support.backend import Backend
from support.gate_guards import USAGE

KINDS = pytest.mark.parametrize("asynchronous", [True, False], ids=["async guard", "sync guard"])


class Told:
    answer: Any = Allow()
    before: Any = None

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.begun = threading.Event()


class Sync(Told, SyncBudgetGuard):
    def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
        self.begun.set()
        if self.before is not None:
            self.before.wait(20)
        self.calls.append("check")
        return self.answer

    def record_after_llm(self, session_id: str, usage: Any) -> None:
        self.calls.append("record")

    def release_llm(self, session_id: str) -> None:
        self.calls.append(f"release {session_id}")


class Async(Told, BudgetGuard):
    async def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
        self.calls.append("check")
        return self.answer

    async def record_after_llm(self, session_id: str, usage: Any) -> None:
        self.calls.append("record")

    async def release_llm(self, session_id: str) -> None:
        self.calls.append(f"release {session_id}")


def guard_of(asynchronous: bool) -> Any:
    return Async() if asynchronous else Sync()


async def settled(guard: Any, calls: list[str]) -> None:
    deadline = time.monotonic() + 10
    while guard.calls != calls and time.monotonic() < deadline:
        await asyncio.sleep(0.005)
    await asyncio.sleep(0.02)  # and nothing more comes
    assert guard.calls == calls


@KINDS
@pytest.mark.parametrize("instrumented", [True, False])
async def test_each_end_without_a_record_is_told_once(
    backend: Backend, asynchronous: bool, instrumented: bool
) -> None:
    guard = guard_of(asynchronous)
    gate = BudgetGate(backend.instrument(guard) if instrumented else guard)

    async def fails(usage: Any) -> None:
        async with gate.llm_call("s", 1) as call:
            if usage:
                call.usage(usage)
            raise OSError

    for usage in (None, USAGE):
        guard.calls.clear()
        with pytest.raises(OSError):
            await fails(usage)
        assert guard.calls == ["check", "release s"]
    guard.calls.clear()
    async with gate.llm_call("s", 1):
        pass
    assert guard.calls == ["check", "release s"]
    guard.calls.clear()
    async with gate.llm_call("s", 1) as call:
        call.usage(USAGE)
    assert guard.calls == ["check", "record"]
    if instrumented:
        assert backend.value("budget.calls") == 1
        assert backend.value("budget.decisions") == 4
        assert {span.name for span in backend.spans()} <= {
            "budget.check_before_llm",
            "budget.record_after_llm",
            "budget.session",
        }


def test_a_sync_body_that_fails_or_is_abandoned_is_told() -> None:
    guard = Sync()
    gate = BudgetGate(guard)
    with pytest.raises(OSError), gate.llm_call("s", 1):
        raise OSError
    assert guard.calls == ["check", "release s"]

    def stream() -> Iterator[int]:
        with gate.llm_call("t", 1):
            yield 1

    parts = stream()
    next(parts)
    parts.close()
    assert guard.calls[2:] == ["check", "release t"]
    gate.check_llm_sync("u", 1)
    gate.release_llm_sync("u")
    assert guard.calls[4:] == ["check", "release u"]


@KINDS
async def test_an_abandoned_stream_is_told_whoever_closes_it(asynchronous: bool) -> None:
    guard = guard_of(asynchronous)
    gate = BudgetGate(guard)

    async def stream() -> AsyncIterator[int]:
        async with gate.llm_call("s", 1):
            yield 1

    parts: Any = stream()
    await anext(parts)
    await parts.aclose()
    await settled(guard, ["check", "release s"])
    guard.calls.clear()
    parts = stream()
    await anext(parts)
    del parts
    gc.collect()
    await settled(guard, ["check", "release s"])


@KINDS
def test_a_coroutine_closed_without_a_loop_is_told(asynchronous: bool) -> None:
    guard = guard_of(asynchronous)
    gate = BudgetGate(guard)
    kept: list[Any] = []

    async def body() -> None:
        async with gate.llm_call("s", 1):
            await asyncio.Future()

    async def begin() -> None:
        loop = asyncio.get_running_loop()
        coroutine = body()
        kept.append(coroutine)
        future = coroutine.send(None)  # the gate waits for its check
        while not isinstance(future, asyncio.Future) or "check" not in guard.calls:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        del loop
        future = coroutine.send(None)

    asyncio.run(begin())
    kept.pop().close()
    deadline = time.monotonic() + 10
    while guard.calls[-1] != "release s" and time.monotonic() < deadline:
        time.sleep(0.005)
    assert guard.calls == ["check", "release s"]


@KINDS
async def test_a_cancelled_body_is_told(asynchronous: bool) -> None:
    guard = guard_of(asynchronous)
    gate = BudgetGate(guard)

    async def body() -> None:
        async with gate.llm_call("s", 1):
            await asyncio.sleep(20)

    task = asyncio.create_task(body())
    while not guard.calls:
        await asyncio.sleep(0.005)
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await settled(guard, ["check", "release s"])


@pytest.mark.parametrize("answer", [Allow(), None, Deny(resource="r", reason="no"), "rubbish"])
@pytest.mark.parametrize("gone", ["late", "cancelled"])
async def test_an_answer_that_nobody_used_is_released_if_it_let_the_call_proceed(
    answer: Any, gone: str
) -> None:
    guard = Sync()
    guard.answer, guard.before = answer, threading.Event()
    gate = BudgetGate(guard, timeout=0.5 if gone == "late" else 20)
    task = asyncio.create_task(gate.check_llm("s", 1))
    while not guard.begun.is_set():
        await asyncio.sleep(0.005)
    if gone == "cancelled":
        task.cancel()
    with pytest.raises((BudgetExhausted, asyncio.CancelledError)):
        await task
    guard.before.set()
    allowed = answer is None or isinstance(answer, Allow)
    await settled(guard, ["check", "release s"] if allowed else ["check"])


async def test_a_coroutine_closed_while_its_check_is_asked_is_told() -> None:
    guard = Sync()
    guard.before = threading.Event()
    gate = BudgetGate(guard)
    checking = gate.check_llm("s", 1)
    checking.send(None)
    while not guard.begun.is_set():
        await asyncio.sleep(0.005)
    checking.close()
    guard.before.set()
    await settled(guard, ["check", "release s"])


async def test_a_refused_call_and_a_stand_in_are_not_told() -> None:
    guard = Async()
    guard.answer = Deny(resource="r", reason="no")
    gate = BudgetGate(guard, fail="open")
    with pytest.raises(BudgetExhausted):
        async with gate.llm_call("s", 1):
            pass

    async def failing(*_: Any) -> Any:
        raise OSError

    guard.check_before_llm = failing  # type: ignore[method-assign]
    async with gate.llm_call("s", 1) as call:
        assert isinstance(call.decision, SoftLimit)
    await settled(guard, ["check"])


async def test_a_release_that_fails_does_not_reach_the_host() -> None:
    class Broken(Async):
        async def release_llm(self, session_id: str) -> None:
            raise OSError

    gate = BudgetGate(Broken())
    with pytest.raises(ZeroDivisionError):
        async with gate.llm_call("s", 1):
            raise ZeroDivisionError
    await gate.release_llm("s")


async def test_a_guard_without_the_method_is_asked_nothing() -> None:
    gate = BudgetGate(BudgetGuard())
    await gate.release_llm("s")
    async with gate.llm_call("s", 1):
        pass


def test_a_release_that_is_sync_beside_async_methods_is_a_clear_error() -> None:
    class Mixed(BudgetGuard):
        def release_llm(self, session_id: str) -> None: ...

    with pytest.raises(TypeError, match=r"mixes async methods .* sync ones .release_llm"):
        BudgetGate(Mixed())


@pytest.mark.parametrize("kind", [WindowGuard, AsyncWindowGuard])
async def test_a_window_guards_reservations_end_with_its_calls(kind: Any, backend: Backend) -> None:
    guard = kind(Limit(100, "tokens", "all", soft=None), reservation=Reservation(50))
    gate = BudgetGate(backend.instrument(guard))
    for _ in range(3):
        with pytest.raises(OSError):
            async with gate.llm_call("s", 50):
                with pytest.raises(BudgetExhausted, match="reserved for calls in progress"):
                    await gate.check_llm("s", 50)
                raise OSError
    assert len(guard._holds) == 0
