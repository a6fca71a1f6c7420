"""What the gauges of levels remember is bounded, and the oldest is what they forget."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest

from otel_budget.telemetry.metrics import levels as levels_module
from otel_budget.telemetry.metrics import polling
from otel_budget.telemetry.metrics.levels import Levels
from otel_budget.telemetry.metrics.polling import Poller
from otel_budget.telemetry.metrics.tallies import Tallies
from support.backend import Backend
from support.guards import SyncScript


@pytest.fixture
def three(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(levels_module, "MAX_SOFT_LIMITS", 3)
    monkeypatch.setattr(polling, "MAX_LEVELS", 3)


def _soft(resource: str) -> dict[str, Any]:
    return {"decision": "soft", "resource": resource, "consumed": 4, "limit": 5}


def _resources(backend: Backend) -> list[str]:
    return sorted(attributes["budget.resource"] for attributes, _ in backend.series("budget.limit"))


@pytest.mark.usefixtures("three")
def test_the_soft_limit_heard_longest_ago_is_forgotten_first(backend: Backend) -> None:
    script = SyncScript()
    guard = backend.instrument(script)
    for resource in ("a", "b", "c"):
        script.answer = _soft(resource)
        guard.check_before_llm("s", 1)
    assert _resources(backend) == ["a", "b", "c"]
    for resource in ("a", "d"):  # a is heard again, so b is the oldest when d comes
        script.answer = _soft(resource)
        guard.check_before_llm("s", 1)
    assert _resources(backend) == ["a", "c", "d"]


def test_remembered_soft_limits_do_not_grow_without_bound() -> None:
    tallies = Tallies(10)
    levels = Levels(tallies, Poller(lambda *_: None))
    for number in range(levels_module.MAX_SOFT_LIMITS + 500):
        levels.remember_soft_limit(tallies.labels(()), "g", f"budget-{number}", 1.0, 2.0)
    assert len(levels._soft_limits) == levels_module.MAX_SOFT_LIMITS <= 2_000


def _polled(answer: Any) -> Levels:
    """The levels of a guard with this answer."""
    poller, guard = Poller(lambda *_: None), SyncScript()
    _alive.append(guard)
    poller.add(guard, lambda _: answer, "g", ())
    poller.poll(20, now=True)
    return Levels(Tallies(10), poller)


_alive: list[Any] = []


@pytest.mark.usefixtures("three")
def test_of_a_guards_levels_the_fullest_are_reported() -> None:
    answer = [
        {"resource": "no limit", "consumed": 1_000, "limit": None},
        {"resource": "a tenth", "consumed": 10, "limit": 100},
        {"resource": "half", "consumed": 1, "limit": 2},
        {"resource": "closed", "consumed": 0, "limit": 0},
        {"resource": "reserved", "consumed": 1, "limit": 100, "reserved": 98},
    ]
    assert [key[2] for key in _polled(answer).rows()] == ["closed", "reserved", "half"]
    assert [key[2] for key in _polled(answer[:3]).rows()] == ["no limit", "a tenth", "half"]


@pytest.mark.usefixtures("three")
def test_of_an_endless_answer_a_part_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polling, "MAX_LOOKED_AT", 5)
    taken = count()
    endless = ({"resource": f"r{n}", "consumed": n, "limit": 100} for n in taken)
    assert [key[2] for key in _polled(endless).rows()] == ["r4", "r3", "r2"]
    assert next(taken) == 5


@pytest.mark.usefixtures("three")
def test_of_equal_levels_the_first_are_reported() -> None:
    answer = [{"resource": f"r{n}", "consumed": 1, "limit": 2} for n in range(9)]
    assert [key[2] for key in _polled(answer).rows()] == ["r0", "r1", "r2"]
