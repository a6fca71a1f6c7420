"""The Redis guard on a real Redis."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import threading
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis

from examples.redis_guard.redis_guard import AsyncRedisGuard, RedisGuard
from otel_budget import (
    Allow,
    BudgetLevel,
    Deny,
    FlatRates,
    SessionInfo,
    SoftLimit,
    TokenUsage,
    call_info,
    for_a3s,
    instrument,
)
from otel_budget.testing import capture_telemetry
from redis_racers import PRICES, TOKENS, Account, Race, compete, guard_of, usage_of
from support.redis_server import LosingProxy, RedisServer

PROCESSES, ROUNDS = 8, 20
NOON = 1_800_014_400.0 - 1_800_014_400.0 % 86_400 + 43_200


def counts(server: RedisServer, tenant: str) -> dict[str, int]:
    with redis.Redis.from_url(server.url) as client:
        raw: Any = client.hgetall(f"budget:{{tenant {tenant}}}:counts")
        return {key.decode(): int(value) for key, value in raw.items()}


def synchronous(server: RedisServer, tenant: str, **options: Any) -> RedisGuard:
    info = SessionInfo(tenant=tenant, model="m", provider="openai")
    settings = {"session_info": info, "prices": PRICES, "output_tokens": 0, **options}
    return RedisGuard(server.url, **settings)


class Clock:
    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


# -- the race ------------------------------------------------------------------------------
@pytest.mark.timeout(300)
def test_eight_processes_share_the_last_dollar_to_the_cent_twenty_times(
    redis_server: RedisServer,
) -> None:
    cap, spent_before = 10.0, 9_000_000
    for number in range(ROUNDS):
        guard = guard_of(RedisGuard, redis_server.url, f"race-{number}", cap)
        guard.record_after_llm("before", usage_of(spent_before))
    context = multiprocessing.get_context("spawn")
    run = Race(redis_server.url, cap, ROUNDS)
    barrier, out = context.Barrier(PROCESSES), context.Queue()
    racers = [
        context.Process(target=compete, args=(run, number, barrier, out))
        for number in range(PROCESSES)
    ]
    for racer in racers:
        racer.start()
    accounts: dict[int, list[Account]] = defaultdict(list)
    try:
        for _ in range(PROCESSES * ROUNDS):
            number, account = out.get(timeout=120)
            accounts[number].append(account)
    finally:
        for racer in racers:
            racer.join(30)
            racer.kill()

    for number in range(ROUNDS):
        ours, redis_says = accounts[number], counts(redis_server, f"race-{number}")
        tokens = spent_before + sum(account.tokens for account in ours)
        assert redis_says["tokens"] == tokens
        assert redis_says["usd"] == tokens * 1000, "nano-USD, exact"
        assert redis_says["calls"] == 1 + sum(account.allowed for account in ours)
        assert redis_says["reserved_usd"] == 0
        assert redis_says["reserved_tokens"] == 0
        if number % 2 == 0:  # every call cost what had been reserved for it
            assert redis_says["usd"] == cap * 10**9
            assert sum(account.allowed for account in ours) == 1_000_000 // TOKENS
        else:  # over the cap by no more than what calls in progress used beyond their reservations
            assert redis_says["usd"] <= cap * 10**9 + PROCESSES * (TOKENS // 2) * 1000
        # The dashboards' numbers, summed over the processes, equal the guard's.
        assert sum(account.telemetry_usd for account in ours) * 1e6 == pytest.approx(
            tokens - spent_before
        )
        assert sum(account.telemetry_decisions for account in ours) == sum(
            account.allowed + account.denied for account in ours
        )


# -- decisions -----------------------------------------------------------------------------
async def test_sync_and_async_answer_alike_allow_then_soft_then_deny(
    redis_server: RedisServer,
) -> None:
    info = SessionInfo(tenant="alike", model="m")
    options: dict[str, Any] = {
        "session_info": info, "output_tokens": 0, "tokens_per_day": 1000, "clock": Clock(NOON),
    }  # fmt: skip
    asynchronous = AsyncRedisGuard(redis_server.url, prefix="a", **options)
    sync = RedisGuard(redis_server.url, prefix="s", **options)
    for tokens, expected in ((700, Allow), (100, SoftLimit), (201, Deny), (200, SoftLimit)):
        answer = sync.check_before_llm("s", tokens)
        assert answer == await asynchronous.check_before_llm("s", tokens)
        assert isinstance(answer, expected)
        if not isinstance(answer, Deny):
            sync.record_after_llm("s", usage_of(tokens))
            await asynchronous.record_after_llm("s", usage_of(tokens))
    await asynchronous.aclose()
    denied = sync.check_before_llm("s", 0)
    assert isinstance(denied, Deny), "a spent budget refuses the smallest call"
    assert (denied.resource, "1,000 and reserved 0 of 1,000 tokens" in denied.reason) == (
        "llm_tokens",
        True,
    )


def test_a_soft_limit_reports_the_threshold_and_what_counts_towards_it(
    redis_server: RedisServer,
) -> None:
    guard = synchronous(
        redis_server, "soft", usd_per_day=1.0, tokens_per_day=10_000_000, clock=Clock(NOON)
    )
    guard.record_after_llm("s", usage_of(700_000))
    answer = guard.check_before_llm("s", 200_000)
    assert answer == SoftLimit(
        resource="llm_cost_usd",
        consumed=0.7,
        reserved=0.2,
        limit=0.8,
        message="Tenant soft used 0.7 and reserved 0.2 of 1 USD today (UTC).",
        window="day",
        resets_in=43_200.0,
    )


def test_tenants_share_nothing_and_a_dict_usage_is_accepted(redis_server: RedisServer) -> None:
    def info(session_id: str) -> SessionInfo:
        return SessionInfo(tenant=session_id.partition("/")[0], model="m", provider="anthropic")

    guard = RedisGuard(redis_server.url, session_info=info, tokens_per_day=100, output_tokens=0)
    usage = {"prompt_tokens": 60, "completion_tokens": 20, "total_tokens": 80}
    cached = {"cache_read_tokens": 15, "cache_write_tokens": 5}
    guard.record_after_llm("dicts/1", {**usage, **cached})
    assert isinstance(guard.check_before_llm("dicts/2", 1), Deny), "80 and 20 cached ones are 100"
    assert isinstance(guard.check_before_llm("others/1", 1), Allow)
    assert {level.tenant: level.consumed for level in guard.budget_levels()} == {
        "dicts": 100.0,
        "others": 0.0,
    }


def test_an_unknown_price_is_refused_and_never_counted_as_zero(
    redis_server: RedisServer,
) -> None:
    info = SessionInfo(tenant="unpriced", model="brand-new")
    card = FlatRates.by_model({"m": PRICES})
    guard = RedisGuard(redis_server.url, session_info=info, prices=card, usd_per_day=1.0)
    answer = guard.check_before_llm("s", 10)
    assert isinstance(answer, Deny)
    assert "'brand-new' cannot be priced (unknown_model)" in answer.reason
    with pytest.raises(LookupError, match="cannot be priced"):
        guard.record_after_llm("s", usage_of(10))
    assert counts(redis_server, "unpriced")["tokens"] == 10, "what is known is counted"
    with call_info(model="m"):
        assert isinstance(guard.check_before_llm("s", 10), Allow)
    with call_info(cost_usd=0.25):
        guard.record_after_llm("s", usage_of(10))
    assert counts(redis_server, "unpriced")["usd"] == 250_000_000


def test_a_denial_says_by_which_numbers_it_was_decided(redis_server: RedisServer) -> None:
    guard = synchronous(redis_server, "details", tokens_per_day=100, clock=Clock(NOON))
    guard.record_after_llm("s", usage_of(40))
    guard.check_before_llm("s", 30)
    for need in (31, 61):
        answer = guard.check_before_llm("s", need)
        assert isinstance(answer, Deny)
        assert answer.model_dump(exclude={"reason"}) == {
            "resource": "llm_tokens",
            "consumed": 40.0,
            "limit": 100.0,
            "reserved": 30.0,
            "window": "day",
            "resets_in": 43_200.0,
            "cause": "reserved",
        }, need
    guard.record_after_llm("s", usage_of(60))
    spent = guard.check_before_llm("s", 0)
    assert isinstance(spent, Deny)
    assert (spent.consumed, spent.reserved, spent.cause) == (100.0, 0.0, "spent")


def test_a_denial_of_a_cap_in_usd_is_in_usd_and_one_without_a_price_says_so(
    redis_server: RedisServer,
) -> None:
    guard = synchronous(
        redis_server, "usd", prices=FlatRates.by_model({"m": PRICES}), usd_per_day=1.0
    )
    guard.record_after_llm("s", usage_of(250_000))
    answer = guard.check_before_llm("s", 800_000)
    assert isinstance(answer, Deny)
    assert (answer.consumed, answer.limit, answer.reserved) == (0.25, 1.0, 0.0)
    with call_info(model="brand-new"):
        unknown = guard.check_before_llm("s", 1)
    assert isinstance(unknown, Deny)
    assert unknown.model_dump(exclude={"reason"}) == {
        "resource": "llm_cost_usd",
        "limit": 1.0,
        "window": "day",
        "cause": "unpriced",
    }, "what is used was not asked for, so it is not said"


# -- levels --------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", [RedisGuard, AsyncRedisGuard])
async def test_levels_tell_reservations_and_never_one_that_has_expired(
    redis_server: RedisServer, kind: Any
) -> None:
    tenant, clock = f"levels-{kind.__name__}", Clock(NOON)
    guard = kind(
        redis_server.url,
        session_info=SessionInfo(tenant=tenant),
        tokens_per_day=100,
        output_tokens=0,
        reservation_seconds=60,
        clock=clock,
    )

    async def call(method: str, *args: Any) -> None:
        answer = getattr(guard, method)(*args)
        if asyncio.iscoroutine(answer):
            await answer

    async def level() -> BudgetLevel:
        # The telemetry asks on a thread of its own.
        (told,) = await asyncio.to_thread(guard.budget_levels)
        assert isinstance(told, BudgetLevel)
        return told

    await call("record_after_llm", "s", usage_of(5))
    told = await level()
    assert (told.consumed, told.reserved, told.reserved_age, told.shared) == (5, 0, None, True)
    await call("check_before_llm", "", 10)
    clock.now += 20
    await call("check_before_llm", "", 15)
    clock.now += 25
    told = await level()
    assert (told.consumed, told.reserved, told.reserved_age) == (5, 25, 45)
    assert told.window_remaining == 43_200 - 45
    clock.now += 15  # nobody calls, and the first reservation ends
    told = await level()
    assert (told.consumed, told.reserved, told.reserved_age) == (5, 15, 40)
    clock.now += 20
    told = await level()
    assert (told.consumed, told.reserved, told.reserved_age) == (5, 0, None)
    await (guard.aclose() if kind is AsyncRedisGuard else asyncio.to_thread(guard.close))


def test_the_age_is_that_of_the_oldest_reservation_however_long_it_lives(
    redis_server: RedisServer,
) -> None:
    clock = Clock(NOON)
    guard = synchronous(redis_server, "oldest", tokens_per_day=100, clock=clock)
    guard.reservation_seconds = 3600.0
    guard.check_before_llm("s", 10)
    guard.reservation_seconds = 60.0
    clock.now += 200
    guard.check_before_llm("s", 10)
    assert [level.reserved_age for level in guard.budget_levels()] == [200]


def test_of_other_processes_only_what_redis_says_is_told(redis_server: RedisServer) -> None:
    clock = Clock(NOON)
    mine, other = (
        synchronous(redis_server, "both", tokens_per_day=100, clock=clock) for _ in range(2)
    )
    mine.check_before_llm("s", 10)
    other.record_after_llm("s", usage_of(7))
    assert [(level.consumed, level.reserved) for level in mine.budget_levels()] == [(7, 0)]


def test_more_tenants_than_one_request_asks_for_have_each_their_level(
    redis_server: RedisServer,
) -> None:
    clock = Clock(NOON)
    guard = RedisGuard(
        redis_server.url,
        session_info=lambda session_id: SessionInfo(tenant=session_id),
        tokens_per_day=1000,
        output_tokens=0,
        reservation_seconds=60,
        clock=clock,
    )
    for number in range(205):
        guard.check_before_llm(f"many-{number}", number)
    clock.now += 10
    assert {
        level.tenant: (level.reserved, level.reserved_age) for level in guard.budget_levels()
    } == {f"many-{number}": (number, 10) for number in range(205)}
    clock.now += 50
    assert {level.reserved for level in guard.budget_levels()} == {0}


def test_with_redis_down_levels_do_not_tell_what_may_have_expired(
    own_redis_server: RedisServer,
) -> None:
    guard, idle = (
        synchronous(own_redis_server, tenant, tokens_per_day=100, timeout=0.3)
        for tenant in ("down", "idle")
    )
    for one in (guard, idle):
        one.record_after_llm("s", usage_of(5))
    guard.check_before_llm("s", 10)
    own_redis_server.kill()
    [level] = guard.budget_levels()
    assert (level.consumed, level.reserved, level.reserved_age) == (5, None, None)
    [level] = idle.budget_levels()
    assert (level.consumed, level.reserved) == (5, 0), "nothing was reserved, so nobody is asked"


def test_levels_do_not_undo_what_a_call_was_told_meanwhile(redis_server: RedisServer) -> None:
    clock = Clock(NOON)
    guard = synchronous(
        redis_server, "meanwhile", tokens_per_day=100, reservation_seconds=60, clock=clock
    )
    guard.check_before_llm("s", 10)
    clock.now += 60

    def record_first() -> float:
        guard._now = clock
        guard.record_after_llm("s", usage_of(7))
        return clock()

    guard._now = record_first  # asked for once Redis has answered
    guard.budget_levels()
    assert [level.consumed for level in guard.budget_levels()] == [7]


# -- reservations and windows --------------------------------------------------------------
@pytest.mark.parametrize(
    ("held", "used", "left"),
    [
        ((10, 30, 20), 15, 40),  # the smallest that covers it
        ((10, 30, 20), 20, 40),
        ((10, 30, 20), 35, 50),  # none does: the smallest
        ((10, 30, 20), 0, 50),
    ],
)
@pytest.mark.parametrize("unit", ["tokens", "usd"])
def test_a_record_ends_the_smallest_reservation_that_covers_it(
    redis_server: RedisServer, held: tuple[int, ...], used: int, left: int, unit: str
) -> None:
    tenant = f"smallest-{used}-{unit}"
    cap: dict[str, Any] = {"tokens_per_day": 1000} if unit == "tokens" else {"usd_per_day": 1.0}
    guard = synchronous(redis_server, tenant, **cap)
    guard.check_before_llm("other session", 17)
    for tokens in held:
        guard.check_before_llm("s", tokens)
    guard.record_after_llm("s", usage_of(used))
    assert counts(redis_server, tenant)["reserved_tokens"] == left + 17


def test_of_equal_reservations_a_record_ends_the_newest(redis_server: RedisServer) -> None:
    clock = Clock(NOON)
    guard = synchronous(redis_server, "equal", tokens_per_day=1000, clock=clock)
    for _ in range(3):
        guard.check_before_llm("s", 10)
        clock.now += 5
    guard.record_after_llm("s", usage_of(10))
    guard.record_after_llm("s", usage_of(10))
    assert [level.reserved_age for level in guard.budget_levels()] == [15]


def test_what_has_expired_is_no_session_s_to_end_and_is_forgotten(
    redis_server: RedisServer,
) -> None:
    clock = Clock(NOON)
    guard = synchronous(
        redis_server, "forgotten", tokens_per_day=1000, reservation_seconds=60, clock=clock
    )
    guard.check_before_llm("s", 10)
    clock.now += 30
    guard.check_before_llm("s", 20)
    clock.now += 30
    guard.check_before_llm("other session", 1)  # the first has expired
    clock.now -= 1  # and the clock steps back
    guard.record_after_llm("s", usage_of(5))
    assert counts(redis_server, "forgotten")["reserved_tokens"] == 1
    for _ in range(3):
        guard.check_before_llm("s", 10)
        clock.now += 60
    guard.check_before_llm("s", 5)
    guard.release_llm("s")
    with redis.Redis.from_url(redis_server.url) as client:
        assert client.zcard("budget:{tenant forgotten}:open:s") == 0


@pytest.mark.parametrize("kind", [RedisGuard, AsyncRedisGuard])
async def test_a_released_call_ends_the_smallest_reservation_and_counts_nothing(
    redis_server: RedisServer, kind: Any
) -> None:
    info = SessionInfo(tenant=f"released-{kind.__name__}")
    guard = kind(redis_server.url, session_info=info, tokens_per_day=1000, output_tokens=0)
    for method, *args in (
        ("check_before_llm", "s", 30),
        ("check_before_llm", "s", 10),
        ("release_llm", "s"),
        ("release_llm", "nobody's"),
    ):
        answer = getattr(guard, method)(*args)
        if asyncio.iscoroutine(answer):
            await answer
    if kind is AsyncRedisGuard:
        await guard.aclose()
    told = counts(redis_server, str(info.tenant))
    assert (told["reserved_tokens"], told["tokens"], told["calls"]) == (30, 0, 0)


def test_a_reservation_that_is_never_settled_expires(redis_server: RedisServer) -> None:
    clock = Clock(NOON)
    guard = synchronous(
        redis_server, "expiry", tokens_per_day=100, reservation_seconds=60, clock=clock
    )
    assert not isinstance(guard.check_before_llm("failed", 90), Deny)
    clock.now += 59.9
    assert isinstance(guard.check_before_llm("next", 20), Deny)
    clock.now += 0.2
    assert isinstance(guard.check_before_llm("next", 20), Allow)
    assert counts(redis_server, "expiry")["reserved_tokens"] == 20
    guard.record_after_llm("failed", usage_of(30))
    assert counts(redis_server, "expiry") | {"day": 0} == {
        "day": 0,
        "usd": 0,
        "tokens": 30,
        "calls": 1,
        "number": 2,
        "reserved_usd": 0,
        "reserved_tokens": 20,
    }, "a record after its reservation expired counts, and takes nobody else's"


def test_reservations_expire_by_redis_own_clock_too(redis_server: RedisServer) -> None:
    guard = synchronous(redis_server, "clock", tokens_per_day=100, reservation_seconds=0.05)
    assert not isinstance(guard.check_before_llm("failed", 90), Deny)
    _until(lambda: not isinstance(guard.check_before_llm("next", 90), Deny))


def test_a_day_ends_at_midnight_utc_and_a_clock_that_steps_back_gives_nothing_away(
    redis_server: RedisServer,
) -> None:
    clock = Clock(NOON + 43_199)
    guard = synchronous(redis_server, "midnight", tokens_per_day=100, clock=clock)
    guard.record_after_llm("s", usage_of(70))
    assert isinstance(guard.check_before_llm("over", 20), SoftLimit)
    [level] = guard.budget_levels()
    assert (level.consumed, level.limit, level.window, level.window_length) == (
        70,
        100,
        "day",
        86_400,
    )
    assert level.window_remaining is not None
    assert 0 < level.window_remaining <= 1.0
    clock.now += 1
    guard.record_after_llm("over", usage_of(25))
    assert counts(redis_server, "midnight")["tokens"] == 25, "paid on the day on which it ended"
    assert counts(redis_server, "midnight")["reserved_tokens"] == 0
    clock.now -= 10
    assert isinstance(guard.check_before_llm("s", 80), Deny)
    assert counts(redis_server, "midnight")["tokens"] == 25


def test_levels_are_those_of_tenants_served_recently(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    guard = synchronous(redis_server, "recent", tokens_per_day=100, clock=Clock(NOON))
    guard.record_after_llm("s", usage_of(70))
    assert len(guard.budget_levels()) == 1
    monkeypatch.setattr("examples.redis_guard.redis_guard.RECENT", -1.0)
    assert guard.budget_levels() == []


def test_overlapping_calls_of_one_session_settle_in_any_order(redis_server: RedisServer) -> None:
    guard = synchronous(redis_server, "overlap", tokens_per_day=10_000)
    for tokens in (1000, 10):
        guard.check_before_llm("s", tokens)
    for tokens in (1000, 10):
        guard.record_after_llm("s", usage_of(tokens))
    assert counts(redis_server, "overlap")["tokens"] == 1010
    assert counts(redis_server, "overlap")["reserved_tokens"] == 0


# -- Redis down ----------------------------------------------------------------------------
def test_killing_redis_loses_no_recorded_cent_that_it_acknowledged(
    own_redis_server: RedisServer,
) -> None:
    guard = synchronous(own_redis_server, "killed", usd_per_day=1e6, timeout=5.0)
    acknowledged, unacknowledged = [0] * 4, [0] * 4
    stop = threading.Event()

    def work(number: int) -> None:
        while not stop.is_set():
            try:
                guard.record_after_llm(f"s-{number}", usage_of(1))
                acknowledged[number] += 1
            except redis.RedisError:
                unacknowledged[number] += 1
                stop.wait(0.02)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for worker in workers:
        worker.start()
    try:
        for _ in range(3):
            before = list(acknowledged)
            _until(lambda: all(now > then for now, then in zip(acknowledged, before, strict=True)))  # noqa: B023
            failed = sum(unacknowledged)
            own_redis_server.kill()
            _until(lambda: sum(unacknowledged) > failed)  # noqa: B023
            own_redis_server.start()
    finally:
        stop.set()
        for worker in workers:
            worker.join(30)
    total = counts(own_redis_server, "killed")["tokens"]
    assert sum(acknowledged) <= total <= sum(acknowledged) + sum(unacknowledged)
    assert counts(own_redis_server, "killed")["usd"] == total * 1000


@pytest.mark.parametrize("kind", [RedisGuard, AsyncRedisGuard])
async def test_a_record_whose_reply_was_lost_is_not_counted_twice(
    redis_server: RedisServer, kind: Any
) -> None:
    info = SessionInfo(tenant=f"lost-{kind.__name__}")

    async def record(guard: Any) -> None:
        recorded = guard.record_after_llm("s", usage_of(10))
        if asyncio.iscoroutine(recorded):
            await recorded

    with LosingProxy(redis_server.port) as proxy:
        guard = kind(proxy.url, session_info=info, tokens_per_day=1000)
        await record(guard)
        proxy.losing = True
        with pytest.raises(redis.RedisError):
            await record(guard)
        if kind is AsyncRedisGuard:
            await guard.aclose()
        else:
            guard.close()
    assert counts(redis_server, str(info.tenant))["calls"] == 2


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("trouble", ["dead", "hung"])
@pytest.mark.parametrize("when_down", ["closed", "open"])
async def test_with_redis_down_the_guard_fails_as_configured_and_telemetry_shows_it(
    own_redis_server: RedisServer, asynchronous: bool, trouble: str, when_down: str
) -> None:
    kind: Any = AsyncRedisGuard if asynchronous else RedisGuard
    info = SessionInfo(tenant="down", model="m")
    made = kind(
        own_redis_server.url,
        session_info=info,
        tokens_per_day=1000,
        output_tokens=0,
        when_down=when_down,
        timeout=0.3,
    )

    async def call(method: str, *args: Any) -> Any:
        answer = getattr(guard, method)(*args)
        return await answer if asyncio.iscoroutine(answer) else answer

    with capture_telemetry() as telemetry:
        guard = instrument(made, session_info=info)
        assert isinstance(await call("check_before_llm", "s", 10), Allow | SoftLimit)
        if trouble == "dead":
            own_redis_server.kill()
        else:
            own_redis_server.signal(signal.SIGSTOP)
        if when_down == "closed":
            with pytest.raises(redis.RedisError):
                await call("check_before_llm", "s", 10)
        else:
            answer = await call("check_before_llm", "s", 10)
            assert isinstance(answer, SoftLimit)
            assert answer.resource == "guard_unavailable"
        with pytest.raises(redis.RedisError):
            await call("record_after_llm", "s", usage_of(10))
        if trouble == "dead":
            own_redis_server.start()
        else:
            own_redis_server.signal(signal.SIGCONT)
        # It recovers by itself, even if Redis has lost the script.
        assert isinstance(await call("check_before_llm", "s", 10), Allow | SoftLimit)

    if asynchronous:
        await made.aclose()
    # What LLMBudgetGuardFailing and LLMBudgetGuardFailOpen look at.
    errors = telemetry.value("budget.guard.errors", decision_point="llm")
    unavailable = telemetry.value("budget.threshold_hits", resource="guard_unavailable")
    assert (errors, unavailable) == ((1, 0) if when_down == "closed" else (0, 1))
    assert telemetry.value("budget.guard.errors", decision_point="usage") == 1
    assert telemetry.value("budget.calls", tenant="down") == 1, "the usage is counted all the same"


@pytest.mark.parametrize("kind", [RedisGuard, AsyncRedisGuard])
def test_through_the_a3s_bridge_from_many_threads_at_once(
    redis_server: RedisServer, kind: Any
) -> None:
    info = SessionInfo(tenant=f"a3s-{kind.__name__}", model="m")
    guard = kind(redis_server.url, session_info=info, tokens_per_day=600, output_tokens=10)
    usage = {"prompt_tokens": 15, "completion_tokens": 5, "total_tokens": 20}

    def call(number: int) -> str:
        answer: str = bridge.check_before_llm(f"s-{number % 3}", 10)["decision"]
        if answer != "deny":
            bridge.record_after_llm(f"s-{number % 3}", dict(usage))
        return answer

    with for_a3s(instrument(guard, session_info=info)) as bridge, ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(call, range(50)))
        if kind is RedisGuard:
            guard.close()
    # A call uses what was reserved for it: 30 fit.
    assert answers.count("deny") == 20
    assert counts(redis_server, str(info.tenant))["tokens"] == 600


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")  # from Python 3.12
def test_a_forked_child_has_connections_of_its_own(redis_server: RedisServer) -> None:
    guard = synchronous(redis_server, "fork", tokens_per_day=10_000)
    guard.record_after_llm("s", usage_of(1))
    children = []
    for _ in range(4):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                for _ in range(25):
                    guard.record_after_llm("s", usage_of(1))
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    guard.record_after_llm("s", usage_of(1))
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
    assert counts(redis_server, "fork")["tokens"] == 102


def test_a_cap_of_zero_refuses_everything(redis_server: RedisServer) -> None:
    guard = synchronous(redis_server, "nothing", usd_per_day=0.0, tokens_per_day=10)
    answer = guard.check_before_llm("s", 0)
    assert isinstance(answer, Deny)
    assert answer.resource == "llm_cost_usd"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({}, "pass usd_per_day"),
        ({"usd_per_day": 1.0}, "needs prices"),
        ({"tokens_per_day": 1, "when_down": "maybe"}, "'closed' or 'open'"),
        ({"tokens_per_day": -1}, "tokens_per_day must be from 0"),
        ({"usd_per_day": float("nan"), "prices": PRICES}, "usd_per_day must be from 0"),
        ({"tokens_per_day": 1, "soft_ratio": 80}, "soft_ratio must be from 0 to 1"),
        ({"tokens_per_day": 1, "reservation_seconds": 0}, "reservation_seconds must be"),
    ],
)
def test_wrong_options_are_one_sentence(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        RedisGuard("redis://127.0.0.1:1", **options)


def test_a_usage_that_cannot_be_read_is_an_error(redis_server: RedisServer) -> None:
    guard = synchronous(redis_server, "unreadable", tokens_per_day=100)
    with pytest.raises(ValueError, match="cannot be read"):
        guard.record_after_llm("s", {"prompt_tokens": "many"})
    with pytest.raises(ValueError, match="cannot be read"):
        guard.record_after_llm("s", TokenUsage.model_construct(prompt_tokens=-1))


def _until(true: Callable[[], bool]) -> None:
    for _ in range(1000):
        if true():
            return
        threading.Event().wait(0.02)
    raise AssertionError("it did not come true")
