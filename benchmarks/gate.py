"""What the gate and the a3s bridge add to asking the guard directly, in microseconds per call.

The guard answers at once and is not instrumented, so only the asking is measured. A direct call
takes well under a microsecond, so the difference is more useful than the ratio.

A guard on a thread of its own costs two wake-ups of a sleeping thread, which are the machine's:
a few microseconds if both threads run on one CPU, 30 and more each if one wakes the idle CPU of a
virtual machine. The bare hand-over beside it, with the cheapest means that there are, shows which.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from queue import SimpleQueue
from typing import Any

from benchmarks.adapter import USAGE, Guard
from benchmarks.measure import compare
from otel_budget import Allow, BudgetGate, BudgetGuard, for_a3s

#: Calls in one timing, and awaits in one run of the loop.
_CALLS, _BATCH = 200, 50
#: The most that a way to ask may add to the guard, in microseconds.
_GOALS = {
    "gate, `with`": 11.6,
    "gate, in a task with a deadline": 25.0,
    "gate, sync guard on a thread": 60.0,
}


class AsyncGuard(BudgetGuard):
    """Answers as fast as an async guard can."""

    answer = Allow()

    async def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Allow:
        return self.answer


class HandOver:
    """One thread that hands back whatever it is handed: no context, deadline or failure."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    async def from_a_loop(self) -> None:
        """Wait for the thread on the running loop."""
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        self._jobs.put(lambda: loop.call_soon_threadsafe(done.set_result, None))
        await done

    def from_a_thread(self) -> None:
        """Wait for the thread on this one."""
        done: SimpleQueue[None] = SimpleQueue()
        self._jobs.put(lambda: done.put(None))
        done.get()

    def close(self) -> None:
        """End the thread."""
        self._jobs.put(None)


def calls() -> None:
    """Compare every way to ask with the direct one."""
    print("\nAsking through gate and bridge (microseconds per call; the guard answers at once)")
    sync_guard, async_guard, hand_over = Guard(), AsyncGuard(), HandOver()
    gate = BudgetGate(sync_guard)

    def whole() -> None:
        with gate.llm_call("s", 4_808) as call:
            call.usage(USAGE)

    def whole_by_hand() -> None:
        sync_guard.check_before_llm("s", 4_808)
        sync_guard.record_after_llm("s", USAGE)

    with for_a3s(sync_guard) as bridge, for_a3s(async_guard) as async_bridge:
        _show(
            "sync guard, direct",
            lambda: sync_guard.check_before_llm("s", 4_808),
            {
                "gate, on the same thread": lambda: gate.check_llm_sync("s", 4_808),
                "bridge, on a thread of its own": lambda: bridge.check_before_llm("s", 4_808),
                "a thread, bare hand-over": hand_over.from_a_thread,
            },
        )
        _show("sync guard, check and record, direct", whole_by_hand, {"gate, `with`": whole})
        _on_a_loop(sync_guard, async_guard, hand_over)
        with asyncio.Runner() as runner:
            _show(
                "async guard, by asyncio.Runner.run",
                lambda: runner.run(async_guard.check_before_llm("s", 4_808)),
                {"bridge, on its loop": lambda: async_bridge.check_before_llm("s", 4_808)},
            )
    hand_over.close()
    names = [thread.name for thread in threading.enumerate()]
    alive = [name for name in names if name == "otel-budget-loop"]
    assert not alive, alive


def _on_a_loop(sync_guard: Guard, async_guard: AsyncGuard, hand_over: HandOver) -> None:
    gates = {"async": BudgetGate(async_guard), "sync": BudgetGate(sync_guard)}
    with asyncio.Runner() as runner:

        def batch(ask: Callable[[], Awaitable[Any]]) -> Callable[[], None]:
            async def ask_all() -> None:
                for _ in range(_BATCH):
                    await ask()

            return lambda: runner.run(ask_all())

        _show(
            "async guard, awaited directly",
            batch(lambda: async_guard.check_before_llm("s", 4_808)),
            {
                "gate, in a task with a deadline": batch(lambda: gates["async"].check_llm("s", 9)),
                "gate, sync guard on a thread": batch(lambda: gates["sync"].check_llm("s", 9)),
                "a thread, bare hand-over": batch(hand_over.from_a_loop),
            },
            _BATCH,
        )


def _show(
    what: str,
    direct: Callable[[], object],
    candidates: dict[str, Callable[[], object]],
    batch: int = 1,
) -> None:
    base, rows = compare(direct, candidates, rounds=15, calls=max(10, _CALLS // batch))
    print(f"  {what}: {base / batch:.2f} us")
    for name, row in rows.items():
        added, goal = (row.microseconds - base) / batch, _GOALS.get(name)
        verdict = ""
        if goal is not None:
            verdict = f"  goal {goal:g} over the guard: {'met' if added <= goal else 'MISSED'}"
        print(f"    {name:32} {row.microseconds / batch:6.1f} us{verdict}")
