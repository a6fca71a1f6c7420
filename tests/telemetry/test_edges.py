"""Exactly at the edge: intervals and deadlines of the telemetry, by a clock that stands still."""

from __future__ import annotations

from typing import Any

import pytest

from otel_budget.contract.interpretation import outcome_of
from otel_budget.telemetry import sessions as sessions_module
from otel_budget.telemetry.metrics import levels as levels_module
from otel_budget.telemetry.metrics import polling
from otel_budget.telemetry.metrics.levels import Levels
from otel_budget.telemetry.metrics.polling import Poller
from otel_budget.telemetry.metrics.tallies import Tallies
from otel_budget.telemetry.sessions import Sessions
from support.backend import Backend
from support.guards import SyncScript

DENY = {"decision": "deny", "resource": "usd", "reason": "spent"}


class Clock:
    now = 10_000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(levels_module, "time", clock)
    monkeypatch.setattr(polling, "time", clock)
    monkeypatch.setattr(sessions_module, "time", clock)
    return clock


def test_a_soft_limit_is_logged_again_after_exactly_a_minute(clock: Clock) -> None:
    sessions, key = Sessions(), (0, "s")
    assert sessions.soft_limit_is_due(key, "usd")
    clock.now += 59.5
    assert not sessions.soft_limit_is_due(key, "usd")
    clock.now += 0.5
    assert sessions.soft_limit_is_due(key, "usd")


def test_a_session_has_a_new_root_after_exactly_an_hour(backend: Backend, clock: Clock) -> None:
    guard = backend.instrument(SyncScript())
    guard.check_before_llm("s", 1)
    clock.now += 3_599.5
    guard.check_before_llm("s", 1)
    assert len(backend.roots()) == 1
    clock.now += 0.5
    guard.check_before_llm("s", 1)
    assert len(backend.roots()) == 2


def test_an_answer_is_old_after_exactly_a_minute_and_a_soft_limit_after_more_than_five(
    clock: Clock,
) -> None:
    tallies = Tallies(10)
    poller = Poller(lambda *_: None)
    levels = Levels(tallies, poller)
    guard = SyncScript()
    poller.add(guard, lambda _: [{"resource": "cap", "consumed": 1, "limit": 2}], "g", ())
    poller.poll(20, now=True)
    levels.remember_soft_limit(tallies.labels(()), "g", "soft", 1.0, 2.0)

    def reported() -> list[Any]:
        return sorted(key[2] for key in levels.rows())

    clock.now += 59.5
    assert reported() == ["cap", "soft"]
    clock.now += 0.5
    assert reported() == ["soft"]
    clock.now += 240
    assert reported() == ["soft"]
    clock.now += 0.5
    assert reported() == []
    assert not levels._soft_limits


def test_a_guard_is_due_a_little_before_the_interval_is_over(clock: Clock) -> None:
    poller = Poller(lambda *_: None)
    guard, asked = SyncScript(), list[float]()
    poller.add(guard, lambda _: asked.append(clock.now) or [], "g", ())  # type: ignore[func-returns-value]
    poller.poll(20)
    clock.now += 4.4
    poller.poll(20)
    assert len(asked) == 1
    clock.now += 0.1
    poller.poll(20)
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("seconds", "late_after", "decision"),
    [
        (5.0, "auto", "deny"),
        (5.001, "auto", "late"),
        (1.0, 1.0, "deny"),
        (1.001, 1.0, "late"),
        (1.001, None, "deny"),
    ],
)
def test_an_answer_at_the_deadline_itself_is_in_time(
    seconds: float, late_after: Any, decision: str
) -> None:
    assert outcome_of(DENY, seconds, late_after).decision == decision
