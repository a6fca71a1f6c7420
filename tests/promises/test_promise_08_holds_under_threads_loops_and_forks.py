"""Promise 8: threads, loops, forks and any number of guards; nothing is lost, memory is bounded.

Each fork test runs in an interpreter of its own; an alarm ends a child that hangs.
"""

from __future__ import annotations

import asyncio
import gc
import os
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from opentelemetry import trace

from otel_budget import Allow, BudgetGuard, FlatRates, SessionInfo, call_info
from support.backend import Backend
from support.guards import METHODS, AsyncScript, Make, SyncScript, run
from support.processes import python


# -- threads, loops, memory ----------------------------------------------------------------
def test_promise_8_fifty_threads_lose_nothing(backend: Backend, make: Make) -> None:
    guard = backend.instrument(
        make.guard(make.soft()), prices=FlatRates(1, 0), session_info=SessionInfo(model="m")
    )
    start = threading.Barrier(50)

    def calls(thread: int) -> None:
        start.wait()
        for number in range(20):
            with call_info(tenant=f"t{thread % 7}"):
                for method in METHODS:
                    make.call(guard, method, *make.arguments(method, f"s{number % 4}"))

    with ThreadPoolExecutor(50) as pool:
        list(pool.map(calls, range(50)))
    assert backend.value("budget.decisions", budget__decision="soft_limit") == 2_000
    assert backend.value("budget.threshold_hits", budget__kind="soft") == 2_000
    assert backend.value("budget.calls") == 1_000
    assert backend.value("budget.tokens") == 120_000
    assert backend.value("budget.cost") == pytest.approx(0.1)
    assert backend.value("budget.guard.duration") == 3_000
    assert backend.value("budget.telemetry.errors") == 0
    assert len(backend.spans()) == 3_000
    assert len(backend.roots()) == 4
    totals = [s.attributes["budget.session.tokens"] for s in backend.spans()]
    assert max(totals) == 250 * 120


def test_promise_8_one_guard_serves_many_loops(backend: Backend) -> None:
    guard = backend.instrument(AsyncScript({"decision": "allow"}))

    def loop(_: int) -> None:
        async def host() -> None:
            await asyncio.gather(*(guard.check_before_llm(f"s{i}", 1) for i in range(10)))

        run(host())

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(loop, range(8)))
    assert backend.value("budget.decisions", budget__decision="allow") == 80


def test_promise_8_interleaved_tasks_keep_their_own_spans(backend: Backend) -> None:
    seen: dict[str, int] = {}

    class Guard(BudgetGuard):
        async def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            for _ in range(5):
                await asyncio.sleep(0)
            seen[session_id] = trace.get_current_span().get_span_context().span_id
            return Allow()

    guard = backend.instrument(Guard())

    async def host() -> None:
        await asyncio.gather(*(guard.check_before_llm(f"s{i}", 1) for i in range(20)))
        assert not trace.get_current_span().get_span_context().is_valid

    run(host())
    spans = {s.attributes["session.id"]: s.context.span_id for s in backend.spans()}
    assert spans == seen


def test_promise_8_ten_thousand_short_lived_guards_leave_only_their_counts(
    backend: Backend,
) -> None:
    from otel_budget.telemetry.settings import GuardSettings

    class Levels(SyncScript):
        def budget_levels(self) -> list[Any]:
            return []

    def alive() -> int:
        gc.collect()
        return sum(type(item) in {GuardSettings, Levels} for item in gc.get_objects())

    before = alive()
    for number in range(10_000):
        guard = backend.instrument(Levels({"decision": "allow"}), name=f"g{number % 3}")
        guard.check_before_llm("s", 1)
    del guard
    assert alive() <= before
    assert backend.value("budget.decisions", budget__decision="allow") == 10_000
    assert backend.value("budget.guard.duration") == 10_000
    assert len(backend.points("budget.decisions")) == 7


def test_promise_8_sessions_are_bounded(backend: Backend) -> None:
    from otel_budget.telemetry.sessions import MAX_SESSIONS
    from otel_budget.telemetry.settings import Destination

    guard = backend.instrument(SyncScript({"decision": "allow"}))
    destination = object.__getattribute__(guard, "_otel_budget_settings").destination
    assert isinstance(destination, Destination)
    assert MAX_SESSIONS == 10_000
    sessions = destination.hub.sessions
    for number in range(11_000):
        sessions.spend((None, f"s{number}"), 0.1, 1)
    assert len(sessions._sessions) == 10_000


def test_promise_8_with_traces_and_no_metrics_no_span_is_kept() -> None:
    python("""
import gc
from opentelemetry import metrics, trace
from support.backend import Backend
from support.guards import SyncScript
from otel_budget import instrument

b = Backend()
trace.set_tracer_provider(b.tracer_provider)
guard = instrument(SyncScript({"decision": "allow"}), prices=None)
def call(n):
    for _ in range(n):
        guard.check_before_llm("s", 1)
def spans():
    gc.collect()
    return sum(type(item).__name__ == "_Span" for item in gc.get_objects())

call(1_000)
b.span_exporter.clear()
assert spans() == 0, spans()
metrics.set_meter_provider(b.meter_provider)
assert b.value("budget.guard.duration") == b.value("budget.decisions") == 1_000
call(10)  # these have their spans, for exemplars
assert spans() == 10, spans()
assert b.value("budget.guard.duration") == b.value("budget.decisions") == 1_010
""")


