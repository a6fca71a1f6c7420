"""The window guard: one suite for its sync and its async version."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest

from otel_budget.contract import Allow, Deny, SoftLimit, TokenUsage
from otel_budget.contract.prices import FlatRates
from otel_budget.contract.session_info import SessionInfo, call_info
from otel_budget.guards import AsyncWindowGuard, Limit, WindowGuard
from support.processes import python

UNTIL_MIDNIGHT = 1_800.0  # of the clock below
DOLLAR_A_CALL = FlatRates(input=1.0, output=0.0)  # if the call has a million input tokens


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def usage(tokens: int, completion: int = 0) -> TokenUsage:
    return TokenUsage(
        prompt_tokens=tokens, completion_tokens=completion, total_tokens=tokens + completion
    )


class Clock:
    def __init__(self, text: str = "2026-03-31T23:30:00") -> None:
        self.now = at(text)

    def __call__(self) -> float:
        return self.now


class Driver:
    """Calls a guard of either kind and waits for the answer."""

    def __init__(self, guard: Any) -> None:
        self.guard = guard

    def _wait(self, answer: Any) -> Any:
        return asyncio.run(answer) if inspect.iscoroutine(answer) else answer

    def check(self, session: str = "s", estimate: int = 0) -> Any:
        return self._wait(self.guard.check_before_llm(session, estimate))

    def record(self, tokens: Any, session: str = "s") -> None:
        spent = usage(tokens) if isinstance(tokens, int) else tokens
        self._wait(self.guard.record_after_llm(session, spent))

    def tool(self, name: str) -> Any:
        return self._wait(self.guard.check_before_tool("s", name))

    def levels(self) -> dict[tuple[str, str | None, str | None], float]:
        return {(v.resource, v.window, v.tenant): v.consumed for v in self.guard.budget_levels()}


@pytest.fixture(params=[WindowGuard, AsyncWindowGuard])
def make(request: pytest.FixtureRequest) -> Any:
    return lambda *limits, **options: Driver(request.param(*limits, **options))


def tenant_of(session: str) -> SessionInfo:
    return SessionInfo(tenant=session.split("-", maxsplit=1)[0], model="m", provider="openai")


def test_allows_then_warns_then_refuses_and_explains_until_when(make: Any) -> None:
    guard = make(
        Limit(5, "USD", soft=0.8),
        session_info=SessionInfo(tenant="acme"),
        prices=DOLLAR_A_CALL,
        clock=Clock(),
    )
    assert guard.check() == Allow()
    guard.record(3_999_999)
    assert guard.check() == Allow()
    guard.record(1)
    assert guard.check() == SoftLimit(
        resource="llm_cost_usd",
        consumed=4.0,
        limit=4.0,  # the threshold that was crossed; the message has the cap
        message="Tenant acme used 4.00 USD, over 80% of 5.00 today "
        "(resets at 2026-04-01 00:00 UTC).",
        window="day",
        resets_in=UNTIL_MIDNIGHT,
    )
    guard.record(1_020_000)
    assert guard.check() == Deny(
        resource="llm_cost_usd",
        reason="Tenant acme used 5.02 of 5.00 USD today (resets at 2026-04-01 00:00 UTC).",
        consumed=5.02,
        limit=5.0,
        window="day",
        resets_in=UNTIL_MIDNIGHT,
        cause="spent",
    )


@pytest.mark.parametrize(
    ("window", "start", "last", "reset"),
    [
        ("hour", "2026-03-31T23:00:00", "2026-03-31T23:59:59.999", "2026-04-01T00:00:00"),
        ("day", "2026-03-31T00:00:00", "2026-03-31T23:59:59.999", "2026-04-01T00:00:00"),
        ("week", "2026-03-30T00:00:00", "2026-04-05T23:59:59.999", "2026-04-06T00:00:00"),
        ("month", "2026-02-01T00:00:00", "2026-02-28T23:59:59.999", "2026-03-01T00:00:00"),
        ("month", "2027-12-01T00:00:00", "2027-12-31T23:59:59.999", "2028-01-01T00:00:00"),
    ],
)
def test_windows_follow_the_utc_calendar_exactly(
    make: Any, window: Any, start: str, last: str, reset: str
) -> None:
    clock = Clock(start)
    guard = make(Limit(10, "tokens", "all", window), clock=clock)
    guard.record(10)
    (level,) = guard.guard.budget_levels()
    assert level.window == window
    assert level.window_length == level.window_remaining == at(reset) - at(start)
    clock.now = at(last)
    assert isinstance(guard.check(), Deny)
    assert guard.guard.budget_levels()[0].window_remaining == pytest.approx(0.001, abs=1e-4)
    clock.now = at(reset)
    assert guard.check() == Allow()
    assert guard.levels() == {("total_tokens", window, None): 0.0}


def test_the_window_ever_never_resets(make: Any) -> None:
    clock = Clock()
    guard = make(Limit(10, "tokens", "all", "ever"), clock=clock)
    guard.record(10)
    clock.now += 10 * 365 * 86400
    assert guard.check().reason == "All calls used 10 of 10 tokens (this budget does not reset)."
    (level,) = guard.guard.budget_levels()
    assert (level.window, level.window_length, level.window_remaining) == (None, None, None)


def test_a_clock_that_steps_back_gives_no_budget_twice(make: Any) -> None:
    clock = Clock("2026-03-31T23:59:59")
    guard = make(Limit(10, "tokens", "all", "day"), clock=clock)
    guard.record(10)
    clock.now += 2
    guard.record(4)
    clock.now -= 2
    assert isinstance(guard.check(), Deny)
    clock.now += 2
    assert guard.levels() == {("total_tokens", "day", None): 4.0}
    clock.now -= 86400 + 2  # into the day before those kept: it goes on with the one that follows
    assert isinstance(guard.check(), Deny)


@pytest.mark.parametrize(
    ("per", "refused", "allowed"),
    [("tenant", "a-2", "b-1"), ("session", "a-1", "a-2"), ("all", "b-1", None)],
)
def test_a_limit_is_per_tenant_or_session_or_in_total(
    make: Any, per: Any, refused: str, allowed: str | None
) -> None:
    guard = make(Limit(100, "tokens", per), session_info=tenant_of)
    guard.record(100, "a-1")
    assert isinstance(guard.check(refused), Deny)
    if allowed:
        assert guard.check(allowed) == Allow()


def test_calls_without_a_tenant_share_one_budget(make: Any) -> None:
    guard = make(Limit(100, "tokens", "tenant"), clock=Clock())
    guard.record(100, "some")
    assert guard.check("other").reason.startswith("Calls without a tenant used 100 of 100 tokens")


def test_of_several_limits_the_fullest_decides_and_a_denial_comes_first(make: Any) -> None:
    guard = make(
        Limit(1000, "tokens", "all", "month", soft=0.5),
        Limit(100, "tokens", "session", "hour", soft=0.6),
        session_info=tenant_of,
        clock=Clock(),
    )
    guard.record(70, "a-1")
    assert guard.check("a-1").resource == "session_tokens"
    for session in range(9):
        guard.record(50, f"b-{session}")
    assert guard.check("a-2").resource == "total_tokens"  # 520 of 1000
    assert guard.check("a-1").resource == "session_tokens"  # 70 of 100 is fuller
    guard.record(30, "a-1")
    denial = guard.check("a-1")
    assert isinstance(denial, Deny)
    assert denial.resource == "session_tokens"


def test_levels_are_against_caps_and_show_each_tenants_fullest_session(make: Any) -> None:
    guard = make(
        Limit(100, "tokens", "session", "day", soft=0.5, resource="per_session"),
        Limit(2.5, "USD", "tenant", "month"),
        session_info=tenant_of,
        prices=DOLLAR_A_CALL,
    )
    for session, tokens in (("a-1", 30), ("a-2", 50), ("b-1", 7)):
        guard.record(tokens, session)
    assert guard.levels() == pytest.approx(
        {
            ("per_session", "day", "a"): 50.0,
            ("per_session", "day", "b"): 7.0,
            ("llm_cost_usd", "month", "a"): 80e-6,
            ("llm_cost_usd", "month", "b"): 7e-6,
        }
    )
    assert {(v.limit, v.unit) for v in guard.guard.budget_levels()} == {
        (100.0, "tokens"),
        (2.5, "USD"),
    }


def test_asking_leaves_no_trace_in_the_levels(make: Any) -> None:
    guard = make(Limit(100, "tokens"), session_info=tenant_of)
    guard.check("a-1")
    assert guard.levels() == {}
    guard.record(1, "b-1")
    guard.check("a-1")
    assert guard.levels() == {("llm_tokens", "day", "b"): 1.0}


def test_tools_are_refused_by_name_or_pattern(make: Any) -> None:
    guard = make(deny_tools=["rm", "shell*"])
    assert guard.tool("read_file") == Allow()
    assert guard.tool("rmdir") == Allow()
    assert guard.tool("shell_exec") == Deny(
        resource="tools",
        reason="Tool 'shell_exec' is on this guard's deny-list.",
        cause="policy",
    )
    assert isinstance(make(deny_tools="rm").tool("rm"), Deny)


def test_prices_agree_with_the_telemetry_also_for_cached_tokens_and_known_costs(make: Any) -> None:
    guard = make(
        Limit(100, "USD", "all"),
        session_info=SessionInfo(provider="anthropic", model="m"),
        prices=FlatRates(input=1.0, output=2.0, cache_read=0.1, cache_write=3.0),
    )
    guard.record(
        {
            "prompt_tokens": 1_000_000,
            "completion_tokens": 1_000_000,
            "total_tokens": 2_000_000,
            "cache_read_tokens": 1_000_000,
            "cache_write_tokens": 1_000_000,
        }
    )
    assert guard.levels() == {("total_cost_usd", "day", None): 6.1}
    with call_info(cost_usd=10.0):
        guard.record(5)
    assert guard.levels() == {("total_cost_usd", "day", None): 16.1}


def test_a_call_without_a_price_is_visible_and_counts_in_tokens(
    make: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    guard = make(
        Limit(1, "USD", "all"),
        Limit(100, "tokens", "all"),
        prices=FlatRates.by_model({"known": FlatRates(1, 1)}),
        session_info=lambda session: SessionInfo(model=session),
    )
    guard.record(40, "known")
    guard.record(40, "unknown")
    guard.record(40, "unknown")
    assert guard.guard.uncounted_calls == {"unknown_model": 2}
    assert guard.levels()["total_cost_usd", "day", None] == 40e-6
    assert guard.check("known").resource == "total_tokens"
    assert [record.message.split(":")[0] for record in caplog.records] == [
        "A call (model unknown) adds nothing to the limits in USD because its price is unknown"
    ]


def test_a_price_source_that_raises_makes_the_call_unpriced(make: Any) -> None:
    class Broken:
        def cost_usd(self, call: Any) -> float:
            raise RuntimeError

    guard = make(Limit(1, "USD", "all"), prices=Broken())
    guard.record(40)
    assert guard.guard.uncounted_calls == {"price_error": 1}


def test_amounts_add_up_whatever_their_order(make: Any) -> None:
    guard = make(Limit(1, "USD", "all", soft=None), prices=FlatRates(0.1, 0))
    for _ in range(9):
        guard.record(1_000_000)
        assert guard.check() == Allow()
    guard.record(1_000_000)  # ten times 0.1 is 1, but not in floats
    assert isinstance(guard.check(), Deny)
    soft = make(Limit(100, "tokens", "all", soft=0.07))
    soft.record(7)  # and 100 * 0.07 is 7
    assert isinstance(soft.check(), SoftLimit)


def test_a_cap_of_zero_refuses_the_first_call(make: Any) -> None:
    assert isinstance(make(Limit(0, "tokens", "all")).check(), Deny)


def test_memory_is_bounded_and_the_most_recently_used_are_kept(make: Any) -> None:
    clock = Clock()
    guard = make(
        Limit(10, "tokens", "session", "hour"),
        Limit(10, "tokens", "session", "ever"),
        clock=clock,
        max_keys=50,
    )
    guard.record(10, "spent")
    for number in range(1000):
        guard.record(1, f"s{number}")
        assert isinstance(guard.check("spent"), Deny)
        clock.now += 60
    guard.record(9, "s999")
    assert isinstance(guard.check("s999"), Deny)
    books = guard.guard._books
    assert max(len(kept.accounts) for book in books for kept in book._windows._kept.values()) <= 50
    assert max(len(book._windows) for book in books) <= 2


def test_names_from_outside_cannot_break_an_answer(make: Any) -> None:
    bad = "\ud800" + "x" * 5000
    guard = make(
        Limit(1, "tokens"),
        Limit(1, "tokens", "session"),
        deny_tools=["*x"],
        session_info=SessionInfo(tenant=bad),
    )
    guard.record(1, bad)
    assert len(guard.check(bad).reason) < 1000
    assert len(guard.tool(bad).reason) < 1000


@pytest.mark.parametrize("kind", [WindowGuard, AsyncWindowGuard])
def test_amounts_are_exact_under_fifty_threads(kind: type[Any]) -> None:
    guard = kind(
        Limit(10**9, "tokens"),
        Limit(10**9, "USD", "all"),
        session_info=tenant_of,
        prices=FlatRates(0.1, 0),
    )
    ready = threading.Barrier(50)

    def work(number: int) -> None:
        driver = Driver(guard)
        ready.wait()
        for _ in range(100):
            driver.check(f"t{number % 5}-1")
            driver.record(1_000_001, f"t{number % 5}-1")
            guard.budget_levels()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(50) as pool:
            list(pool.map(work, range(50)))
    finally:
        sys.setswitchinterval(interval)
    levels = Driver(guard).levels()
    assert [levels["llm_tokens", "day", f"t{n}"] for n in range(5)] == [1_000_001_000.0] * 5
    assert levels["total_cost_usd", "day", None] == 500.0005


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_fork_while_another_thread_holds_the_lock_leaves_a_guard_that_works() -> None:
    guard = WindowGuard(Limit(10, "tokens", "all"))
    guard.record_after_llm("s", usage(10))
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with guard._lock.current:
            held.set()
            release.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(10)
    child = os.fork()
    if child == 0:
        signal.alarm(5)  # ends a child that hangs
        os._exit(7 if isinstance(guard.check_before_llm("s", 0), Deny) else 1)
    release.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_a_finalizer_that_runs_inside_the_guard_may_call_it() -> None:
    """Garbage collection can start at any allocation, even while the guard holds its lock."""
    python(
        """
        import faulthandler, gc
        faulthandler.dump_traceback_later(20, exit=True)  # ends a guard that hangs
        from otel_budget import Deny, TokenUsage
        from otel_budget.guards import book as books
        from otel_budget.guards import Limit, WindowGuard
        guard = WindowGuard(Limit(3, "tokens", per="session"))
        usage = TokenUsage(prompt_tokens=1, completion_tokens=0, total_tokens=1)
        class Session:
            def __init__(self):
                self.me = self
            def __del__(self):
                guard.record_after_llm("s", usage)
        gc.disable()
        def collecting(method):
            def first_collect(*args):
                gc.collect()
                return method(*args)
            return first_collect
        for method in ("add", "used", "keys", "fillings"):
            setattr(books.Book, method, collecting(getattr(books.Book, method)))
        Session(); guard.record_after_llm("s", usage)
        assert [level.consumed for level in guard.budget_levels()] == [2]
        Session(); assert isinstance(guard.check_before_llm("s", 0), Deny)
        Session(); assert [level.consumed for level in guard.budget_levels()] == [4]
        """
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-1,), "cap"),
        ((float("nan"),), "cap"),
        ((1, "EUR"), "unit must be one of USD, tokens: not EUR"),
        ((1, "USD", "user"), "per must be one of"),
        ((1, "USD", "all", "year"), "window must be one of hour, day, week, month, ever"),
        ((1, "USD", "all", "day", 1.5), "soft ratio"),
    ],
)
def test_a_limit_that_makes_no_sense_is_a_clear_error(
    arguments: tuple[Any, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Limit(*arguments)
