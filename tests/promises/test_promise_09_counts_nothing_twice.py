"""Promise 9: nothing counts twice."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from otel_budget import Allow, BudgetGuard, FlatRates
from support.backend import Backend
from support.guards import METHODS, AsyncScript, Make, SyncScript, run


class Delegating:
    """A guard written by the host that asks another guard."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def check_before_llm(self, *args: Any) -> Any:
        return self.inner.check_before_llm(*args)

    def record_after_llm(self, *args: Any) -> Any:
        return self.inner.record_after_llm(*args)

    def check_before_tool(self, *args: Any) -> Any:
        return self.inner.check_before_tool(*args)


class AsyncDelegating:
    def __init__(self, inner: Any) -> None:
        self.inner = inner

    async def check_before_llm(self, *args: Any) -> Any:
        return await asyncio.create_task(self.inner.check_before_llm(*args))

    async def record_after_llm(self, *args: Any) -> Any:
        return await self.inner.record_after_llm(*args)

    async def check_before_tool(self, *args: Any) -> Any:
        return await self.inner.check_before_tool(*args)


@pytest.mark.parametrize("nested", [False, True], ids=["twice", "inside another"])
def test_promise_9_the_outermost_guard_counts_and_the_inner_has_a_span(
    backend: Backend, make: Make, nested: bool
) -> None:
    inner = backend.instrument(make.guard(make.soft()), name="inner")
    between = inner
    if nested:
        between = (AsyncDelegating if make.asynchronous else Delegating)(inner)
    outer = backend.instrument(between, name="outer", prices=FlatRates(1, 1))
    for method in METHODS:
        make.call(outer, method, *make.arguments(method))
    assert backend.value("budget.decisions") == 2
    assert backend.value("budget.threshold_hits") == 2
    assert backend.value("budget.calls") == 1
    assert backend.value("budget.tokens") == 120
    assert backend.value("budget.estimated_tokens") == 1_000
    assert backend.value("budget.guard.duration") == 3
    assert backend.value("budget.guard.duration", budget__guard__name="outer") == 3
    assert len(backend.logs()) == 1  # both soft limits have the same resource: one log a minute
    assert backend.value("budget.unpriced_calls") == 0
    for method in METHODS:
        by_name = {s.attributes["budget.guard.name"]: s for s in backend.spans(f"budget.{method}")}
        assert by_name["inner"].parent.span_id == by_name["outer"].context.span_id
        assert by_name["inner"].events == ()
    events = [event for span in backend.spans() for event in span.events]
    assert len(events) == 2
    # Called directly, the inner guard counts again.
    make.call(inner, "check_before_llm", "s1", 5)
    assert backend.value("budget.decisions") == 3


def test_promise_9_a_task_that_outlives_the_outer_call_counts_on_its_own(backend: Backend) -> None:
    inner = backend.instrument(AsyncScript({"decision": "allow"}), name="inner")
    tasks: list[asyncio.Task[Any]] = []
    go = asyncio.Event()

    async def later() -> None:
        await go.wait()
        await inner.check_before_llm("s", 1)

    class Spawning(BudgetGuard):
        async def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            tasks.append(asyncio.create_task(later()))
            return Allow()

    async def host() -> None:
        await backend.instrument(Spawning(), name="outer").check_before_llm("s", 1)
        go.set()
        await tasks[0]

    run(host())
    assert backend.value("budget.decisions") == 2


def test_promise_9_an_unnamed_guard_is_named_after_its_class_however_often_it_is_wrapped(
    backend: Backend,
) -> None:
    guard = backend.instrument(backend.instrument(SyncScript()))
    guard.check_before_llm("s", 1)
    assert {s.attributes["budget.guard.name"] for s in backend.spans()} == {"SyncScript"}


def test_promise_9_three_guards_share_one_set_of_instruments(backend: Backend) -> None:
    guards = [backend.instrument(SyncScript({"decision": "allow"}), name=name) for name in "abc"]
    for number, guard in enumerate(guards):
        for _ in range(number + 1):
            guard.check_before_llm("s", 1)
    assert backend.value("budget.decisions", budget__decision="allow") == 6
    counts = {a["budget.guard.name"]: p.count for a, p in backend.points("budget.guard.duration")}
    assert counts == {"a": 1, "b": 2, "c": 3}
    del guards[1:], guard
    gc.collect()
    guards[0].check_before_llm("s", 1)
    assert backend.value("budget.decisions", budget__decision="allow") == 7