# -- forks ---------------------------------------------------------------------------------
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")

PRELUDE = """
import json, os, signal, sys, threading, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # 3.12: forking a process with threads
from support.backend import Backend
from support.guards import SyncScript
from otel_budget import BudgetLevel, FlatRates, instrument
from otel_budget.telemetry.hubs import hub_for
import otel_budget.telemetry.hubs as hubs
backend = Backend()
USAGE = {"prompt_tokens": 10, "completion_tokens": 1, "total_tokens": 11}
class Guard(SyncScript):
    def budget_levels(self):
        return [BudgetLevel("usd", 1, 2)]
# Real spans, not exported: the lock of an in-memory exporter does not survive a fork.
from opentelemetry.sdk.trace import TracerProvider
SPANS = TracerProvider(shutdown_on_exit=False)
guard = backend.instrument(
    Guard({"decision": "allow"}), prices=FlatRates(0, 1), tracer_provider=SPANS)
hub = hub_for(backend.meter_provider)

def calls(n):
    for i in range(n):
        guard.check_before_llm(f"s{i % 5}", 1)
        guard.record_after_llm(f"s{i % 5}", USAGE)

def totals():
    return {name: backend.value(name) for name in
            ("budget.decisions", "budget.calls", "budget.tokens", "budget.telemetry.errors")}

def exactly(n):
    return {"budget.decisions": n, "budget.calls": n, "budget.tokens": 11 * n,
            "budget.telemetry.errors": 0}

def fork(child):
    '''Run `child` in a forked process for up to 30 seconds. Returns the process id.'''
    pid = os.fork()
    if pid:
        return pid
    signal.alarm(30)
    code = 1
    try:
        child()
        code = 0
    except BaseException:
        import traceback
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)

def joined(pid):
    _, status = os.waitpid(pid, 0)
    assert status == 0, ("the child hung" if os.WIFSIGNALED(status) else "the child failed", status)
"""


def _run(case: str) -> None:
    python(PRELUDE + textwrap.dedent(case), timeout=90)


@forks
def test_promise_8_a_child_starts_from_zero_and_the_parent_goes_on() -> None:
    _run(
        """
        calls(7)
        def child():
            calls(3)
            assert totals() == exactly(3), totals()
            def grandchild():
                calls(2)
                assert totals() == exactly(2), totals()
            joined(fork(grandchild))
            calls(1)
            assert totals() == exactly(4), totals()
        pid = fork(child)
        calls(5)
        joined(pid)
        assert totals() == exactly(12), totals()
        """
    )


@forks
@pytest.mark.parametrize("durations", [8_192, 40], ids=["default queue", "small queue"])
def test_promise_8_forks_under_load_lose_nothing_and_count_nothing_twice(durations: int) -> None:
    """While a drain passes queued durations to the SDK, no fork may happen."""
    _run(
        f"""
        import otel_budget.telemetry.hub
        otel_budget.telemetry.hub.MAX_DURATIONS = {durations}
        def counts():  # durations that do not fit into a small queue are telemetry errors
            return {{k: v for k, v in totals().items() if k != "budget.telemetry.errors"}}
        def right(n):
            return {{k: v for k, v in exactly(n).items() if k != "budget.telemetry.errors"}}
        done, stop = [0] * 6, threading.Event()
        def load(k):
            while not stop.is_set():
                calls(1)
                done[k] += 1
        threads = [threading.Thread(target=load, args=(k,), daemon=True) for k in range(6)]
        sys.setswitchinterval(0.0001)   # makes forks happen in the middle of things
        for thread in threads: thread.start()
        def child():
            calls(20)
            assert counts() == right(20), counts()
        for _ in range(25):
            joined(fork(child))
        stop.set()
        for thread in threads: thread.join()
        assert sum(done) > 0
        assert counts() == right(sum(done)), (counts(), sum(done))
        """
    )


@forks
def test_promise_8_a_fork_in_the_middle_of_another_threads_tally() -> None:
    _run(
        """
        tallies = hub.tallies
        from otel_budget import semconv
        from otel_budget.telemetry.metrics.series import NO_LABELS
        within, go_on = threading.Event(), threading.Event()
        def additions():
            key = (NO_LABELS, "llm", "allow")
            yield tallies.cell(semconv.METRIC_DECISIONS, *key), 1
            within.set(); go_on.wait(30)
            yield tallies.cell(semconv.METRIC_DECISIONS, *key), 1
        thread = threading.Thread(target=tallies.add, args=(additions(),))
        thread.start()
        assert within.wait(10)
        def child():
            calls(4)
            assert totals() == exactly(4), totals()
        joined(fork(child))
        go_on.set(); thread.join()
        calls(1)
        assert backend.value("budget.decisions") == 3
        """
    )


