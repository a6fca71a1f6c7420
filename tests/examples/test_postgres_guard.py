"""The guard on PostgreSQL, against a real server: its answers, its bound, and its spans."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from opentelemetry.instrumentation.psycopg import PsycopgInstrumentor
from opentelemetry.trace import SpanKind

from examples.postgres_guard import PostgresGuard
from otel_budget import Allow, BudgetGate, Deny, SessionInfo, SoftLimit
from otel_budget.guards import GUARD_UNAVAILABLE, Limit, Reservation
from otel_budget.guards.calendar import WINDOWS, period_at
from support.backend import Backend
from support.paths import ROOT
from support.ports import hung_port
from support.postgres_racers import CAP, PRICES, TOKENS, compete, racer, usage_of
from support.postgres_server import PostgresServer, needed

INFO = SessionInfo(tenant="acme", principal="ann", model="m", provider="openai")
DOLLAR = Limit(1.0, "USD", "tenant", "day")
PROCESSES, ROUNDS = 8, 4
made: list[PostgresGuard] = []
STATEMENT, RECORD = "db.statement", "budget.record_after_llm"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    needed()
    with PostgresServer() as server:
        yield server


@pytest.fixture
def url(server: PostgresServer) -> Iterator[str]:
    yield server.new_database()
    while made:
        made.pop().close()


def guard_on(url: str, *limits: Limit, **options: Any) -> PostgresGuard:
    settings: dict[str, Any] = {
        "session_info": INFO, "prices": PRICES, "timeout": 5.0,
        "reservation": Reservation(0, expires_after=600.0), **options,
    }  # fmt: skip
    made.append(PostgresGuard(*(limits or (DOLLAR,)), conninfo=url, **settings))
    return made[-1]


def sql(url: str, statement: str) -> list[Any]:
    with psycopg.connect(url) as connection:
        cursor = connection.execute(statement)  # type: ignore[arg-type]
        return cursor.fetchall() if cursor.description else []


def reserved(guard: PostgresGuard) -> dict[str, float | None]:
    return {level.resource: level.reserved for level in guard.budget_levels()}


# -- answers ---------------------------------------------------------------------------------
def test_allowed_then_warned_then_refused_with_its_numbers(url: str) -> None:
    guard = guard_on(url, reservation=None)
    assert guard.check_before_llm("s", 100) == Allow()
    guard.record_after_llm("s", usage_of(850_000))
    soft = guard.check_before_llm("s", 100)
    assert isinstance(soft, SoftLimit)
    assert (soft.resource, soft.consumed, soft.limit) == ("llm_cost_usd", 0.85, 0.8)
    guard.record_after_llm("s", usage_of(150_000))
    denied = guard.check_before_llm("s", 100)
    assert isinstance(denied, Deny)
    assert (denied.consumed, denied.limit, denied.window) == (1.0, 1.0, "day")
    assert (denied.cause, denied.reserved) == ("spent", None)
    assert "Tenant acme used 1.00 of 1.00 USD today" in denied.reason
    (level,) = guard.budget_levels()
    assert (level.tenant, level.consumed, level.limit, level.shared) == ("acme", 1.0, 1.0, True)


def test_a_call_that_does_not_fit_beside_those_in_progress_is_refused_as_reserved(url: str) -> None:
    guard = guard_on(url)
    guard.record_after_llm("before", usage_of(300_000))
    assert guard.check_before_llm("s", 400_000) == Allow()
    denied = guard_on(url).check_before_llm("other", 400_000)
    assert isinstance(denied, Deny)
    assert (denied.consumed, denied.reserved, denied.cause) == (0.3, 0.4, "reserved")
    (level,) = guard.budget_levels()
    assert level.reserved == 0.4
    assert level.reserved_age is not None
    guard.record_after_llm("s", usage_of(400_000))
    assert guard.check_before_llm("other", 300_000) == Allow()


def test_several_limits_reserve_all_or_nothing(url: str) -> None:
    guard = guard_on(url, DOLLAR, Limit(100_000, "tokens", "principal", "hour"))
    assert guard.check_before_llm("s", 60_000) == Allow()
    denied = guard.check_before_llm("s", 60_000)
    assert isinstance(denied, Deny)
    assert (denied.resource, denied.window) == ("principal_tokens", "hour")
    assert reserved(guard) == {"llm_cost_usd": 0.06, "principal_tokens": 60_000}


def test_a_failed_call_gives_its_reservation_back(url: str, backend: Backend) -> None:
    guard = guard_on(url)
    gate = BudgetGate(backend.instrument(guard, session_info=INFO, prices=PRICES))
    with pytest.raises(ConnectionResetError), gate.llm_call("s", 900_000):
        assert reserved(guard) == {"llm_cost_usd": 0.9}
        raise ConnectionResetError
    assert reserved(guard) == {"llm_cost_usd": 0.0}


def test_a_reservation_that_nobody_ends_expires(url: str) -> None:
    guard = guard_on(url)
    guard.check_before_llm("s", 900_000)
    sql(url, "UPDATE budget_reserved SET expires = now()")
    assert reserved(guard) == {"llm_cost_usd": 0.0}
    assert guard.check_before_llm("s", 900_000) == Allow()
    assert sql(url, "SELECT count(*) FROM budget_reserved") == [(1,)]


@pytest.mark.parametrize(
    ("used", "left"),
    [
        pytest.param(50_000, 0.31, id="the smallest that covers it"),
        pytest.param(5_000, 0.4, id="not a larger one"),
        pytest.param(700_000, 0.4, id="the smallest where none does"),
    ],
)
def test_a_record_ends_the_reservation_that_fits_best(url: str, used: int, left: float) -> None:
    guard = guard_on(url)
    for estimate in (300_000, 10_000, 100_000):
        guard.check_before_llm("s", estimate)
    guard.check_before_llm("other", 1_000)
    guard.record_after_llm("s", usage_of(used))
    assert reserved(guard) == {"llm_cost_usd": pytest.approx(left + 0.001)}


def test_what_cannot_be_counted_is_told(url: str) -> None:
    guard = guard_on(url, DOLLAR, Limit(10**6, "tokens"), prices=None)
    guard.record_after_llm("s", usage_of(1_000))
    levels = {level.unit: level for level in guard.budget_levels()}
    assert (levels["USD"].consumed, levels["USD"].uncounted_calls) == (0.0, 1)
    assert (levels["tokens"].consumed, levels["tokens"].uncounted_calls) == (1_000, 0)


def test_two_limits_that_share_a_count_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="give one a resource of its own"):
        guard_on(url, DOLLAR, Limit(2.0, "USD", "tenant", "day"))


# -- windows ---------------------------------------------------------------------------------
def test_windows_are_those_of_the_calendar_wherever_the_server_is(url: str) -> None:
    instants = [1_800_000_000.0 + 7_919_337.5 * number for number in range(40)]
    midnight = 1_798_761_600.0  # of a month, and of a year
    instants += [midnight - 0.001, midnight, midnight + 4 * 86_400 - 0.001, midnight + 4 * 86_400]
    with psycopg.connect(url, options="-c timezone=Asia/Kolkata") as connection:
        for window in WINDOWS:
            for instant in instants:
                query = "SELECT extract(epoch FROM budget_start(%s, to_timestamp(%s)))::float8"
                [start] = connection.execute(query, [window, instant]).fetchone() or [None]
                assert start == period_at(window, instant).start, (window, instant)  # type: ignore[arg-type]


def test_a_budget_begins_anew_by_the_clock_of_the_server(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    guard = guard_on(url, DOLLAR, Limit(1.5, "USD", "tenant", "ever", resource="all_time"))
    monkeypatch.setattr(time, "time", lambda: 0.0)  # ours is wrong
    guard.record_after_llm("s", usage_of(1_000_000))
    denied = guard.check_before_llm("s", 0)
    [(left,)] = sql(
        url,
        "SELECT extract(epoch FROM date_trunc('day', now(), 'UTC') + interval '1 day' - now())"
        "::float8",
    )
    assert isinstance(denied, Deny)
    assert denied.resets_in == pytest.approx(left, abs=30)
    sql(url, "UPDATE budget_used SET starts = starts - interval '1 day'")  # midnight passes
    assert guard.check_before_llm("s", 0) == Allow()
    assert {level.resource: level.consumed for level in guard.budget_levels()} == {
        "llm_cost_usd": 0.0,
        "all_time": 1.0,
    }


# -- the bound -------------------------------------------------------------------------------
def test_eight_processes_share_the_last_dollar(server: PostgresServer, url: str) -> None:
    # A stricter default of the database would show a step what was there before it had its locks.
    name = url.rpartition("/")[2]
    sql(url, f"ALTER DATABASE {name} SET default_transaction_isolation = 'repeatable read'")
    before = 9_000_000
    for number in range(ROUNDS):
        guard = racer(url, number)
        guard.record_after_llm("before", usage_of(before))
        guard.close()
    context = multiprocessing.get_context("spawn")
    barrier, out = context.Barrier(PROCESSES), context.Queue()
    racers = [
        context.Process(target=compete, args=(url, number, ROUNDS, barrier, out))
        for number in range(PROCESSES)
    ]
    for one in racers:
        one.start()
    used: Counter[int] = Counter()
    try:
        for _ in range(PROCESSES * ROUNDS):
            number, tokens = out.get(timeout=30)
            used[number] += tokens
    finally:
        for one in racers:
            one.kill()  # each has told of its last round, or failed
            one.join(10)
    assert sql(url, "SELECT count(*) FROM budget_reserved") == [(0,)]
    for number in range(ROUNDS):
        guard = racer(url, number)
        assert isinstance(guard.check_before_llm("after", TOKENS), Deny)
        [dollars] = [level.consumed for level in guard.budget_levels() if level.unit == "USD"]
        guard.close()
        assert dollars == (before + used[number]) / 10**6, "exact"
        if number % 2 == 0:  # every call cost what had been reserved for it
            assert dollars == CAP
        else:  # by what the calls in progress used beyond their reservations
            assert CAP - TOKENS / 10**6 < dollars <= CAP + PROCESSES * TOKENS / 2 / 10**6


# -- PostgreSQL does not answer ----------------------------------------------------------------
def test_a_killed_server_refuses_or_lets_through_as_asked_and_keeps_its_counts(
    server: PostgresServer, url: str
) -> None:
    closed, open_ = guard_on(url), guard_on(url, when_down="open")
    closed.record_after_llm("s", usage_of(400_000))
    open_.check_before_llm("s", 1)
    server.kill()
    try:
        for guard in (closed, open_):
            with pytest.raises(psycopg.OperationalError):
                guard.record_after_llm("s", usage_of(1))
        for _ in range(2):  # on a connection that broke, and without one
            with pytest.raises(psycopg.OperationalError):
                closed.check_before_llm("s", 1)
            let_through = open_.check_before_llm("s", 1)
            assert isinstance(let_through, SoftLimit)
            assert let_through.resource == GUARD_UNAVAILABLE
    finally:
        server.start()
    assert closed.check_before_llm("s", 1) == Allow()
    (level,) = closed.budget_levels()
    assert level.consumed == 0.4


def test_after_a_crash_one_call_fails_and_not_one_for_each_connection(
    server: PostgresServer, url: str
) -> None:
    guard = guard_on(url)
    idle = guard._idle[os.getpid()]
    guard.check_before_llm("s", 1)
    in_use = idle.pop()
    guard.check_before_llm("s", 1)
    idle.append(in_use)
    server.kill()
    server.start()
    with pytest.raises(psycopg.OperationalError):
        guard.check_before_llm("s", 1)
    assert guard.check_before_llm("s", 1) == Allow()


@pytest.mark.timeout(30)
def test_the_wait_for_other_steps_is_bounded_and_leaves_nothing_behind(url: str) -> None:
    guard = guard_on(url, timeout=0.3)
    guard.check_before_llm("s", 1)
    with psycopg.connect(url) as other:
        other.execute("SELECT * FROM budget_accounts FOR UPDATE")
        with pytest.raises(psycopg.OperationalError):
            guard.check_before_llm("s", 1)
        # The server has given up, too: it does not reserve for nobody once the lock is free.
        while other.execute(
            "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        ).fetchall():
            time.sleep(0.05)
    assert sql(url, "SELECT count(*) FROM budget_reserved") == [(1,)]


@pytest.mark.timeout(30)
def test_the_wait_for_a_server_that_hangs_is_bounded(url: str) -> None:
    guard = guard_on(url, timeout=0.3, when_down="open")
    guard.check_before_llm("s", 1)
    [(process,)] = sql(
        url,
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
        "AND pid <> pg_backend_pid()",
    )
    os.kill(process, signal.SIGSTOP)
    try:
        decision = guard.check_before_llm("s", 1)
    finally:
        os.kill(process, signal.SIGCONT)
    assert decision.resource == GUARD_UNAVAILABLE  # type: ignore[union-attr]
    with hung_port() as port:
        nowhere = guard_on(f"postgresql://postgres@127.0.0.1:{port}/x", when_down="open")
        assert nowhere.check_before_llm("s", 1).resource == GUARD_UNAVAILABLE  # type: ignore[union-attr]


# -- spans -------------------------------------------------------------------------------------
def test_each_step_is_one_statement_whose_span_is_the_guards_child(
    url: str, backend: Backend
) -> None:
    PsycopgInstrumentor().instrument(tracer_provider=backend.tracer_provider)
    try:
        gate = BudgetGate(backend.instrument(guard_on(url), session_info=INFO, prices=PRICES))
        with gate.llm_call("s", 1_000) as call:
            call.usage(usage_of(1_000))
    finally:
        PsycopgInstrumentor().uninstrument()
    spans = backend.span_exporter.get_finished_spans()
    steps = [span for span in spans if "budget_step" in str((span.attributes or {}).get(STATEMENT))]
    ours = [span for span in spans if span.name in ("budget.check_before_llm", RECORD)]
    for step, parent in zip(steps, ours, strict=True):
        assert step.kind is SpanKind.CLIENT
        assert step.parent == parent.context


# -- as a program --------------------------------------------------------------------------------
def run_example(url: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "examples/postgres_guard.py", "--postgres", url],
        cwd=ROOT,
        env={**os.environ, "OTEL_SDK_DISABLED": "true"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_it_runs_as_a_person_runs_it(url: str) -> None:
    done = run_example(url)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("Budget exhausted on 'principal_tokens'") == 4
    assert "Principal ann of tenant acme used 49,200 of 50,000 tokens this hour" in done.stdout


def test_a_database_without_the_functions_is_told_in_one_sentence(server: PostgresServer) -> None:
    done = run_example(server.url())
    assert done.returncode == 1
    assert "postgres_guard.sql" in done.stderr
    assert "Traceback" not in done.stderr
