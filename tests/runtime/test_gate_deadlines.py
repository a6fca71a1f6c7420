"""The gate's deadline: a late check is cut off and counted once, even through nested guards."""

from __future__ import annotations

import asyncio
import itertools
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
    Deny,
    SoftLimit,
    SyncBudgetGuard,
)
from support.backend import Backend
from support.gate_guards import USAGE, AsyncFixed, SyncFixed, make_call
from support.guards import Make


@pytest.mark.parametrize("fail", ["closed", "open"])
@pytest.mark.parametrize("point", ["llm", "tool"])
@pytest.mark.parametrize("instrumented", [True, False])
@pytest.mark.parametrize("asynchronous", [True, False], ids=["async guard", "sync guard"])
async def test_a_late_check_is_cut_off_and_counted_once(
    backend: Backend, asynchronous: bool, instrumented: bool, point: str, fail: Any
) -> None:
    release = threading.Event()

    class Slow(SyncFixed):
        def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            release.wait(20)
            return Deny(resource="too_late", reason="nobody waits")

        def check_before_tool(self, session_id: str, tool_name: str) -> Any:
            return self.check_before_llm(session_id, 0)

    class SlowAsync(AsyncFixed):
        async def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            await asyncio.sleep(20)

        async def check_before_tool(self, session_id: str, tool_name: str) -> Any:
            await asyncio.sleep(20)

    make = Make(asynchronous, True)
    slow: Any = (SlowAsync if asynchronous else Slow)(make, "")
    hits: list[BudgetThresholdHit] = []
    guard = backend.instrument(slow) if instrumented else slow
    gate = BudgetGate(guard, hits, timeout=0.05, fail=fail)
    why = "the budget guard gave no answer within 0.05 s"
    if fail == "closed":
        with pytest.raises(BudgetExhausted, match="guard_unavailable") as refused:
            async with make_call(gate, point):
                pytest.fail("a late check was let through")
        assert refused.value.reason == why
        assert [(hit.kind, hit.message) for hit in hits] == [("hard", why)]
    else:
        async with make_call(gate, point) as call:
            assert call.soft_limit.resource == "guard_unavailable"
            if point == "llm":
                call.usage(USAGE)
        assert [(hit.kind, hit.message) for hit in hits] == [("soft", f"{why}; let through")]
    release.set()
    await asyncio.sleep(0.1)  # an answer of the guard now changes nothing
    if instrumented:
        assert backend.value("budget.decisions") == 1
        assert backend.value("budget.decisions", budget__decision="late") == 1
        assert backend.value("budget.threshold_hits") == 1
        assert backend.value("budget.threshold_hits", budget__resource="guard_unavailable") == 1
        (span,) = [s for s in backend.spans() if s.name != "budget.record_after_llm"]
        assert span.attributes is not None
        assert span.attributes["budget.decision"] == "late"
        (event,) = backend.logs()
        assert event.trace_id == span.context.trace_id


def test_under_a_sync_gate_lateness_is_only_reported(backend: Backend) -> None:
    class Slow(SyncBudgetGuard):
        def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            time.sleep(0.1)
            return Deny(resource="usd", reason="spent") if estimated_prompt_tokens else Allow()

    hits: list[BudgetThresholdHit] = []
    gate = BudgetGate(backend.instrument(Slow()), hits, timeout=0.01)
    with gate.llm_call("s1", 0) as call:
        call.usage(USAGE)
    with pytest.raises(BudgetExhausted, match="usd"), gate.llm_call("s1", 1):
        pytest.fail("refused calls have no body")
    assert backend.value("budget.decisions", budget__decision="late") == 2
    assert [hit.resource for hit in hits] == ["usd"]
    # The hit is what the gate did, so it is counted in addition to the decision `late`.
    assert backend.value("budget.threshold_hits", budget__resource="usd") == 1
    assert backend.value("budget.threshold_hits") == 1


async def test_the_gates_deadline_overrides_that_of_dict_answers(backend: Backend) -> None:
    class Slow:
        async def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            await asyncio.sleep(0.05)
            return {"decision": "deny", "resource": "usd", "reason": "spent"}

    gate = BudgetGate(backend.instrument(Slow(), late_after=0.01), timeout=10)
    with pytest.raises(BudgetExhausted, match="usd"):
        await gate.check_llm("s1", 1)
    assert backend.value("budget.decisions", budget__decision="deny") == 1


