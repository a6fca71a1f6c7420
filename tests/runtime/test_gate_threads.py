"""The gate's threads: the caller's context, hanging guards, forks, and nothing left behind."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import Any

from otel_budget import Allow, BudgetGate, BudgetGuard, SyncBudgetGuard, call_info
from support.backend import Backend
from support.gate_guards import USAGE
from support.processes import python


async def test_a_sync_guard_on_a_thread_has_the_callers_context(backend: Backend) -> None:
    threads = set()

    class Guard(SyncBudgetGuard):
        def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            threads.add(threading.current_thread())
            return Allow()

    gate = BudgetGate(backend.instrument(Guard()))
    tracer = backend.tracer_provider.get_tracer("host")
    with tracer.start_as_current_span("request") as request, call_info(tenant="acme"):
        await gate.check_llm("s1", 1)
    span = backend.span("budget.check_before_llm")
    assert span.parent is not None
    assert span.parent.span_id == request.get_span_context().span_id
    assert backend.value("budget.decisions", budget__tenant="acme", budget__decision="allow") == 1
    assert threading.main_thread() not in threads


async def test_an_abandoned_async_generator_is_reported_when_it_is_collected(
    backend: Backend,
) -> None:
    gate = BudgetGate(backend.instrument(BudgetGuard()))

    async def reply() -> Any:
        async with gate.llm_call("s1", 1) as call:
            yield "chunk"
            call.usage(USAGE)

    async for _ in reply():
        break
    for _ in range(10):
        await asyncio.sleep(0)
    assert backend.value("budget.calls") == 0
    assert backend.value("budget.calls_without_usage", budget__reason="abandoned") == 1


async def test_gates_that_are_gone_leave_no_threads() -> None:
    def threads() -> int:
        return sum(thread.name == "otel-budget-ask" for thread in threading.enumerate())

    gc.collect()
    before = threads()
    for _ in range(20):
        await BudgetGate(SyncBudgetGuard()).check_llm("s1", 1)
    for _ in range(100):
        if threads() <= before:
            break
        gc.collect()
        await asyncio.sleep(0.05)
    assert threads() <= before


def test_a_hanging_sync_guard_holds_up_neither_the_loop_nor_the_exit() -> None:
    done = python(
        """
        import asyncio, time
        from otel_budget import Allow, BudgetExhausted, BudgetGate, SyncBudgetGuard

        class Hangs(SyncBudgetGuard):
            def check_before_llm(self, session_id, estimated_prompt_tokens):
                time.sleep(600)

        async def main():
            try:
                await BudgetGate(Hangs(), timeout=0.1).check_llm("s", 1)
            except BudgetExhausted as refused:
                print(refused)

        asyncio.run(main())
        """,
        timeout=30,
    )
    assert done.stdout == (
        "Budget exhausted on 'guard_unavailable': the budget guard gave no answer within 0.1 s\n"
    )


def test_threads_are_restarted_after_a_fork() -> None:
    done = python(
        """
        import asyncio, os, warnings
        from otel_budget import BudgetGate, SyncBudgetGuard
        warnings.simplefilter("ignore", DeprecationWarning)

        gate = BudgetGate(SyncBudgetGuard(), timeout=5)
        asyncio.run(gate.check_llm("s", 1))
        child = os.fork()
        if child == 0:
            print(repr(asyncio.run(gate.check_llm("s", 1))), flush=True)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        """,
        timeout=30,
    )
    assert done.stdout == "Allow()\n"
