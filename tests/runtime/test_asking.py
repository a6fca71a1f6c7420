"""The code that asks also records: what was acted upon is what is counted, exactly once."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import itertools
import random
import signal
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from otel_budget import (
    Allow,
    BudgetExhausted,
    BudgetGate,
    BudgetGuard,
    BudgetLevel,
    BudgetThresholdHit,
    Deny,
    SyncBudgetGuard,
    TokenUsage,
    for_a3s,
)
from otel_budget.telemetry.hubs import poll_levels
from support.backend import Backend

USAGE = TokenUsage(prompt_tokens=100, completion_tokens=20, total_tokens=120)


class Spent(SyncBudgetGuard):
    """Refuses every check."""

    def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
        return Deny(resource="spent", reason="spent")


class Busy(SyncBudgetGuard):
    """Holds 64 checks, one for each thread, until it is released; counts checks and records."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.begun = itertools.count(1)
        self.checks = 0
        self.records = 0

    def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
        self.checks = next(self.begun)
        if session_id == "busy":
            self.release.wait(60)
        return Allow()

    def record_after_llm(self, session_id: str, usage: Any) -> None:
        self.records += 1

    def wait_for_records(self, number: int) -> None:
        deadline = time.monotonic() + 30
        while self.records < number and time.monotonic() < deadline:
            time.sleep(0.01)


def hits(backend: Backend) -> Counter[str]:
    counted: Counter[str] = Counter()
    for attributes, value in backend.series("budget.threshold_hits"):
        counted[attributes["budget.kind"]] += int(value)
    return counted


# -- what was acted upon is what is counted ------------------------------------------------
@pytest.mark.parametrize("asynchronous", [True, False], ids=["async guard", "sync guard"])
def test_around_a_bridges_deadline_the_telemetry_says_what_the_host_saw(
    backend: Backend, asynchronous: bool
) -> None:
    timeout = 0.02
    pauses = random.Random(1)

    def pause() -> float:
        return timeout - 0.004 + 0.006 * pauses.random()

    class Async(BudgetGuard):
        async def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            await asyncio.sleep(pause())
            return Deny(resource="spent", reason="spent")

    class Sync(SyncBudgetGuard):
        def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            time.sleep(pause())
            return Deny(resource="spent", reason="spent")

    guard = backend.instrument(Async() if asynchronous else Sync())
    with for_a3s(guard, timeout=timeout, fail="open") as bridge, ThreadPoolExecutor(8) as threads:
        answers = Counter(
            answer["decision"]
            for answer in threads.map(lambda _: bridge.check_before_llm("s1", 1), range(480))
        )
    assert answers["deny"] + answers["soft"] == 480
    assert hits(backend) == {"hard": answers["deny"], "soft": answers["soft"]}
    assert backend.value("budget.decisions", budget__decision="deny") == answers["deny"]
    assert backend.value("budget.decisions", budget__decision="late") == answers["soft"]
    assert backend.value("budget.decisions") == 480
    on_spans = Counter(
        event.attributes["budget.kind"] for span in backend.spans() for event in span.events
    )
    assert on_spans == {"hard": answers["deny"], "soft": answers["soft"]}


async def test_a_late_answer_that_was_not_used_makes_no_hit_of_its_own(backend: Backend) -> None:
    class Swallows(BudgetGuard):
        async def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            try:
                await asyncio.sleep(20)
            except asyncio.CancelledError:
                return Deny(resource="spent", reason="nobody waits")

    seen: list[BudgetThresholdHit] = []
    gate = BudgetGate(backend.instrument(Swallows()), seen, timeout=0.05, fail="open")
    await gate.check_llm("s1", 1)
    await asyncio.sleep(0.05)
    assert [hit.resource for hit in seen] == ["guard_unavailable"]
    assert hits(backend) == {"soft": 1, "hard": 0}
    assert backend.span().attributes["budget.decision"] == "late"
    (event,) = backend.span().events
    assert event.attributes["budget.resource"] == "guard_unavailable"


