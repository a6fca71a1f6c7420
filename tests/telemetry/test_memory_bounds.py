"""What a process remembers of sessions, guards and failures is bounded."""

from __future__ import annotations

import logging
import threading
from typing import Any

import pytest

from otel_budget import BudgetLevel, SessionInfo
from otel_budget.telemetry import hub as hub_module
from otel_budget.telemetry import sessions as sessions_module
from otel_budget.telemetry import settings as settings_module
from otel_budget.telemetry.metrics.levels import LevelRow, Levels
from otel_budget.telemetry.metrics.polling import Poller
from otel_budget.telemetry.metrics.tallies import Tallies
from otel_budget.telemetry.sessions import Sessions
from support.backend import Backend
from support.guards import SyncScript


def test_a_session_remembers_the_log_events_of_a_few_resources(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sessions_module, "_MAX_RESOURCES", 2)
    sessions, key = Sessions(), (0, "s")
    told = [sessions.soft_limit_is_due(key, resource) for resource in ("a", "b", "a", "b")]
    assert told == [True, True, False, False]
    assert sessions.soft_limit_is_due(key, "c")  # one too many: the others are forgotten
    assert not sessions.soft_limit_is_due(key, "c")
    assert sessions.soft_limit_is_due(key, "a")


def test_running_totals_stop_where_an_export_would_break() -> None:
    sessions, key = Sessions(), (0, "s")
    for _ in range(3):
        cost, tokens = sessions.spend(key, 9e299, 2**62)
    assert (cost, tokens) == (1e300, 2**63 - 1)


def test_attributes_of_many_infos_are_forgotten_and_worked_out_anew(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings_module, "_REMEMBERED", 2)
    guard = backend.instrument(
        SyncScript(), session_info=lambda session: SessionInfo(tenant=session)
    )
    sessions = ["a", "b", "a", "c", "a", "d", "e"]
    for session in sessions:
        guard.check_before_llm(session, 1)
        assert len(guard._otel_budget_settings._identities) <= 2
    assert [span.attributes["budget.tenant"] for span in backend.spans()] == sessions
    assert backend.value("budget.decisions", budget__tenant="a") == 3


def test_kinds_of_failures_are_logged_up_to_a_bound_and_counted_beyond_it(
    backend: Backend, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "_MAX_LOGGED", 2)
    guard = backend.instrument(SyncScript())
    for why in ("one", "two", "two", "three", "four"):
        guard._otel_budget_settings.destination.hub.report_failure("span", OSError("secret"), why)
    lines = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert [line.split(" failed ")[1][:19] for line in lines] == [
        "(span, one, OSError",
        "(span, two, OSError",
    ]
    assert "secret" not in caplog.text
    assert backend.value("budget.telemetry.errors", budget__component="span") == 5


# -- levels ----------------------------------------------------------------------------------
def test_while_one_poll_is_under_way_a_second_gives_up_at_its_deadline() -> None:
    poller = Poller(lambda *_: None)
    entered, release, asked = threading.Event(), threading.Event(), list[int]()
    guard = SyncScript()

    def ask(_: Any) -> list[Any]:
        asked.append(1)
        entered.set()
        release.wait(20)
        return []

    poller.add(guard, ask, "g", ())
    first = threading.Thread(target=poller.poll, args=(20,), kwargs={"now": True})
    first.start()
    assert entered.wait(20)
    poller.poll(0.01, now=True)
    assert asked == [1]
    release.set()
    first.join(20)
    poller.poll(20, now=True)  # the first has left: this one asks
    assert asked == [1, 1]


def test_a_guard_that_is_gone_is_no_longer_watched() -> None:
    poller = Poller(lambda *_: None)
    guard = SyncScript()
    poller.add(guard, lambda _: [], "g", ())
    poller.poll(20, now=True)
    assert poller.has_guards
    del guard
    poller.poll(20, now=True)
    assert not poller.has_guards


def test_a_guard_without_an_answer_in_time_is_named_as_such() -> None:
    failures: list[tuple[str, BaseException | None]] = []
    release = threading.Event()
    poller = Poller(lambda why, error: failures.append((why, error)))
    hanging, broken = SyncScript(), SyncScript()
    error = OSError("down")

    def hang(_: Any) -> list[Any]:
        release.wait(20)
        return []

    def fail(_: Any) -> Any:
        raise error

    poller.add(hanging, hang, "hangs", ())
    poller.add(broken, fail, "broken", ())
    poller.poll(0.5, now=True)
    release.set()
    assert failures == [
        ("no answer within 0.5 s", None),
        ("budget_levels() failed", error),
    ]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(
    ("less", "more"),
    [
        ((4.0, 10.0), (5.0, 10.0)),
        ((4.0, None), (5.0, None)),
        ((900.0, None), (1.0, 10.0)),  # without a limit nothing is full
        ((900.0, None), (0.0, 10.0)),
        ((5.0, 10.0), (50.0, 100.0)),  # equally full: the larger one
    ],
)
def test_of_two_levels_on_one_series_the_fuller_stands(
    less: tuple[float, float | None], more: tuple[float, float | None], reverse: bool
) -> None:
    poller = Poller(lambda *_: None)
    levels = Levels(Tallies(10), poller)
    guard = SyncScript()
    told = [
        {"resource": "usd", "consumed": consumed, "limit": limit}
        for consumed, limit in ((more, less) if reverse else (less, more))
    ]
    poller.add(guard, lambda _: told, "g", ())
    poller.poll(20, now=True)
    assert list(levels.rows().values()) == [LevelRow.of(BudgetLevel("usd", *more))]