async def test_an_async_guard_that_swallows_its_cancellation_is_not_waited_for(
    backend: Backend,
) -> None:
    class Stubborn(BudgetGuard):
        async def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            try:
                await asyncio.sleep(20)
            except asyncio.CancelledError:
                await asyncio.sleep(0.2)
            return Deny(resource="too_late", reason="nobody waits")

    gate = BudgetGate(backend.instrument(Stubborn()), timeout=0.02, fail="open")
    decision = await gate.check_llm("s1", 1)
    assert isinstance(decision, SoftLimit)
    await asyncio.sleep(0.3)
    assert backend.value("budget.decisions") == backend.value(
        "budget.decisions", budget__decision="late"
    )
    assert backend.value("budget.threshold_hits") == 1


async def test_a_call_that_finds_no_free_thread_is_late_and_never_made(backend: Backend) -> None:
    release, made = threading.Event(), itertools.count()

    class Hangs(SyncBudgetGuard):
        def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            next(made)
            release.wait(20)
            return Allow()

    gate = BudgetGate(backend.instrument(Hangs()), timeout=0.3, fail="open")
    await asyncio.gather(*(gate.check_llm("s1", 1) for _ in range(70)))
    assert backend.value("budget.decisions", budget__decision="late") == 70
    release.set()
    await asyncio.sleep(0.2)
    assert next(made) == 64
    assert backend.value("budget.decisions") == 70
    # The threads are free again (on a busy machine perhaps not at once).
    assert any([isinstance(await gate.check_llm("s1", 1), Allow) for _ in range(5)])


async def test_two_guards_behind_one_that_is_not_instrumented_each_count_once(
    backend: Backend,
) -> None:
    first = backend.instrument(BudgetGuard(), name="first")

    class Slow(BudgetGuard):
        async def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            await asyncio.sleep(20)

    second = backend.instrument(Slow(), name="second")

    class Both(BudgetGuard):
        async def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            await first.check_before_llm(session_id, estimated_prompt_tokens)
            return await second.check_before_llm(session_id, estimated_prompt_tokens)

    with pytest.raises(BudgetExhausted):
        await BudgetGate(Both(), timeout=0.05).check_llm("s1", 1)
    await asyncio.sleep(0)  # the inner call ends when its guard does
    decisions = {
        span.attributes["budget.guard.name"]: span.attributes["budget.decision"]
        for span in backend.spans()
        if span.attributes
    }
    assert decisions == {"first": "allow", "second": "late"}
    assert backend.value("budget.decisions") == 2


async def test_an_instrumented_guard_inside_another_counts_once_when_cut_off(
    backend: Backend,
) -> None:
    class Slow(BudgetGuard):
        async def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            await asyncio.sleep(20)

    inner = backend.instrument(Slow(), name="inner")

    class Outer(BudgetGuard):
        async def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            return await inner.check_before_llm(session_id, estimated_prompt_tokens)

    gate = BudgetGate(backend.instrument(Outer(), name="outer"), timeout=0.05)
    with pytest.raises(BudgetExhausted):
        await gate.check_llm("s1", 1)
    await asyncio.sleep(0)  # the inner span ends when its guard does
    assert backend.value("budget.decisions") == 1
    assert [span.attributes["budget.decision"] for span in backend.spans() if span.attributes] == [
        "late",
        "cancelled",
    ]


async def test_a_guard_that_asks_another_through_a_gate_counts_once(backend: Backend) -> None:
    class Slow(BudgetGuard):
        async def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            await asyncio.sleep(20)

    inner = BudgetGate(backend.instrument(Slow(), name="inner"), timeout=0.05)

    class Outer(BudgetGuard):
        async def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            try:
                return await inner.check_llm(session_id, estimated_prompt_tokens)
            except BudgetExhausted as refused:
                return Deny(resource="shared", reason=refused.reason)

    gate = BudgetGate(backend.instrument(Outer(), name="outer"))
    with pytest.raises(BudgetExhausted, match="shared"):
        await gate.check_llm("s1", 1)
    assert backend.value("budget.decisions") == 1
    assert backend.value("budget.decisions", budget__decision="deny") == 1
    assert backend.value("budget.threshold_hits", budget__resource="shared") == 1
    assert backend.value("budget.threshold_hits") == 1
