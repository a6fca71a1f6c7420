"""The Redis guards on a real Redis: what they decide, hold, count and tell."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from otel_budget import Allow, Deny, FlatRates, SessionInfo, SoftLimit, TokenUsage, call_info
from otel_budget.guards import AsyncRedisGuard, Limit, RedisGuard, Reservation, WindowGuard
from support.redis_guards import HOLDS, INFO, KINDS, NOON, PRICES, Clock, Driver, usage_of
from support.redis_server import RedisServer

Make = Callable[..., Driver]
DAY = 86_400.0


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(params=[None, "tenant"], ids=["one slot", "sharded"])
def make(request: pytest.FixtureRequest, kind: Any, redis_server: RedisServer) -> Iterator[Make]:
    made: list[Driver] = []

    def build(*limits: Limit, **options: Any) -> Driver:
        made.append(Driver(kind, redis_server, *limits, shard=request.param, **options))
        return made[-1]

    yield build
    for driver in made:
        driver.close()


# -- decisions -----------------------------------------------------------------------------
@pytest.mark.parametrize("reserves", [False, True])
def test_it_answers_as_a_window_guard_does(make: Make, reserves: bool) -> None:
    limits = (
        Limit(1.0, "USD", "tenant", "month"),
        Limit(900_000, "tokens", "principal", "week"),
        Limit(800_000, "tokens", "agent", "hour", soft=None),
        Limit(200_000, "tokens", "session", "ever"),
        Limit(5.0, "USD", "all", "day", soft=0.1),
    )
    clock = Clock()
    reservation = Reservation(0, expires_after=60, clock=clock) if reserves else None
    redis_guard = make(*limits, reservation=reservation, clock=clock)
    window = WindowGuard(
        *limits, session_info=INFO, prices=PRICES, reservation=reservation, clock=clock
    )
    kinds = set()
    for number in range(60):
        session, tokens = f"s{number % 4}", 7_000 * (number % 9)
        if number == 40:
            clock.now += 3_600
        answer = redis_guard.check(session, tokens)
        assert answer == window.check_before_llm(session, tokens), number
        kinds.add(type(answer))
        if number % 5 == 4:
            redis_guard.release(session)
            window.release_llm(session)
        elif number % 3 < 2:
            redis_guard.record(tokens + 500, session)
            window.record_after_llm(session, usage_of(tokens + 500))

    def told(guard: Any) -> list[Any]:
        return sorted(
            (v.resource, v.consumed, v.limit, v.reserved, v.window_remaining, v.principal, v.agent)
            for v in guard.budget_levels()
        )

    assert kinds == {Allow, SoftLimit, Deny}
    assert told(redis_guard.guard) == told(window)
    assert {level.shared for level in redis_guard.guard.budget_levels()} == {True}


def test_a_refused_call_reserves_in_no_limit(make: Make) -> None:
    driver = make(Limit(1000, "tokens"), Limit(100, "tokens", "session"))
    assert driver.check("s", 60) == Allow()
    before = driver.stored()
    refused = driver.check("s", 60)
    assert isinstance(refused, Deny)
    assert (refused.resource, refused.consumed, refused.reserved) == ("session_tokens", 0, 60)
    assert (refused.limit, refused.window, refused.resets_in) == (100, "day", 43_200)
    assert refused.cause == "reserved"
    assert driver.stored() == before


@pytest.mark.parametrize("per", ["tenant", "principal"])
def test_names_from_outside_keep_accounts_apart(make: Make, per: Any) -> None:
    driver = make(Limit(100, "tokens", per), session_info=None)
    names: list[dict[str, Any]] = [
        {}, {per: "None"}, {per: "null"}, {per: "a"}, {per: 'a", "b'}, {per: "\ud800"},
        {per: "}:{" * 300}, {per: "}:{" * 299 + "x"},
    ]  # fmt: skip
    if per == "principal":
        names += [{"tenant": "a"}, {"tenant": "a", "principal": "b"}]
    for info in names:
        with call_info(**info):
            driver.record(100)
            assert isinstance(driver.check(), Deny)
    counts = [key for key in driver.stored() if key.endswith(":counts")]
    assert len(counts) == len(names)
    assert max(map(len, driver.stored())) < 400


def test_two_guards_of_a_prefix_share_their_counts(make: Make) -> None:
    one = make(Limit(100, "tokens"))
    other = make(Limit(100, "tokens"), prefix=one.prefix)
    one.check("s", 60)
    assert isinstance(other.check("t", 60), Deny)
    one.record(100)
    [level] = other.guard.budget_levels()
    assert (level.consumed, level.reserved) == (100, 0), "what other processes did"


def test_a_call_without_a_price_is_counted_in_tokens_and_told(make: Make) -> None:
    driver = make(
        Limit(1.0), Limit(100, "tokens", "all"), prices=FlatRates.by_model({"known": PRICES})
    )
    assert driver.check("s", 10) == Allow()
    driver.record(10)
    driver.record({"prompt_tokens": "many"})
    told = {level.unit: level for level in driver.guard.budget_levels()}
    assert (told["USD"].consumed, told["USD"].uncounted_calls) == (0, 2)
    assert (told["tokens"].consumed, told["tokens"].uncounted_calls) == (10, 1)
    assert driver.guard.unreserved_calls == {"unknown_model": 1}
    assert sum(driver.guard.uncounted_calls.values()) == 2
    with call_info(cost_usd=0.25):
        driver.record(10)
    assert {level.unit: level.consumed for level in driver.guard.budget_levels()} == {
        "USD": 0.25,
        "tokens": 20,
    }


def test_tools_are_refused_by_name_or_pattern_without_redis() -> None:
    guard = RedisGuard(Limit(1, "tokens"), url="redis://127.0.0.1:1", deny_tools="shell*")
    assert isinstance(guard.check_before_tool("s", "shell_exec"), Deny)
    assert guard.check_before_tool("s", "search") == Allow()


def test_without_a_limit_nothing_is_asked() -> None:
    guard = RedisGuard(url="redis://127.0.0.1:1", reservation=HOLDS)
    assert guard.check_before_llm("s", 1) == Allow()
    guard.record_after_llm("s", usage_of(1))
    guard.release_llm("s")
    assert guard.budget_levels() == []


# -- reservations --------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("held", "used", "left"),
    [
        ((10, 30, 20), 15, 40),  # the smallest that covers it
        ((10, 30, 20), 20, 40),
        ((10, 30, 20), 35, 50),  # none does: the smallest
        ((10, 30, 20), 0, 50),
    ],
)
@pytest.mark.parametrize("unit", ["tokens", "USD"])
def test_a_record_ends_the_smallest_reservation_that_covers_it(
    make: Make, held: tuple[int, ...], used: int, left: int, unit: Any
) -> None:
    driver = make(Limit(1000 if unit == "tokens" else 1.0, unit))
    driver.check("other session", 17)
    for tokens in held:
        driver.check("s", tokens)
    driver.record(used)
    reserved = driver.level().reserved
    assert reserved == pytest.approx((left + 17) * (1 if unit == "tokens" else 1e-6))


def test_of_equal_reservations_a_record_ends_the_newest(make: Make) -> None:
    driver = make(Limit(1000, "tokens"))
    driver.check("s", 10)
    driver.clock.now += 30
    driver.check("s", 10)
    driver.record(10)
    assert driver.level().reserved_age == 30


def test_a_reservation_expires_and_its_late_record_takes_nobody_elses(make: Make) -> None:
    driver = make(Limit(100, "tokens"))
    driver.check("failed", 90)
    driver.clock.now += 59.9
    assert isinstance(driver.check("next", 20), Deny)
    driver.clock.now += 0.1
    assert driver.check("next", 20) == Allow()
    assert (driver.level().reserved, driver.level().reserved_age) == (20, 0)
    driver.record(30, "failed")
    assert (driver.level().consumed, driver.level().reserved) == (30, 20)


def test_what_has_expired_is_not_ended_once_more_after_a_clock_stepped_back(make: Make) -> None:
    driver = make(Limit(100, "tokens"))
    driver.check("s", 10)
    driver.clock.now += 30
    driver.check("s", 40)
    driver.clock.now += 30
    assert driver.level().reserved == 40
    driver.clock.now -= 20
    driver.record(5)
    assert driver.level().reserved == 0


def test_levels_end_what_has_expired_before_they_tell_it(make: Make) -> None:
    driver = make(Limit(100, "tokens"))
    driver.check("", 10)
    driver.clock.now += 20
    driver.check("", 15)
    driver.clock.now += 25
    assert (driver.level().reserved, driver.level().reserved_age) == (25, 45)
    driver.clock.now += 15  # nobody calls, and the first reservation ends
    assert (driver.level().reserved, driver.level().reserved_age) == (15, 40)
    driver.clock.now += 20
    assert (driver.level().reserved, driver.level().reserved_age) == (0, None)


def test_reservations_expire_by_redis_own_clock_too(make: Make) -> None:
    driver = make(Limit(100, "tokens"), clock=None, reservation=Reservation(0, expires_after=0.05))
    assert not isinstance(driver.check("failed", 90), Deny)
    for _ in range(1_000):
        if not isinstance(driver.check("next", 90), Deny):
            return
    pytest.fail("it did not expire")


def test_a_session_holds_so_many_reservations_and_is_refused_beyond(make: Make) -> None:
    driver = make(Limit(10_000, "tokens"))
    for _ in range(1_000):
        assert driver.check("s", 1) == Allow()
    refused = driver.check("s", 1)
    assert isinstance(refused, Deny)
    assert "as many calls in progress" in refused.reason
    assert driver.check("t", 1) == Allow()
    driver.release()
    assert driver.check("s", 1) == Allow()
    assert driver.level().reserved == 1_001


# -- windows -------------------------------------------------------------------------------
def test_a_reservation_outlives_midnight_and_a_call_counts_when_it_ends(make: Make) -> None:
    driver = make(Limit(100, "tokens"), clock=Clock(NOON + 43_199))
    driver.record(80)
    assert isinstance(driver.check("over", 20), SoftLimit)
    level = driver.level()
    assert (level.consumed, level.limit, level.window, level.window_length) == (80, 100, "day", DAY)
    assert level.window_remaining == 1.0
    driver.clock.now += 1
    assert (driver.level().consumed, driver.level().reserved) == (0, 20)
    driver.record(25, "over")
    assert (driver.level().consumed, driver.level().reserved) == (25, 0)
    assert driver.level().window_remaining == DAY


def test_a_clock_that_steps_gives_no_budget_twice(make: Make) -> None:
    driver = make(Limit(100, "tokens"))
    driver.record(70)
    driver.clock.now += 400 * DAY
    assert driver.level().consumed == 0
    driver.record(40)
    driver.clock.now -= 400 * DAY
    assert isinstance(driver.check("s", 31), Deny), "it goes on where it was"
    driver.record(5)
    driver.clock.now += 400 * DAY
    assert driver.level().consumed == 40
    driver.clock.now -= DAY
    assert driver.level().consumed == 40, (
        "into the day before: it goes on with the one that follows"
    )


def test_windows_are_those_of_redis_when_its_clock_is_another(make: Make) -> None:
    driver = make(
        Limit(100, "tokens", window="hour"), Limit(9, "tokens", "all", "month"), clock=None
    )
    driver.guard._ahead = 400 * DAY
    driver.record(8)
    assert abs(driver.guard._ahead) < 60
    assert {(v.window, v.consumed) for v in driver.guard.budget_levels()} == {
        ("hour", 8),
        ("month", 8),
    }


def test_every_key_ends_some_time_and_those_of_a_budget_together(
    make: Make, redis_server: RedisServer
) -> None:
    import redis

    driver = make(
        Limit(100, "tokens", window="hour"), Limit(100, "tokens", "session", "ever"),
        clock=None, forget_after=5 * DAY,
    )  # fmt: skip
    driver.check("s", 10)
    driver.record(5)
    driver.check("s", 10)
    with redis.Redis.from_url(redis_server.url) as client:
        lives = {name: client.pttl(name) / 1000 for name in driver.stored()}
    assert len(lives) == 7
    for name, life in lives.items():
        if ":calls:" in name:
            assert 50 < life <= 60
        elif ":hour:" in name:
            assert 3_600 <= life <= 7_200 + 60
        else:
            assert 5 * DAY - 60 < life <= 5 * DAY


def test_an_async_guard_serves_one_event_loop_after_the_other(redis_server: RedisServer) -> None:
    guard = AsyncRedisGuard(Limit(100, "tokens"), url=redis_server.url, prefix="loops")

    async def use(closes: bool) -> None:
        await guard.record_after_llm("s", usage_of(10))
        if closes:
            await guard.aclose()

    for number in range(3):
        asyncio.run(use(closes=number % 2 == 1))
        assert len(guard._of_loop) <= 1
    asyncio.run(use(closes=True))
    assert guard._of_loop == {}
    assert [level.consumed for level in guard.budget_levels()] == [40]
    guard._close()


# -- options -------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("limits", "options", "sentence"),
    [
        ((), {"when_down": "maybe"}, "'closed' or 'open'"),
        ((), {"shard": "principal"}, "shard must be 'tenant' or None"),
        ((), {"prefix": "a}b"}, "a name without braces"),
        ((), {"timeout": 0.0}, "timeout must be seconds above zero"),
        ((), {"forget_after": float("nan")}, "forget_after must be"),
        ((), {"url": []}, "needs the URL"),
        ((), {"url": "http://redis"}, "redis://"),
        ((Limit(1e7),), {}, "at most 9,007,199 USD"),
        ((Limit(1), Limit(2)), {}, "two limits share one count"),
    ],
)
def test_wrong_options_are_one_sentence(limits: Any, options: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        RedisGuard(*limits, **{"url": "redis://127.0.0.1:1", **options})


def test_a_cap_of_zero_refuses_the_first_call(make: Make) -> None:
    refused = make(Limit(0)).check()
    assert isinstance(refused, Deny)
    assert refused.cause == "spent"


def test_absurd_amounts_saturate(make: Make) -> None:
    driver = make(Limit(1000, "tokens"), session_info=SessionInfo())
    huge = TokenUsage(prompt_tokens=10**18, completion_tokens=0, total_tokens=10**18)
    for _ in range(3):
        driver.record(huge)
    assert driver.level().consumed == 2**53 - 1
