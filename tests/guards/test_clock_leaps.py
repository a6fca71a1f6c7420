"""A clock that leaps ahead and comes back: no budget stays closed, and none is given out twice."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from otel_budget import Allow, Deny, TokenUsage
from otel_budget.guards import Limit, WindowGuard

HOUR = 3_600.0
YEAR = 365 * 24 * HOUR
TEN = TokenUsage(prompt_tokens=10, completion_tokens=0, total_tokens=10)


class Guard:
    def __init__(self) -> None:
        self.now = 500_000 * HOUR
        self.guard = WindowGuard(Limit(10, "tokens", "all", "hour"), clock=lambda: self.now)

    def use(self, at: float) -> None:
        self.now = at
        self.guard.record_after_llm("s", TEN)

    def is_open(self, at: float) -> bool:
        self.now = at
        return not isinstance(self.guard.check_before_llm("s", 0), Deny)

    @property
    def windows(self) -> int:
        return len(self.guard._books[0]._windows)


@pytest.mark.parametrize("hours_ahead", [1, 2, 5, 100])
def test_a_clock_that_was_ahead_for_some_windows_leaves_none_closed(hours_ahead: int) -> None:
    guard = Guard()
    here = guard.now
    for hour in range(hours_ahead):
        guard.use(here + YEAR + hour * HOUR)
    for hour in range(6):
        assert guard.is_open(here + hour * HOUR)
        guard.use(here + hour * HOUR)
        assert not guard.is_open(here + hour * HOUR)
    assert guard.windows <= 3


@pytest.mark.parametrize("hours_ahead", [1, 2, 5, 100])
def test_the_window_from_which_the_clock_leapt_is_not_given_out_again(hours_ahead: int) -> None:
    guard = Guard()
    here = guard.now
    guard.use(here - HOUR)
    guard.use(here)
    for hour in range(hours_ahead):
        guard.use(here + YEAR + hour * HOUR)
    assert not guard.is_open(here + 60)
    assert guard.is_open(here + HOUR)


def test_a_step_back_of_less_than_a_window_gives_no_budget_twice() -> None:
    for back in (1.0, 600.0, HOUR - 1, HOUR):
        guard = Guard()
        here = guard.now
        for hour in range(4):
            guard.use(here + hour * HOUR)
        for hour in (3, 2):
            assert not guard.is_open(here + hour * HOUR - back)
    guard = Guard()
    guard.use(guard.now)  # the first window that was ever used
    assert not guard.is_open(guard.now - 1)
    assert guard.is_open(guard.now - 2 * HOUR)


def test_records_after_a_small_step_back_count_in_the_window_that_follows() -> None:
    guard = Guard()
    here = guard.now
    for hour in (1, 2):
        guard.now = here + hour * HOUR
        guard.guard.check_before_llm("s", 0)
    guard.use(here + HOUR)
    guard.use(here + HOUR - 1)
    assert [level.consumed for level in guard.guard.budget_levels()] == [20.0]


def test_at_most_three_windows_are_kept_however_the_clock_leaps() -> None:
    guard = Guard()
    here = guard.now
    order: list[Any] = [0, 1, 2, 50, 51, 3, 4, 52, 53, 54, 5, 900, 6, 7, 8, 9]
    for hour in order:
        guard.use(here + hour * HOUR)
        assert guard.windows <= 3
        assert not guard.is_open(here + hour * HOUR)
    assert all(a + 1 == b for a, b in pairwise(order[-4:]))
    assert guard.guard.check_before_llm("s", 0) != Allow()
    assert guard.is_open(here + 10 * HOUR)