async def test_a_cancelled_check_makes_no_hit_even_if_the_guard_answers(backend: Backend) -> None:
    class Swallows(BudgetGuard):
        async def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            try:
                await asyncio.sleep(20)
            except asyncio.CancelledError:
                return Deny(resource="spent", reason="nobody waits")

    gate = BudgetGate(backend.instrument(Swallows()))
    task = asyncio.create_task(gate.check_llm("s1", 1))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert backend.span().attributes["budget.decision"] == "cancelled"
    assert not hits(backend)


# -- a check that nobody waits for is not begun, a record always is ------------------------
def keep_busy(backend: Backend, guard: Busy) -> Any:
    """A bridge whose 64 threads are all held by the guard."""
    bridge = for_a3s(backend.instrument(guard), timeout=0.2)
    while guard.checks < 64:  # on a busy machine a check may not begin in time
        missing = range(64 - guard.checks)
        with ThreadPoolExecutor(64) as threads:
            answers = list(threads.map(lambda _: bridge.check_before_llm("busy", 1), missing))
        assert {answer["decision"] for answer in answers} == {"deny"}
    assert guard.checks == 64
    return bridge


def test_200_checks_that_find_no_free_thread_are_never_begun(backend: Backend) -> None:
    guard = Busy()
    with keep_busy(backend, guard) as bridge:
        with ThreadPoolExecutor(100) as threads:
            list(threads.map(lambda _: bridge.check_before_llm("s1", 1), range(200)))
        late = backend.value("budget.decisions", budget__decision="late")
        assert late >= 264
        guard.release.set()
        bridge.record_after_llm("s1", {})  # it is behind them in the queue
        guard.wait_for_records(1)
        assert guard.checks == 64
    assert backend.value("budget.decisions") == late


def test_400_records_that_find_no_free_thread_all_reach_the_guard(backend: Backend) -> None:
    guard = Busy()
    usage = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
    with keep_busy(backend, guard) as bridge:
        with ThreadPoolExecutor(100) as threads:
            list(threads.map(lambda _: bridge.record_after_llm("s1", dict(usage)), range(400)))
        assert guard.records == 0
        assert backend.value("budget.calls") == 400
        guard.release.set()
        guard.wait_for_records(400)
    assert guard.records == 400
    assert backend.value("budget.calls") == 400
    assert backend.value("budget.tokens") == 400 * 120


