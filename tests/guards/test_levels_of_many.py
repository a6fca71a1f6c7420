"""Guards with many tenants: which levels are told, and that nobody waits while they are."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

import pytest

from otel_budget import BudgetLevel, SessionInfo, TokenUsage
from otel_budget.contract.levels import MAX_LEVELS
from otel_budget.guards import Limit, Reservation, WindowGuard
from otel_budget.guards import levels as levels_module
from otel_budget.guards.book import Book


def _guard(*limits: Limit, **options: Any) -> WindowGuard:
    return WindowGuard(
        *limits, session_info=lambda session: SessionInfo(tenant=session), prices=None, **options
    )


def _use(guard: WindowGuard, tenant: str, tokens: int) -> None:
    usage = TokenUsage(prompt_tokens=tokens, completion_tokens=0, total_tokens=tokens)
    guard.record_after_llm(tenant, usage)


def test_of_more_budgets_than_are_read_the_fullest_are_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    built: list[BudgetLevel] = []

    def build(**values: Any) -> BudgetLevel:
        built.append(BudgetLevel(**values))
        return built[-1]

    monkeypatch.setattr(levels_module, "BudgetLevel", build)
    guard = _guard(Limit(10_000, "tokens"), Limit(1_000_000, "tokens", window="month"))
    for number in range(MAX_LEVELS + 500):  # the oldest are the least full
        _use(guard, f"tenant-{number}", number)
    _use(guard, "tenant-7", 9_000)
    told = {(level.tenant, level.window) for level in guard.budget_levels()}
    fullest = [f"tenant-{number}" for number in range(501, MAX_LEVELS + 500)]
    assert told >= {("tenant-7", "day"), *((tenant, "day") for tenant in fullest)}
    assert len(told) == MAX_LEVELS == len(built)  # none is built for nothing


def test_what_is_reserved_counts_as_full_and_so_does_a_cap_of_zero(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(levels_module, "MAX_LEVELS", 2)
    guard = _guard(Limit(100, "tokens", soft=None), reservation=Reservation(output_tokens=0))
    for tenant in ("a", "b", "c"):
        _use(guard, tenant, 10)
    guard.check_before_llm("b", 80)
    guard.check_before_llm("d", 50)
    assert {level.tenant for level in guard.budget_levels()} == {"b", "d"}
    closed = _guard(Limit(0, "tokens", per="all"), Limit(100, "tokens"))
    for number in range(3):
        _use(closed, f"tenant-{number}", 10 * number)
    assert {level.tenant for level in closed.budget_levels()} == {None, "tenant-2"}


def test_of_budgets_that_are_equally_full_those_with_uncounted_calls_are_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(levels_module, "MAX_LEVELS", 2)
    guard = _guard(Limit(100))  # in USD, and there are no prices
    for tenant in ("a", "b", "b", "c", "d", "d"):
        guard.check_before_llm(tenant, 1)
        _use(guard, tenant, 10)
    told = {level.tenant: level.uncounted_calls for level in guard.budget_levels()}
    assert told == {"b": 2, "d": 2}


def test_a_check_does_not_wait_while_levels_are_built(monkeypatch: pytest.MonkeyPatch) -> None:
    guard = _guard(Limit(100, "tokens"))
    for number in range(3):
        _use(guard, f"tenant-{number}", 10)
    waited: list[bool] = []

    def build(**values: Any) -> BudgetLevel:
        check = threading.Thread(target=guard.check_before_llm, args=("tenant-0", 1), daemon=True)
        check.start()
        check.join(20)
        waited.append(check.is_alive())
        return BudgetLevel(**values)

    monkeypatch.setattr(levels_module, "BudgetLevel", build)
    assert len(guard.budget_levels()) == 3
    assert waited == [False] * 3


def test_a_check_waits_for_a_bounded_number_of_accounts(monkeypatch: pytest.MonkeyPatch) -> None:
    guard = _guard(Limit(100, "tokens"), Limit(1_000, "tokens", window="month"))
    for number in range(1_000):
        _use(guard, f"tenant-{number}", 10)
    events: list[str | int] = []

    class Lock:
        current: Lock

        def __enter__(self) -> None:
            events.append("held")

        def __exit__(self, *_: object) -> None: ...

    lock = Lock()
    lock.current = lock
    guard._lock = lock  # type: ignore[assignment]
    fillings = Book.fillings

    def counted(book: Book, now: float, keys: Any) -> Any:
        events.append(len(keys))
        return fillings(book, now, keys)

    monkeypatch.setattr(Book, "fillings", counted)
    monkeypatch.setattr(levels_module.time, "sleep", lambda _: events.append("gave way"))
    assert len(guard.budget_levels()) == 2_000
    assert events == ["held", *["held", 200, "gave way"] * 10]


def test_accounts_may_come_and_go_between_two_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    guard = _guard(Limit(100, "tokens"), max_keys=500)
    for number in range(500):
        _use(guard, f"old-{number}", 10)
    fillings, looks = Book.fillings, list[int]()

    def between(book: Book, now: float, keys: Iterable[Any]) -> Any:
        if looks:
            for number in range(500):  # each makes the guard forget an old one
                _use(guard, f"new-{looks[-1]}-{number}", 10)
        looks.append(len(looks))
        return fillings(book, now, keys)

    monkeypatch.setattr(Book, "fillings", between)
    levels = guard.budget_levels()
    assert [(level.consumed, str(level.tenant)[:3]) for level in levels] == [(10, "old")] * 200
    monkeypatch.undo()
    assert len(guard.budget_levels()) == 500
