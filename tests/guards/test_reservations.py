"""What a window guard reserves for calls in progress, and when that ends."""

from __future__ import annotations

import asyncio
import inspect
import threading
from typing import Any

import pytest

from otel_budget import Allow, Deny, FlatRates, SessionInfo, SoftLimit, TokenUsage, call_info
from otel_budget.guards import AsyncWindowGuard, Limit, Reservation, WindowGuard
from otel_budget.guards import reservations as module
from support.processes import python


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def usage(tokens: int) -> TokenUsage:
    return TokenUsage(prompt_tokens=tokens, completion_tokens=0, total_tokens=tokens)


class Driver:
    """Calls a guard of either kind, which reserves 50 tokens of output."""

    def __init__(self, kind: Any, *limits: Limit, output: int = 50, **options: Any) -> None:
        self.clock = Clock()
        reservation = Reservation(output, clock=self.clock)
        self.guard = kind(*limits, reservation=reservation, clock=self.clock, **options)

    def _wait(self, answer: Any) -> Any:
        return asyncio.run(answer) if inspect.iscoroutine(answer) else answer

    def check(self, session: str = "s", estimate: Any = 50) -> Any:
        return self._wait(self.guard.check_before_llm(session, estimate))

    def record(self, tokens: Any, session: str = "s") -> None:
        spent = usage(tokens) if isinstance(tokens, int) else tokens
        self._wait(self.guard.record_after_llm(session, spent))

    def release(self, session: str = "s") -> None:
        self._wait(self.guard.release_llm(session))

    def sizes(self, session: str = "s") -> list[int]:
        return [held.size for held in self.guard._holds._of_session.get(session, {}).values()]


@pytest.fixture(params=[WindowGuard, AsyncWindowGuard])
def make(request: pytest.FixtureRequest) -> Any:
    return lambda *limits, **options: Driver(request.param, *limits, **options)


def test_an_estimate_that_does_not_fit_is_refused_and_reserves_nothing(make: Any) -> None:
    guard = make(Limit(1_000, "tokens", "all", "ever"))
    assert guard.check(estimate=10_000_000) == Deny(
        resource="total_tokens",
        reason="All calls used 0 of 1,000 tokens (this budget does not reset); 0 more are reserved "
        "for calls in progress, which leaves too little for the 10,000,050 that this call may "
        "need.",
        consumed=0.0,
        limit=1_000.0,
        reserved=0.0,
        cause="reserved",
    )
    assert guard.check(estimate=950) == Allow()
    assert isinstance(guard.check(estimate=0), Deny)


def test_a_check_reserves_in_all_its_limits_or_in_none(make: Any) -> None:
    guard = make(
        Limit(1_000, "tokens", "all", soft=None), Limit(250, "tokens", "session", soft=None)
    )
    assert guard.check("a") == Allow()
    assert guard.check("a") == Allow()
    for _ in range(5):
        assert guard.check("a").resource == "session_tokens"
    assert [guard.check(f"b{number}") for number in range(8)] == [Allow()] * 8
    assert guard.check("c").resource == "total_tokens"
    assert [book._reserved[None].amount for book in guard.guard._books[:1]] == [1_000]


def test_soft_limits_compare_what_is_used_and_reserved(make: Any) -> None:
    guard = make(Limit(1_000, "tokens", "all", "ever", soft=0.2))
    guard.record(120)
    assert guard.check() == Allow()
    assert guard.check() == SoftLimit(
        resource="total_tokens",
        consumed=120.0,
        reserved=100.0,
        limit=200.0,
        message="All calls used 120 and reserved 100 tokens, over 20% of 1,000 (this budget does "
        "not reset).",
    )


@pytest.mark.parametrize(
    ("used", "left"),
    [(100, [200, 300]), (101, [100, 300]), (301, [200, 300]), (0, [200, 300])],
    ids=["covers exactly", "the next larger", "none covers", "nothing"],
)
def test_a_record_ends_the_smallest_that_covers_it(make: Any, used: int, left: list[int]) -> None:
    guard = make(Limit(10_000, "tokens", "all"))
    for estimate in (150, 50, 250):
        guard.check(estimate=estimate)
    guard.record(used)
    assert guard.sizes() == left


def test_of_equal_ones_the_newest_ends(make: Any) -> None:
    guard = make(Limit(10_000, "tokens", "all"))
    for _ in range(3):
        guard.check()
        guard.clock.now += 1
    guard.record(70)
    begun = [held.expires_at - 120 for held in guard.guard._holds._held.values()]
    assert begun == [1_000_000.0, 1_000_001.0]


