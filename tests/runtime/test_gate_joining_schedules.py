"""Bodies that join their session's trace, whoever ends them, where and in which order.

Each schedule is one under which a plain attach and detach logs an error, or leaves a session's root
current. The fixture asserts that nothing is logged and that a guard's spans stand in their session.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextvars import copy_context
from typing import Any

import pytest
from opentelemetry import baggage
from opentelemetry.context import attach, detach, get_current

from otel_budget import BudgetGate
from otel_budget.runtime.joining import JoinedBody
from support.processes import python
from support.session_traces import USAGE, SessionTraces, context_unchanged, nothing_is_current


def stream(
    traces: SessionTraces, gate: BudgetGate, session: str, chunks: int = 3
) -> Generator[int, None, None]:
    """A stream as a sync client gives it, each chunk with a span `SESSION`."""
    with gate.llm_call(session, 1) as call:
        for number in range(chunks):
            with traces.model(session):
                pass
            yield number
        call.usage(USAGE)


async def async_stream(
    traces: SessionTraces, gate: BudgetGate, session: str, chunks: int = 3
) -> AsyncGenerator[int, None]:
    """The same, asynchronous."""
    async with gate.llm_call(session, 1) as call:
        for number in range(chunks):
            with traces.model(session):
                await asyncio.sleep(0)
            yield number
        call.usage(USAGE)


def in_a_thread(work: Callable[[], Any]) -> None:
    failures: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]


async def in_a_task(work: Coroutine[Any, Any, Any]) -> None:
    await asyncio.create_task(work)


def next_body_leaves(traces: SessionTraces, gate: BudgetGate, before: object) -> None:
    """Assert that nothing leads into a session, and that the next body restores the context."""
    assert nothing_is_current()
    with traces.model("outside"):
        pass
    assert traces.named("outside").parent is None
    with gate.tool_call("next", "t"), traces.model("next"):
        pass
    assert traces.sessions("next") == ["next"]
    assert get_current() is before


# -- streams that their consumer ends ------------------------------------------------------
def test_a_stream_that_is_read_to_its_end(traces: SessionTraces) -> None:
    gate = traces.gate()
    with context_unchanged():
        assert list(stream(traces, gate, "s1")) == [0, 1, 2]
    assert traces.sessions("s1") == ["s1"] * 3
    assert traces.sessions("budget.record_after_llm") == ["s1"]


async def test_an_async_stream_that_is_abandoned(traces: SessionTraces) -> None:
    with context_unchanged():
        chunks = async_stream(traces, traces.gate(), "s1")
        await anext(chunks)
        await chunks.aclose()
    assert traces.sessions("s1") == ["s1"]


# -- streams that somebody else ends -------------------------------------------------------
async def test_an_async_generator_closed_by_another_task(traces: SessionTraces) -> None:
    gate, before = traces.gate(), get_current()
    chunks = async_stream(traces, gate, "s1")
    task_before: list[object] = []

    async def close() -> None:
        with context_unchanged():
            await chunks.aclose()

    closer_may = asyncio.Event()

    async def close_later() -> None:
        """Began before the stream, so it has a context of its own."""
        task_before.append(get_current())
        await closer_may.wait()
        await close()
        assert get_current() is task_before[0]

    closer = asyncio.create_task(close_later())
    await asyncio.sleep(0)
    await anext(chunks)
    closer_may.set()
    await closer
    assert traces.sessions("s1") == ["s1"]
    next_body_leaves(traces, gate, before)


async def test_an_async_generator_closed_by_a_task_that_began_in_its_body(
    traces: SessionTraces,
) -> None:
    gate, before = traces.gate(), get_current()
    chunks = async_stream(traces, gate, "s1")
    await anext(chunks)

    async def close() -> None:
        await chunks.aclose()
        assert get_current() is before

    await in_a_task(close())
    next_body_leaves(traces, gate, before)


async def test_an_async_generator_read_by_one_task_after_another(traces: SessionTraces) -> None:
    gate, before = traces.gate(), get_current()
    chunks = async_stream(traces, gate, "s1", 4)

    async def read() -> None:
        await anext(chunks)

    await in_a_task(read())
    await in_a_task(read())  # with a context that has no body
    await anext(chunks)
    await chunks.aclose()
    assert get_current() is before
    assert traces.sessions("s1")[0] == "s1"


def test_a_sync_generator_closed_by_another_thread(traces: SessionTraces) -> None:
    gate, before = traces.gate(), get_current()
    chunks = stream(traces, gate, "s1")
    next(chunks)

    def close() -> None:
        with context_unchanged():
            chunks.close()

    in_a_thread(close)
    assert traces.sessions("s1") == ["s1"]
    next_body_leaves(traces, gate, before)


def test_a_sync_generator_closed_by_a_thread_with_a_copy_of_the_context(
    traces: SessionTraces,
) -> None:
    gate, before = traces.gate(), get_current()
    chunks = stream(traces, gate, "s1")
    next(chunks)
    copied = copy_context()

    def close() -> None:
        chunks.close()
        assert get_current() is before

    in_a_thread(lambda: copied.run(close))
    next_body_leaves(traces, gate, before)


@pytest.mark.parametrize("elsewhere", [False, True], ids=["its consumer", "another thread"])
def test_a_generator_that_the_collector_finalizes(traces: SessionTraces, elsewhere: bool) -> None:
    gate, before = traces.gate(), get_current()
    chunks = stream(traces, gate, "s1")
    next(chunks)
    cycle: list[Any] = [chunks]
    cycle.append(cycle)
    gc.disable()
    try:
        del chunks, cycle
        if elsewhere:
            in_a_thread(gc.collect)
        else:
            gc.collect()
            assert get_current() is before
    finally:
        gc.enable()
    assert traces.sessions("s1") == ["s1"]
    next_body_leaves(traces, gate, before)


def test_a_generator_finalized_in_the_body_of_another(traces: SessionTraces) -> None:
    gate = traces.gate()
    with context_unchanged():
        chunks = stream(traces, gate, "s1")
        next(chunks)
        with gate.llm_call("s2", 1) as call:
            del chunks
            with traces.model():
                pass
            call.usage(USAGE)
    assert traces.sessions("chat") == ["s2"]


async def test_an_async_generator_that_the_loop_finalizes(traces: SessionTraces) -> None:
    gate, before = traces.gate(), get_current()
    chunks = async_stream(traces, gate, "s1")
    await anext(chunks)
    del chunks  # the loop closes it in a task of its own
    for _ in range(5):
        await asyncio.sleep(0)
    next_body_leaves(traces, gate, before)


def test_an_async_generator_that_is_left_to_the_end_of_the_loop(traces: SessionTraces) -> None:
    gate, before = traces.gate(), get_current()
    left: list[Any] = []

    async def main() -> None:
        left.append(async_stream(traces, gate, "s1"))
        await anext(left[0])

    asyncio.run(main())
    assert get_current() is before
    next_body_leaves(traces, gate, before)


# -- bodies that overlap in one task -------------------------------------------------------
def test_two_streams_consumed_in_turn(traces: SessionTraces) -> None:
    gate = traces.gate()
    with context_unchanged():
        for _ in zip(stream(traces, gate, "s1"), stream(traces, gate, "s2", 4), strict=False):
            pass
    # Their spans can stand in the other's trace, the guard's own cannot.
    assert set(traces.sessions("s1") + traces.sessions("s2")) == {"s1", "s2"}
    assert traces.sessions("budget.record_after_llm") == ["s1"]


async def test_two_async_streams_consumed_in_turn(traces: SessionTraces) -> None:
    gate = traces.gate()
    with context_unchanged():
        first, second = async_stream(traces, gate, "s1"), async_stream(traces, gate, "s2")
        for _ in range(3):
            await anext(first)
            await anext(second)
        assert [await anext(chunks, None) for chunks in (first, second)] == [None, None]
    assert traces.sessions("budget.record_after_llm") == ["s1", "s2"]


async def test_streams_in_tasks_of_their_own_stay_apart(traces: SessionTraces) -> None:
    gate = traces.gate()

    async def read(session: str) -> None:
        async for _ in async_stream(traces, gate, session, 20):
            await asyncio.sleep(0)

    with context_unchanged():
        await asyncio.gather(*(read(f"s{number}") for number in range(5)))
    for number in range(5):
        assert traces.sessions(f"s{number}") == [f"s{number}"] * 20


@pytest.mark.parametrize("order", list(itertools.permutations((0, 1, 2))), ids=str)
def test_bodies_left_in_any_order(traces: SessionTraces, order: tuple[int, ...]) -> None:
    gate = traces.gate()
    bodies = [gate.tool_call(f"s{number}", "t") for number in range(3)]
    with context_unchanged():
        for number, body in enumerate(bodies):
            body.__enter__()
            with traces.model(f"begins {number}"):
                pass
        still_open = [0, 1, 2]
        for number in order:
            bodies[number].__exit__(None, None, None)
            still_open.remove(number)
            if still_open:
                with traces.model(f"after {number}"):
                    pass
                assert traces.sessions(f"after {number}") == [f"s{still_open[-1]}"]
    for number in range(3):
        assert traces.sessions(f"begins {number}") == [f"s{number}"]


def test_baggage_between_bodies_stays_the_hosts(traces: SessionTraces) -> None:
    gate = traces.gate()
    outer, inner = gate.tool_call("s1", "t"), gate.tool_call("s2", "t")
    with context_unchanged():
        outer.__enter__()
        token = attach(baggage.set_baggage("user", "u1"))
        inner.__enter__()
        outer.__exit__(None, None, None)
        assert baggage.get_baggage("user") == "u1"
        inner.__exit__(None, None, None)
        assert baggage.get_baggage("user") == "u1"
        assert nothing_is_current()
        detach(token)
        next_in = gate.tool_call("s3", "t")
        with next_in:
            pass


@pytest.mark.parametrize("with_baggage", [False, True], ids=["plain", "with baggage"])
def test_streams_that_always_overlap_keep_no_bodies(
    traces: SessionTraces, with_baggage: bool
) -> None:
    gate = traces.gate()
    open_body = gate.tool_call("s", "t")
    open_body.__enter__()
    for number in range(300):
        if with_baggage:
            attach(baggage.set_baggage("number", str(number)))
        following = gate.tool_call("s", "t")
        following.__enter__()
        open_body.__exit__(None, None, None)
        open_body = following
    gc.collect()
    kept = sum(isinstance(item, JoinedBody) for item in gc.get_objects())
    open_body.__exit__(None, None, None)
    assert kept <= 3
    assert nothing_is_current()


def test_a_deep_pile_of_bodies_can_be_left_from_below(traces: SessionTraces) -> None:
    gate = traces.gate()
    with context_unchanged():
        bodies = [gate.tool_call("s", "t") for _ in range(3_000)]
        for body in bodies:
            body.__enter__()
        for body in reversed(bodies[:-1]):
            body.__exit__(None, None, None)
        bodies[-1].__exit__(None, None, None)


# -- tasks and threads that a body starts --------------------------------------------------
async def test_a_task_that_outlives_the_body_joins_it_no_more(traces: SessionTraces) -> None:
    gate, before = traces.gate(), get_current()
    over = asyncio.Event()

    async def work() -> None:
        with traces.model("in the body"):
            await asyncio.sleep(0)
        await over.wait()
        with traces.model("afterwards"):
            pass
        async with gate.llm_call("s2", 1):
            with traces.model("in its own"):
                pass
        assert get_current() is before
        with traces.model("at last"):
            pass

    with context_unchanged():
        async with gate.tool_call("s1", "t"):
            task = asyncio.create_task(work())
            await asyncio.sleep(0.01)
        over.set()
        await task
    assert traces.sessions("in the body") == ["s1"]
    assert traces.sessions("in its own") == ["s2"]
    for name in ("afterwards", "at last"):
        assert traces.named(name).parent is None


async def test_a_body_that_outlives_the_one_around_it_leaves_nothing_behind(
    traces: SessionTraces,
) -> None:
    gate, before = traces.gate(), get_current()
    over = asyncio.Event()

    async def work() -> None:
        async with gate.tool_call("s2", "t"):
            await over.wait()
            with traces.model("within"):
                pass
        assert get_current() is before  # not the body around it, which is over

    async with gate.tool_call("s1", "t"):
        task = asyncio.create_task(work())
        await asyncio.sleep(0.01)
    over.set()
    await task
    assert traces.sessions("within") == ["s2"]


async def test_a_task_that_outlives_a_body_within_another(traces: SessionTraces) -> None:
    gate = traces.gate()
    over = asyncio.Event()

    async def work() -> None:
        await over.wait()
        with traces.model():
            pass

    async with gate.tool_call("s1", "t"):
        async with gate.tool_call("s2", "t"):
            task = asyncio.create_task(work())
            await asyncio.sleep(0)
        over.set()
        await task
    assert traces.sessions("chat") == ["s1"]


def test_threads_that_a_body_starts(traces: SessionTraces) -> None:
    gate = traces.gate()

    def work(name: str, session: str) -> None:
        with context_unchanged(), gate.llm_call(session, 1), traces.model(name):
            pass

    with context_unchanged(), gate.tool_call("s1", "t"):
        in_a_thread(lambda: work("same", "s1"))
        in_a_thread(lambda: work("other", "s2"))
        copied = copy_context()
        in_a_thread(lambda: copied.run(work, "copied", "s2"))
    assert traces.sessions("same") == ["s1"]
    assert traces.sessions("other") == traces.sessions("copied") == ["s2"]


def test_a_thread_that_outlives_the_body(traces: SessionTraces) -> None:
    gate, before = traces.gate(), get_current()
    with gate.tool_call("s1", "t"):
        copied = copy_context()

    def outlive() -> None:
        assert get_current() is not before
        next_body_leaves(traces, gate, before)

    in_a_thread(lambda: copied.run(outlive))


def test_a_fork_in_a_body() -> None:
    done = python("""
    import os, warnings
    warnings.simplefilter("ignore", DeprecationWarning)  # 3.12: forking a process with threads
    from opentelemetry import trace
    from opentelemetry.context import get_current
    from opentelemetry.sdk.trace import TracerProvider
    from otel_budget import BudgetGate, instrument
    from support.guards import SyncScript

    # Real spans, not exported: the lock of an in-memory exporter does not survive a fork.
    trace.set_tracer_provider(TracerProvider(shutdown_on_exit=False))
    gate = BudgetGate(instrument(SyncScript({"decision": "allow"}), prices=None))
    model, before = trace.get_tracer("model"), get_current()

    def trace_of_a_span():
        with model.start_as_current_span("chat") as span:
            return span.get_span_context().trace_id, span.parent

    with gate.tool_call("s1", "t"):
        outer, _ = trace_of_a_span()
        child = os.fork()
        assert trace_of_a_span()[0] == outer
        with gate.tool_call("s2", "t"):
            assert trace_of_a_span()[0] != outer
        with gate.tool_call("s1", "t"):
            assert trace_of_a_span()[0] == outer
        assert trace_of_a_span()[0] == outer
    assert get_current() is before
    assert trace_of_a_span()[1] is None
    if child == 0:
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    """)
    assert done.stderr == ""
