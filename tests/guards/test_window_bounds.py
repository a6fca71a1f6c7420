"""What a window guard remembers: exactly so many, and from nothing on."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pytest

from otel_budget import Allow, Deny, FlatRates, SessionInfo, TokenUsage
from otel_budget.contract.session_info import UNKNOWN
from otel_budget.guards import Limit, WindowGuard
from otel_budget.guards.answers import Standing, decide
from otel_budget.guards.book import Book
from otel_budget.guards.calendar import period_at

USAGE = TokenUsage(prompt_tokens=10, completion_tokens=0, total_tokens=10)


@pytest.mark.parametrize("most", [1, 2, 3])
def test_a_limit_remembers_exactly_as_many_sessions_as_it_may(most: int) -> None:
    guard = WindowGuard(Limit(10, "tokens", "session"), max_keys=most)
    for number in range(5):
        guard.record_after_llm(f"s{number}", USAGE)
    spent = [isinstance(guard.check_before_llm(f"s{number}", 1), Deny) for number in range(5)]
    assert spent == [number >= 5 - most for number in range(5)]


@pytest.mark.parametrize("most", [0, -3])
def test_a_limit_remembers_one_session_at_least(most: int) -> None:
    guard = WindowGuard(Limit(10, "tokens", "session"), max_keys=most)
    guard.record_after_llm("s", USAGE)
    assert isinstance(guard.check_before_llm("s", 1), Deny)


def test_limits_remember_ten_thousand_by_default() -> None:
    guard = WindowGuard(Limit(10, "tokens", "session"))
    assert [book._max_keys for book in guard._books] == [10_000]


def test_windows_are_kept_for_a_clock_that_steps_back_and_no_longer() -> None:
    book = Book(Limit(10, "tokens", "all", "hour"), 10)
    for hour in range(4):
        book.add(hour * 3_600.0, "s", UNKNOWN, hour + 1)
        assert len(book._windows) == min(hour + 1, 2)
    assert book.used(3 * 3_600.0, "s", UNKNOWN) == 4
    assert book.used(2 * 3_600.0, "s", UNKNOWN) == 3
    assert book.used(1 * 3_600.0, "s", UNKNOWN) == 3  # gone: it goes on with the one that follows
    assert book.used(0 * 3_600.0, "s", UNKNOWN) == 0  # too far back for that
    assert book.used(4 * 3_600.0, "s", UNKNOWN) == 0


def test_calls_that_cost_nothing_are_priced() -> None:
    guard = WindowGuard(Limit(1, "USD", "all"), prices=FlatRates(0, 0))
    guard.record_after_llm("s", USAGE)
    assert guard.uncounted_calls == {}
    assert guard.check_before_llm("s", 1) == Allow()
    assert [level.consumed for level in guard.budget_levels()] == [0.0]


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="this system has one time zone")
@pytest.mark.parametrize("zone", ["EAST-9", "WEST8", "UTC"])
def test_windows_are_utcs_whatever_the_machines_time_zone(
    monkeypatch: pytest.MonkeyPatch, zone: str
) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        late = datetime(2026, 3, 31, 23, 30, tzinfo=UTC).timestamp()
        periods = {window: period_at(window, late) for window in ("hour", "day", "month")}
        assert {window: (period.start, period.resets_at) for window, period in periods.items()} == {
            "hour": (_at(31, 23), "2026-04-01 00:00 UTC"),
            "day": (_at(31, 0), "2026-04-01 00:00 UTC"),
            "month": (_at(1, 0), "2026-04-01 00:00 UTC"),
        }
    finally:
        monkeypatch.undo()
        time.tzset()


def _at(day: int, hour: int) -> float:
    return datetime(2026, 3, day, hour, tzinfo=UTC).timestamp()


@pytest.mark.parametrize("used", [(30, 10), (10, 30), (10, 30, 20)])
def test_the_level_of_a_tenant_is_that_of_its_fullest_session_in_any_order(
    used: tuple[int, ...],
) -> None:
    guard = WindowGuard(
        Limit(100, "tokens", "session"), session_info=lambda s: SessionInfo(tenant=s.split("-")[0])
    )
    for tenant in ("a", "b"):
        for number, tokens in enumerate(used):
            usage = TokenUsage(prompt_tokens=tokens, completion_tokens=0, total_tokens=tokens)
            guard.record_after_llm(f"{tenant}-{number}", usage)
    assert {level.tenant: level.consumed for level in guard.budget_levels()} == {"a": 30, "b": 30}


@pytest.mark.parametrize(
    ("cap", "unit", "printed"),
    [
        (0.05, "USD", "0.05"),
        (0.5, "USD", "0.50"),
        (0.0512, "USD", "0.0512"),
        (0.9999, "USD", "0.9999"),
        (1, "USD", "1.00"),
        (1.2345, "USD", "1.23"),
        (1_234.5, "USD", "1,234.50"),
        (0.5, "tokens", "0"),
        (1_234_567, "tokens", "1,234,567"),
    ],
)
def test_amounts_read_as_cents_unless_they_are_smaller(cap: float, unit: Any, printed: str) -> None:
    book = Book(Limit(cap, unit, "all", "ever"), 1)
    spent = Standing(book, round(cap * book.scale))
    denial = decide([spent], 0.0, "s", UNKNOWN)
    assert isinstance(denial, Deny)
    assert denial.reason == (
        f"All calls used {printed} of {printed} {unit} (this budget does not reset)."
    )


def test_a_call_without_a_price_is_logged_at_the_first_and_at_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    guard = WindowGuard(Limit(1, "USD"), prices=None)
    for number in range(1, 4):
        guard.record_after_llm("s", USAGE)
        assert len(caplog.records) == 1
        assert guard.uncounted_calls == {"no_prices": number}
