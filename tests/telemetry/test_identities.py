"""Whose limits are logged, what a log event's times are, and who is asked for levels."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from otel_budget import BudgetGate, SessionInfo, call_info
from otel_budget.telemetry.call import Call
from otel_budget.telemetry.metrics.levels import Levels
from otel_budget.telemetry.metrics.polling import Poller
from otel_budget.telemetry.metrics.tallies import Tallies
from otel_budget.telemetry.sessions import namespace_of
from support.backend import Backend
from support.guards import SyncScript

SOFT = {"decision": "soft", "resource": "usd", "consumed": 4, "limit": 5}


def test_each_session_and_resource_logs_its_soft_limit(backend: Backend) -> None:
    script = SyncScript(SOFT)
    guard = backend.instrument(script)
    for session in ("a", "b", "a"):
        guard.check_before_llm(session, 1)
    script.answer = {**SOFT, "resource": "tokens"}
    guard.check_before_llm("a", 1)
    told = [
        (log.attributes["session.id"], log.attributes["budget.resource"]) for log in backend.logs()
    ]
    assert told == [("a", "usd"), ("b", "usd"), ("a", "tokens")]


def test_a_log_event_happened_when_it_was_observed(backend: Backend) -> None:
    backend.instrument(SyncScript(SOFT)).check_before_llm("a", 1)
    (log,) = backend.logs()
    assert log.timestamp == log.observed_timestamp
    (span,) = backend.spans()
    assert span.start_time <= log.timestamp


def test_where_session_info_fails_call_info_still_holds(backend: Backend) -> None:
    def fail(session: str) -> SessionInfo:
        raise OSError("no database")

    guard = backend.instrument(SyncScript(), session_info=fail)
    guard.check_before_llm("a", 1)
    with call_info(tenant="acme"):
        guard.check_before_llm("a", 1)
    tenants = [span.attributes.get("budget.tenant") for span in backend.spans()]
    assert tenants == [None, "acme"]
    assert backend.value("budget.decisions") == 2
    assert backend.value("budget.telemetry.errors", budget__component="session_info") == 2
    assert backend.value("budget.telemetry.errors") == 2


def test_a_failure_to_count_a_lost_usage_is_reported(
    backend: Backend, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Any) -> None:
        raise OSError("secret")

    gate = BudgetGate(backend.instrument(SyncScript()))
    with gate.llm_call("s", 1):
        monkeypatch.setattr(Call, "identify", fail)
    assert backend.value("budget.telemetry.errors", budget__component="metrics") == 1
    lines = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert any("(metrics, OSError)" in line for line in lines)


def test_a_failure_while_a_call_is_closed_ends_its_span_and_is_reported(
    backend: Backend, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    guard = backend.instrument(SyncScript())
    hub = guard._otel_budget_settings.destination.hub

    def fail(*_: Any) -> None:
        raise OSError("secret")

    monkeypatch.setattr(hub, "enqueue", fail)
    assert guard.check_before_llm("s", 1) is None
    assert len(backend.spans()) == 1
    assert backend.value("budget.telemetry.errors", budget__component="metrics") == 1
    assert "(metrics, OSError)" in caplog.text


def test_guards_that_are_adopted_twice_are_asked_once() -> None:
    first, second = Poller(lambda *_: None), Poller(lambda *_: None)
    levels = Levels(Tallies(10), second)
    guard, gone, asked = SyncScript(), SyncScript(), list[str]()

    def ask(name: str) -> Any:
        def answer(_: Any) -> list[Any]:
            asked.append(name)
            return [{"resource": name, "consumed": 1, "limit": 2, "tenant": "acme"}]

        return answer

    first.add(guard, ask("here"), "the guard", ("tenant",))
    first.add(gone, ask("gone"), "the other", ())
    del gone
    second.adopt(first)
    second.adopt(first)
    second.poll(20, now=True)
    assert asked == ["here"]
    ((key, _),) = levels.rows().items()
    assert key[0].pairs == (("budget.tenant", "acme"),)
    assert key[1:] == ("the guard", "here", None, "USD", "guard", None)


def test_only_a_guard_with_a_trace_provider_of_its_own_has_sessions_of_its_own(
    backend: Backend,
) -> None:
    own = backend.instrument(SyncScript())
    shared = backend.instrument(SyncScript(), tracer_provider=None)
    namespaces = [guard._otel_budget_settings.destination.namespace for guard in (own, shared)]
    assert namespaces == [namespace_of(backend.tracer_provider), None]
    shared.check_before_llm("s", 1)
    assert backend.spans() == []
    own.check_before_llm("s", 1)
    assert len(backend.spans()) == 1