def test_a_release_ends_the_smallest_and_only_of_its_session(make: Any) -> None:
    guard = make(Limit(10_000, "tokens", "all"))
    guard.check("s", 200)
    guard.check("s", 50)
    guard.check("other", 10)
    guard.release()
    assert (guard.sizes(), guard.sizes("other")) == ([250], [60])
    guard.release()
    guard.release()
    assert (guard.sizes(), guard.sizes("other")) == ([], [60])


def test_reservations_expire_before_checks_and_levels_look(make: Any) -> None:
    guard = make(Limit(100, "tokens", "all"))
    assert guard.check() == Allow()
    guard.clock.now += 119.9
    assert isinstance(guard.check(), Deny)
    guard.clock.now += 0.1
    assert guard.check() == Allow()
    guard.clock.now += 120
    guard.guard.budget_levels()
    assert len(guard.guard._holds) == 0


def test_a_reservation_weighs_on_whatever_window_is_current(make: Any) -> None:
    guard = make(Limit(150, "tokens", "all", "hour"))
    guard.clock.now = 3_600.0 * 500 - 1
    assert guard.check() == Allow()
    guard.clock.now += 2
    assert isinstance(guard.check(), Deny)
    guard.record(30)
    assert guard.check() == Allow()


def test_an_account_that_holds_a_reservation_is_not_forgotten(make: Any) -> None:
    guard = make(Limit(1_000, "tokens", "session"), max_keys=2)
    guard.record(950, "holding")
    assert isinstance(guard.check("holding", 0), SoftLimit)
    for number in range(5):
        guard.record(1, f"s{number}")
    assert guard.check("holding", 0).reason.startswith("Session holding used 950 of 1,000")
    guard.release("holding")
    for number in range(5):
        guard.record(1, f"s{number}")
    assert guard.check("holding", 0) == Allow()


def test_in_usd_a_reservation_is_priced_by_the_guards_prices(make: Any) -> None:
    guard = make(
        Limit(1, "USD", "all", "ever"),
        prices=FlatRates.by_model({"m": FlatRates(input=1.0, output=10.0)}),
        session_info=SessionInfo(model="m"),
        output=50_000,
    )
    assert guard.check(estimate=100_000) == Allow()  # 0.1 and 0.5
    assert "the 0.60 that this call may need" in guard.check(estimate=100_000).reason
    with call_info(model="unknown"):
        assert guard.check(estimate=10**9) == Allow()
    assert guard.guard.unreserved_calls == {"unknown_model": 1}
    with call_info(model="unknown"):
        guard.record(5)  # ends the reservation of nothing
    assert isinstance(guard.check(estimate=100_000), Deny)
    guard.release()
    assert guard.check(estimate=100_000) == Allow()


@pytest.mark.parametrize("estimate", [None, "many", float("nan"), -5])
def test_an_estimate_that_is_no_number_reserves_the_output(make: Any, estimate: Any) -> None:
    guard = make(Limit(1_000, "tokens", "all"))
    assert guard.check(estimate=estimate) == Allow()
    assert guard.sizes() == [50]