def test_calls_that_wait_for_a_thread_are_bounded(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("otel_budget.runtime.daemon_threads._MAX_WAITING", 5)
    guard = Busy()
    with keep_busy(backend, guard) as bridge:
        for _ in range(7):
            bridge.record_after_llm("s1", {})
        guard.release.set()
        guard.wait_for_records(5)
        answer = bridge.check_before_llm("s1", 1)
    assert answer == {"decision": "allow"}
    assert guard.records == 5
    assert backend.value("budget.calls") == 7  # what is refused to the guard is still counted


@pytest.mark.parametrize("cancelled", [True, False], ids=["caller cancelled", "caller waits"])
async def test_an_async_record_goes_on_when_nobody_waits_for_it(
    backend: Backend, cancelled: bool
) -> None:
    finished = asyncio.Event()

    class Slow(BudgetGuard):
        async def record_after_llm(self, session_id: str, usage: Any) -> None:
            await asyncio.sleep(0.3)
            finished.set()

    gate = BudgetGate(backend.instrument(Slow()), timeout=0.1)
    task = asyncio.create_task(gate.record_llm("s1", USAGE))
    await asyncio.sleep(0.02)
    if cancelled:
        task.cancel()
    (ended,) = await asyncio.gather(task, return_exceptions=True)
    assert isinstance(ended, asyncio.CancelledError) == cancelled
    assert not finished.is_set()
    assert backend.value("budget.calls") == 1
    await asyncio.wait_for(finished.wait(), 5)
    assert backend.value("budget.calls") == 1


async def test_a_record_that_outlives_its_cancelled_caller_counts_as_recorded(
    backend: Backend,
) -> None:
    class Slow(BudgetGuard):
        async def record_after_llm(self, session_id: str, usage: Any) -> None:
            await asyncio.sleep(0.1)

    task = asyncio.create_task(BudgetGate(backend.instrument(Slow())).record_llm("s1", USAGE))
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert backend.value("budget.guard.duration", budget__decision="recorded") == 1


# -- interrupts ----------------------------------------------------------------------------
@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_makes_a_hit_only_where_it_is_answered(
    backend: Backend, kind: type[BaseException]
) -> None:
    class Interrupted(SyncBudgetGuard):
        def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            raise kind

    guard = backend.instrument(Interrupted())
    seen: list[BudgetThresholdHit] = []
    with pytest.raises(kind):
        BudgetGate(guard, seen, fail="open").check_llm_sync("s1", 1)
    assert not seen
    assert not hits(backend)
    assert not backend.logs()
    with for_a3s(guard) as bridge:
        assert bridge.check_before_llm("s1", 1)["decision"] == "deny"
    assert hits(backend) == {"hard": 1, "soft": 0}
    assert len(backend.logs()) == 1
    assert backend.value("budget.decisions", budget__decision="cancelled") == 2


def test_a_signal_that_raises_in_a_waiting_thread_is_the_hosts(backend: Backend) -> None:
    class AlarmError(Exception):
        pass

    def ring(*_: Any) -> None:
        raise AlarmError

    class Slow(SyncBudgetGuard):
        def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            time.sleep(0.3)
            return Deny(resource="spent", reason="nobody waits")

    before = signal.signal(signal.SIGALRM, ring)
    try:
        with for_a3s(backend.instrument(Slow())) as bridge:
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            with pytest.raises(AlarmError):
                bridge.check_before_llm("s1", 1)
            time.sleep(0.3)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert backend.value("budget.decisions") == 1
    assert not hits(backend)


# -- a guard that is not instrumented, with one inside that is -----------------------------
@pytest.mark.parametrize("how", ["async gate", "async guard", "bridge", "sync gate"])
async def test_a_guard_inside_a_plain_one_is_late_without_a_hit(backend: Backend, how: str) -> None:
    inner = backend.instrument(Spent())
    done = threading.Event()

    class Plain(SyncBudgetGuard):
        def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            time.sleep(0.2)
            answer = inner.check_before_llm(session_id, estimated_prompt_tokens)
            done.set()
            return answer

    class PlainAsync(BudgetGuard):
        async def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            try:
                await asyncio.sleep(20)
            except asyncio.CancelledError:
                inner.check_before_llm(session_id, estimated_prompt_tokens)
                done.set()
                raise

    with pytest.raises(BudgetExhausted):
        if how == "sync gate":
            BudgetGate(Plain(), timeout=0.1).check_llm_sync("s1", 1)
        elif how == "bridge":
            with for_a3s(Plain(), timeout=0.1) as bridge:
                answer = bridge.check_before_llm("s1", 1)
                raise BudgetExhausted(answer["resource"], answer["reason"])
        else:
            guard = PlainAsync() if how == "async guard" else Plain()
            await BudgetGate(guard, timeout=0.1).check_llm("s1", 1)
    await asyncio.get_running_loop().run_in_executor(None, done.wait, 5)
    await asyncio.sleep(0.02)
    assert backend.value("budget.decisions", budget__decision="late") == 1
    assert backend.value("budget.decisions") == 1
    assert not hits(backend)


async def test_what_a_guard_leaves_running_is_not_late_for_its_caller(backend: Backend) -> None:
    inner = backend.instrument(Spent(), name="inner")
    later: list[asyncio.Task[Any]] = []

    class StartsATask(BudgetGuard):
        async def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            async def flush() -> None:
                await asyncio.sleep(0.2)
                inner.check_before_llm(session_id, 1)

            later.append(asyncio.create_task(flush()))
            if estimated_prompt_tokens:
                await asyncio.sleep(20)
            return Allow()

    for guard in (StartsATask(), backend.instrument(StartsATask(), name="outer")):
        gate = BudgetGate(guard, timeout=0.1)
        with pytest.raises(BudgetExhausted):
            await gate.check_llm("s1", 1)  # given up on
        await gate.check_llm("s1", 0)
    await asyncio.gather(*later)
    inner_spans = [s for s in backend.spans() if s.attributes["budget.guard.name"] == "inner"]
    assert [span.attributes["budget.decision"] for span in inner_spans] == ["deny"] * 4
    # Whether the outer guard is instrumented or plain, they are calls of their own.
    assert backend.value("budget.decisions", budget__decision="deny") == 4


async def test_a_check_closed_in_another_context_raises_nothing_of_ours(backend: Backend) -> None:
    class Slow(BudgetGuard):
        async def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            await asyncio.sleep(20)

    for guard in (Slow(), backend.instrument(Slow())):
        check = BudgetGate(guard).check_llm("s1", 1)
        contextvars.copy_context().run(check.send, None)
        check.close()  # raises what it could not reset
    assert backend.value("budget.decisions", budget__decision="cancelled") == 1
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()


# -- levels --------------------------------------------------------------------------------
@pytest.mark.parametrize("asker", [BudgetGate, for_a3s])
def test_a_guard_that_only_a_gate_or_bridge_holds_is_asked_for_its_levels(
    backend: Backend, asker: Any
) -> None:
    class Levels(SyncBudgetGuard):
        def budget_levels(self) -> list[BudgetLevel]:
            return [BudgetLevel("usd", 4.0, 5.0)]

    held = asker(backend.instrument(Levels()))
    gc.collect()
    poll_levels(5)
    assert backend.value("budget.consumed") == 4.0
    del held


# -- durations -----------------------------------------------------------------------------
async def test_a_duration_is_the_guards_own_even_on_a_thread(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = 0.0

    class Slow(SyncBudgetGuard):
        def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            nonlocal own
            start = time.perf_counter()
            time.sleep(0.2)
            own += time.perf_counter() - start
            return Allow()

    gate = BudgetGate(backend.instrument(Slow()))
    monkeypatch.setattr(gate._asker._threads, "_most", 1)
    await asyncio.gather(*(gate.check_llm("s1", 1) for _ in range(3)))
    ((_, point),) = backend.points("budget.guard.duration")
    assert point.count == 3
    # The second waited 0.2 s for the only thread, the third 0.4 s.
    assert own <= point.sum < own + 0.15


async def test_the_duration_of_a_call_given_up_on_is_the_time_waited(backend: Backend) -> None:
    class Hangs(BudgetGuard):
        async def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            await asyncio.sleep(20)

    with pytest.raises(BudgetExhausted):
        await BudgetGate(backend.instrument(Hangs()), timeout=0.1).check_llm("s1", 1)
    ((attributes, point),) = backend.points("budget.guard.duration")
    assert attributes["budget.decision"] == "late"
    assert 0.099 < point.sum < 5


# -- signal handlers -----------------------------------------------------------------------
@pytest.mark.parametrize("directly", [True, False], ids=["guard itself", "same way"])
@pytest.mark.parametrize("how", ["gate", "bridge", "async bridge"])
@pytest.mark.timeout(60)
def test_a_signal_handler_may_ask_at_any_line(backend: Backend, how: str, directly: bool) -> None:
    """A handler asks the same guard at each line of our code: no lock may wait for itself."""

    class Async(BudgetGuard):
        async def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            return Allow()

    guard = backend.instrument(Async() if how == "async bridge" else SyncBudgetGuard())
    gate = BudgetGate(guard) if how == "gate" else None
    bridge = for_a3s(guard)

    def ask() -> None:
        if gate is not None:
            gate.check_llm_sync("s1", 1)
        else:
            bridge.check_before_llm("s1", 1)

    inside = False
    asked = 1

    def handler(frame: Any, event: str, argument: Any) -> Any:
        nonlocal inside, asked
        if "otel_budget" not in frame.f_code.co_filename:
            return None
        if event == "line" and not inside:
            inside = True
            try:
                if directly and how != "async bridge":
                    guard.check_before_llm("s1", 1)
                else:
                    ask()
                asked += 1
            finally:
                inside = False
        return handler

    sys.settrace(handler)
    try:
        ask()
    finally:
        sys.settrace(None)
        bridge.close()
    assert asked > 50
    # A call inside another one makes its own span but counts with the outer one.
    assert len(backend.spans()) == asked
    assert backend.value("budget.telemetry.errors") == 0
