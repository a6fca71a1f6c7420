"""The bridge's threads and loop: overlap, closing, exits and forks."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from typing import Any

import pytest

from otel_budget import Allow, BudgetGuard, SoftLimit, for_a3s
from support.a3s_calls import ALLOW, USAGE, ask, denied, on_bare_threads
from support.backend import Backend
from support.guards import Make
from support.processes import python


# -- threads and loops ---------------------------------------------------------------------
def test_fifty_threads_at_once_lose_nothing(backend: Backend, make: Make) -> None:
    together = threading.Barrier(50)
    script = make.guard(make.soft())
    with for_a3s(backend.instrument(script)) as bridge:

        def turn() -> list[Any]:
            together.wait(10)
            answers = [bridge.check_before_llm("s1", 10), bridge.check_before_tool("s1", "web")]
            bridge.record_after_llm("s1", dict(USAGE))
            return [answer["decision"] for answer in answers]

        assert on_bare_threads(*[turn] * 50) == [["soft", "soft"]] * 50
    assert len(script.asked) == 150
    assert backend.value("budget.decisions", budget__decision="soft_limit") == 100
    assert backend.value("budget.threshold_hits") == 100
    assert backend.value("budget.estimated_tokens") == 500
    assert backend.value("budget.tokens") == 120 * 50


def test_async_guards_overlap_on_one_loop_that_is_started_when_needed() -> None:
    loops: set[Any] = set()
    inside = 0
    most = 0

    class Guard(BudgetGuard):
        async def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            nonlocal inside, most
            loops.add((asyncio.get_running_loop(), threading.current_thread()))
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0.2)
            inside -= 1
            return Allow()

    before = threading.active_count()
    with for_a3s(Guard()) as bridge:
        assert threading.active_count() == before
        on_bare_threads(*[lambda: bridge.check_before_llm("s1", 1)] * 10)
        assert most > 1
        ((loop, thread),) = loops
        assert thread.daemon
    assert loop.is_closed()
    assert not thread.is_alive()


def test_a_guard_cannot_wait_for_itself_on_its_own_loop() -> None:
    class Recursive(BudgetGuard):
        async def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            answer = bridge.check_before_tool(session_id, "web")
            return SoftLimit(resource=answer["reason"], consumed=1.0, limit=1.0)

    with for_a3s(Recursive()) as bridge:
        assert "must not call itself through its bridge" in ask(bridge)["resource"]


def test_a_loop_that_its_guard_has_killed_is_restarted() -> None:
    class Killer(BudgetGuard):
        async def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            async def leave() -> None:
                raise SystemExit

            if estimated_prompt_tokens:
                self.task = asyncio.create_task(leave())
                await asyncio.sleep(20)
            return Allow()

    with for_a3s(Killer(), timeout=2) as bridge:
        assert ask(bridge, 1)["decision"] == "deny"
        for _ in range(100):
            if not any(thread.name == "otel-budget-loop" for thread in threading.enumerate()):
                break
            time.sleep(0.02)
        assert ask(bridge, 0) == ALLOW
        bridge._guard.task = None


# -- closing -------------------------------------------------------------------------------
def test_closing_answers_calls_in_progress_and_later_ones(backend: Backend) -> None:
    begun = threading.Event()
    cleaned = threading.Event()

    class Slow(BudgetGuard):
        async def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            begun.set()
            try:
                await asyncio.sleep(20)
            finally:
                cleaned.set()

    bridge = for_a3s(backend.instrument(Slow()))
    closer = threading.Thread(target=lambda: (begun.wait(5), bridge.close()))
    closer.start()
    assert ask(bridge) == denied(" raised asyncio.exceptions.CancelledError")
    closer.join()
    assert cleaned.is_set()
    assert ask(bridge) == denied(" could not be asked: its bridge has been closed")
    bridge.close()
    assert backend.value("budget.decisions", budget__decision="cancelled") == 1
    assert backend.value("budget.decisions", budget__decision="error") == 1
    assert backend.value("budget.threshold_hits") == 2


def test_closing_answers_a_call_that_the_loop_has_not_begun() -> None:
    begun, release = threading.Event(), threading.Event()

    class BlocksItsLoop(BudgetGuard):
        async def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            begun.set()
            release.wait(20)
            return Allow()

    bridge = for_a3s(BlocksItsLoop(), timeout=20)

    def waits() -> dict[str, Any]:
        begun.wait(20)
        return bridge.check_before_llm("s1", 1)

    def closes() -> None:
        begun.wait(20)
        while not bridge._loop._loop._ready:  # the call that waits  # type: ignore[union-attr]
            time.sleep(0.001)
        threading.Timer(0.05, release.set).start()
        bridge.close()

    start = time.monotonic()
    answers = on_bare_threads(lambda: ask(bridge), waits, closes)
    assert answers[:2] == [ALLOW, denied(" could not be asked: ")]
    assert time.monotonic() - start < 20


def test_a_bridge_that_is_no_longer_referenced_closes_its_loop() -> None:
    threads: list[threading.Thread] = []

    class Guard(BudgetGuard):
        async def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            threads.append(threading.current_thread())
            return Allow()

    bridge = for_a3s(Guard())
    ask(bridge)
    gone = weakref.ref(bridge)
    del bridge
    for _ in range(50):
        gc.collect()
        if gone() is None:
            break
        time.sleep(0.02)
    threads[0].join(5)
    assert not threads[0].is_alive()


@pytest.mark.parametrize("kind", ["async", "sync", "blocking"])
@pytest.mark.parametrize("caller", ["bare", "thread"])
def test_the_interpreter_exits_in_the_middle_of_a_call(kind: str, caller: str) -> None:
    """Bare threads are abandoned at once; a `threading.Thread` is waited for and gets an answer."""
    done = python(
        """
        import _thread, asyncio, sys, threading, time
        from otel_budget import BudgetGuard, SyncBudgetGuard, for_a3s

        begun = threading.Event()

        class Sync(SyncBudgetGuard):
            def check_before_llm(self, session_id, estimated_prompt_tokens):
                begun.set()
                time.sleep(600)

        class Async(BudgetGuard):
            async def check_before_llm(self, session_id, estimated_prompt_tokens):
                begun.set()
                await asyncio.sleep(600)

        class Blocking(BudgetGuard):
            async def check_before_llm(self, session_id, estimated_prompt_tokens):
                begun.set()
                time.sleep(600)

        kind, caller = sys.argv[1:]
        bridge = for_a3s({"async": Async, "sync": Sync, "blocking": Blocking}[kind](), timeout=1)

        def call():
            print(bridge.check_before_llm("s", 1)["resource"], flush=True)

        if caller == "bare":
            _thread.start_new_thread(call, ())
        else:
            threading.Thread(target=call).start()
        begun.wait()
        """,
        kind,
        caller,
        timeout=30,
    )
    if caller == "thread":
        assert done.stdout == "guard_unavailable\n"
        assert done.stderr.strip().endswith("gave no answer within 1 s.")
    else:
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("kind", ["Async", "Sync"])
def test_a_fork_leaves_parent_and_child_each_with_a_working_bridge(kind: str) -> None:
    done = python(
        """
        import asyncio, os, sys, threading, time, warnings
        from otel_budget import Allow, BudgetGuard, SyncBudgetGuard, for_a3s
        warnings.simplefilter("ignore", DeprecationWarning)

        class Async(BudgetGuard):
            async def check_before_llm(self, session_id, estimated_prompt_tokens):
                await asyncio.sleep(estimated_prompt_tokens / 1000)
                return Allow()

        class Sync(SyncBudgetGuard):
            def check_before_llm(self, session_id, estimated_prompt_tokens):
                time.sleep(estimated_prompt_tokens / 1000)
                return Allow()

        bridge = for_a3s({"Async": Async, "Sync": Sync}[sys.argv[1]]())
        bridge.check_before_llm("s", 1)
        under_way = threading.Thread(
            target=lambda: print("thread", bridge.check_before_llm("s", 1000), flush=True)
        )
        under_way.start()
        time.sleep(0.2)
        bridge.check_before_llm("s", 1)  # leaves a thread idle
        # As if another thread held the lock at the moment of the fork.
        held = bridge._loop._lock if sys.argv[1] == "Async" else bridge._asker._threads._lock
        held.acquire()
        child = os.fork()
        if child == 0:
            print("child", bridge.check_before_llm("s", 1), flush=True)
            bridge.close()
            import gc; gc.collect()
            os._exit(0)
        held.release()
        assert os.waitpid(child, 0)[1] == 0
        print("parent", bridge.check_before_llm("s", 1), flush=True)
        under_way.join()
        print("parent", bridge.check_before_llm("s", 1), flush=True)
        """,
        kind,
        timeout=30,
    )
    allowed = "{'decision': 'allow'}"
    assert sorted(done.stdout.splitlines()) == [
        f"child {allowed}",
        f"parent {allowed}",
        f"parent {allowed}",
        f"thread {allowed}",
    ]
    assert done.stderr == ""