def test_a_guard_holds_so_many_reservations_and_refuses_beyond(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_OF_A_SESSION", 3)
    monkeypatch.setattr(module, "MOST", 5)
    guard = make(Limit(10**9, "tokens", "all"))
    assert [isinstance(guard.check("a"), Allow) for _ in range(4)] == [True] * 3 + [False]
    assert "must wait" in guard.check("a").reason
    assert [isinstance(guard.check("b"), Allow) for _ in range(3)] == [True, True, False]
    guard.release("a")
    assert guard.check("b") == Allow()


def test_without_a_reservation_nothing_is_reserved(make: Any) -> None:
    guard = WindowGuard(Limit(100, "tokens", "all"))
    assert [guard.check_before_llm("s", 10**6) for _ in range(3)] == [Allow()] * 3
    guard.release_llm("s")


@pytest.mark.parametrize("arguments", [(-1,), (float("nan"),), (1, 0.0), (1, float("inf"))])
def test_a_reservation_that_makes_no_sense_is_a_clear_error(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match="a reservation's"):
        Reservation(*arguments)


def test_twenty_threads_never_use_more_than_the_cap() -> None:
    guard = WindowGuard(Limit(1_000, "tokens", "all"), reservation=Reservation(50))
    ready = threading.Barrier(20)

    def work(number: int) -> None:
        ready.wait()
        for _ in range(20):
            if not isinstance(guard.check_before_llm(f"s{number % 4}", 50), Deny):
                guard.record_after_llm(f"s{number % 4}", usage(100))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [level.consumed for level in guard.budget_levels()] == [1_000]


def test_finalizers_that_call_the_guard_in_the_middle_leave_it_consistent() -> None:
    python(
        """
        import faulthandler, random, sys
        faulthandler.dump_traceback_later(50, exit=True)
        from otel_budget import TokenUsage
        from otel_budget.guards import Limit, Reservation, WindowGuard
        now = [0.0]
        guard = WindowGuard(
            Limit(10**9, "tokens", per="session"), Limit(1500, "tokens", per="all"),
            reservation=Reservation(50, clock=lambda: now[0]), max_keys=2,
        )
        usage = TokenUsage(prompt_tokens=0, completion_tokens=0, total_tokens=0)
        dice = random.Random(1)
        def deed(session):
            which = dice.randrange(4)
            if which == 0:
                guard.record_after_llm(session, usage)
            elif which == 1:
                guard.release_llm(session)
            else:
                guard.check_before_llm(session, dice.choice((10, 50)))
        def interrupt(frame, event, argument):
            # Where Python runs signal handlers: as a call begins, and as it has returned.
            if event != "c_call" and "otel_budget/guards" in frame.f_code.co_filename:
                if dice.random() < 0.05:
                    deed(dice.choice("ab"))
        for round in range(3000):
            sys.setprofile(interrupt)
            deed(dice.choice("ab"))
            sys.setprofile(None)
            now[0] += dice.choice((0, 1, 30))
            holds = list(guard._holds._held.values())
            assert sum(h.size for h in holds) <= 1500
            for book in guard._books:
                held = {}
                for h in holds:
                    for of, key, amount in h.amounts:
                        if of is book:
                            held[key] = held.get(key, 0) + amount
                assert held == {k: r.amount for k, r in book._reserved.items()}, round
            in_sessions = [h for s in guard._holds._of_session.values() for h in s.values()]
            assert sorted(h.number for h in in_sessions) == sorted(h.number for h in holds), round
        """
    )


def test_levels_tell_what_is_reserved_and_for_how_long(make: Any) -> None:
    guard = make(
        Limit(1_000, "tokens"), Limit(1_000, "tokens", "session"),
        session_info=lambda session: SessionInfo(tenant=session[0]),
    )  # fmt: skip
    clock = guard.clock
    guard.record(30, "a1")
    guard.check("a1", estimate=50)
    clock.now += 7
    guard.check("a2", estimate=150)
    guard.check("b1", estimate=50)  # has used nothing yet

    def told() -> dict[tuple[str, str | None], tuple[Any, ...]]:
        return {
            (level.resource, level.tenant): (level.consumed, level.reserved, level.reserved_age)
            for level in guard.guard.budget_levels()
        }

    assert told() == {
        ("llm_tokens", "a"): (30.0, 300.0, 7.0),
        ("session_tokens", "a"): (0.0, 200.0, 0.0),  # the fullest of the tenant's two
        ("llm_tokens", "b"): (0.0, 100.0, 0.0),
        ("session_tokens", "b"): (0.0, 100.0, 0.0),
    }
    assert {level.shared for level in guard.guard.budget_levels()} == {False}
    clock.now += 119.5  # the first has expired
    assert told()["llm_tokens", "a"] == (30.0, 200.0, 119.5)
    clock.now += 1
    assert told()["llm_tokens", "a"] == (30.0, 0.0, None)
    assert ("llm_tokens", "b") not in told()


def test_a_refusal_says_whether_the_budget_is_spent_or_reserved(make: Any) -> None:
    guard = make(Limit(1_000, "tokens", "all", "day", soft=None))
    guard.record(800)
    guard.check(estimate=100)
    refused = guard.check(estimate=100)
    numbers = (refused.consumed, refused.reserved, refused.limit, refused.window)
    assert (*numbers, refused.cause) == (800.0, 150.0, 1_000.0, "day", "reserved")
    assert 0 < refused.resets_in <= 86_400
    guard.record(200)
    refused = guard.check(estimate=0)
    assert (refused.consumed, refused.reserved, refused.cause) == (1_000.0, 0.0, "spent")