@forks
def test_promise_8_a_fork_in_the_middle_of_its_own_tally() -> None:
    """As in a signal handler: the child goes on adding, to the parent's tallies."""
    _run(
        """
        tallies = hub.tallies
        from otel_budget import semconv
        from otel_budget.telemetry.metrics.series import NO_LABELS
        calls(2)
        pids = []
        def additions():
            key = (NO_LABELS, "llm", "allow")
            yield tallies.cell(semconv.METRIC_DECISIONS, *key), 1
            pids.append(os.fork())
            yield tallies.cell(semconv.METRIC_DECISIONS, *key), 1
        tallies.add(additions())
        if not pids[0]:
            signal.alarm(30)
            try:
                calls(3)
                os._exit(totals() != exactly(3))
            finally:
                os._exit(1)
        joined(pids[0])
        assert backend.value("budget.decisions") == 4
        assert backend.value("budget.calls") == 2
        """
    )


@forks
@pytest.mark.parametrize(
    "lock",
    [
        "hub.tallies._lock",
        "hub.sessions._lock",
        "hub.levels._lock",
        "hub.poller._lock",
        "hub.poller._polling",
        "hubs._registry.lock.current",
    ],
)
def test_promise_8_a_lock_held_at_the_fork_hangs_no_child(lock: str) -> None:
    _run(
        f"""
        held, release = threading.Event(), threading.Event()
        def hold():
            with {lock}:
                held.set(); release.wait(60)
        thread = threading.Thread(target=hold, daemon=True)
        thread.start()
        assert held.wait(10)
        def child():
            from otel_budget.telemetry.hubs import poll_levels
            guard.answer = {{"decision": "soft", "resource": "r", "consumed": 1, "limit": 2}}
            calls(3)
            poll_levels()
            again = backend.instrument(SyncScript({{"decision": "allow"}}))
            again.check_before_llm("s", 1)
            assert backend.value("budget.decisions") == 4, totals()
            resources = {{a["budget.resource"] for a, _ in backend.series("budget.consumed")}}
            assert resources == {{"usd"}}, resources
        joined(fork(child))
        release.set(); thread.join()
        """
    )


@forks
def test_promise_8_the_childs_guards_are_asked_for_their_levels() -> None:
    _run(
        """
        def wait_for_levels():
            deadline = time.monotonic() + 20
            while not backend.series("budget.consumed"):
                assert time.monotonic() < deadline, "the guard is not asked"
                time.sleep(0.02)
            return True
        assert wait_for_levels()
        joined(fork(wait_for_levels))
        """
    )


@forks
def test_promise_8_a_fork_during_a_collection_hangs_no_call_of_the_child() -> None:
    """The SDK's own lock stays held in the child, which exports nothing but works."""
    _run(
        """
        collecting, release = threading.Event(), threading.Event()
        def hang(_):
            collecting.set(); release.wait(60)
            return []
        backend.meter_provider.get_meter("foreign").create_observable_counter("x", [hang])
        thread = threading.Thread(target=backend.collect)
        thread.start()
        assert collecting.wait(10)
        joined(fork(lambda: calls(50)))
        release.set(); thread.join()
        """
    )


@forks
def test_promise_8_a_fork_inside_a_guard_counts_in_both() -> None:
    _run(
        """
        pids = []
        class Forking(SyncScript):
            def check_before_llm(self, session_id, tokens):
                pids.append(os.fork())
        forking = backend.instrument(Forking())
        forking.check_before_llm("s", 1)
        if not pids[0]:
            signal.alarm(30)
            try:
                calls(2)
                os._exit(backend.value("budget.decisions") != 3)
            finally:
                os._exit(1)
        joined(pids[0])
        assert backend.value("budget.decisions") == 1
        """
    )


def test_every_living_owner_is_renewed_in_a_child_even_if_another_fails() -> None:
    python(
        """
        import gc, os, sys
        from otel_budget.forks import RenewedLock, renew_in_child
        class Owner:
            __hash__ = None  # as in a class that defines __eq__
            def __init__(self, fails=False):
                self.fails, self.renewed = fails, 0
                renew_in_child(self)
            def after_fork(self):
                self.renewed += 1
                renew_in_child(self)  # a second time changes nothing
                self.others = [RenewedLock() for _ in range(100)]
                if self.fails:
                    raise RuntimeError("no thread to be had")
        owners = [Owner(), Owner(fails=True), Owner()]
        gone = Owner(); del gone; gc.collect()
        unraisable = []
        sys.unraisablehook = unraisable.append
        pid = os.fork()
        if not pid:
            os._exit([owner.renewed for owner in owners] != [1, 1, 1] or len(unraisable) != 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert [owner.renewed for owner in owners] == [0, 0, 0]
        """
    )


def test_a_lock_taken_before_a_fork_is_released_after_it() -> None:
    python(
        """
        import os
        from otel_budget.forks import RenewedLock
        lock = RenewedLock()
        with lock.current:
            before = lock.current
            with lock.current:  # reentrant
                pid = os.fork()
        if not pid:
            with lock.current:
                os._exit(lock.current is before)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert lock.current is before
        """
    )
