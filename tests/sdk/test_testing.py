"""`capture_telemetry`, for users' own tests."""

from __future__ import annotations

import gc
import os
import threading

import pytest

from otel_budget import BudgetLevel, BudgetThresholdHit, FlatRates, SessionInfo, instrument
from otel_budget.testing import capture_telemetry
from support.backend import Backend
from support.guards import Make, SyncScript
from support.processes import python

DENY = {"decision": "deny", "resource": "usd", "reason": "spent"}
SOFT = {"decision": "soft", "resource": "usd", "consumed": 4, "limit": 5}
ALLOW = {"decision": "allow"}


def test_a_capture_sees_guards_instrumented_before_and_inside(backend: Backend, make: Make) -> None:
    before = backend.instrument(make.guard(make.deny()), name="before")
    make.call(before, "check_before_llm", "s", 1)
    with capture_telemetry() as telemetry:
        inside = instrument(make.guard(make.soft()), name="inside", prices=FlatRates(1, 1))
        make.call(before, "check_before_llm", "s", 1)
        make.call(inside, "check_before_tool", "s", "rm")
        make.call(inside, "record_after_llm", "s", make.usage())
        assert telemetry.value("budget.decisions") == 2
    make.call(before, "check_before_llm", "s", 1)
    make.call(inside, "check_before_tool", "s", "rm")
    # Values are relative to entry, and do not change after the end.
    assert telemetry.value("budget.decisions") == 2
    assert telemetry.value("budget.decisions", decision="deny", decision_point="llm") == 1
    assert telemetry.value("budget.threshold_hits", tool_name="rm", kind="soft") == 1
    assert telemetry.value("budget.tokens", token_type="input") == 100
    assert telemetry.value("budget.cost") == pytest.approx(120e-6)
    assert telemetry.value("budget.guard.duration", guard_name="inside") == 2
    assert telemetry.value("budget.decisions", decision="late") == 0
    assert [span.name for span in telemetry.spans if span.name != "budget.session"] == [
        "budget.check_before_llm",
        "budget.check_before_tool",
        "budget.record_after_llm",
    ]
    assert telemetry.hits == [
        BudgetThresholdHit(
            kind="hard", resource="llm_cost_usd", consumed=0, limit=0, message="spent"
        ),
        BudgetThresholdHit(kind="soft", resource="llm_cost_usd", consumed=4, limit=5),
    ]
    # What the guard's own providers saw is what happened outside.
    assert backend.value("budget.decisions") == 2
    assert len(backend.spans()) == 2


def test_the_inner_of_two_nested_captures_captures(backend: Backend) -> None:
    guard = backend.instrument(SyncScript(DENY))
    with capture_telemetry() as outer:
        guard.check_before_llm("s", 1)
        with capture_telemetry() as inner:
            guard.check_before_llm("s", 1)
            guard.check_before_llm("s", 1)
        guard.check_before_llm("s", 1)
    assert inner.value("budget.decisions", decision="deny") == 2
    assert outer.value("budget.decisions", decision="deny") == 2
    assert (len(inner.hits), len(outer.hits)) == (2, 2)
    assert backend.value("budget.decisions") == 0


@pytest.mark.parametrize(("events", "hits"), [("span", 3), ("logs", 3), ("both", 3)])
def test_hits_are_found_wherever_they_are_written(backend: Backend, events: str, hits: int) -> None:
    guard = backend.instrument(SyncScript(DENY), events=events)
    with capture_telemetry() as telemetry:
        for _ in range(hits):
            guard.check_before_llm("s", 1)
    assert len(telemetry.hits) == hits


def test_thinned_log_events_hide_no_hit(backend: Backend) -> None:
    guard = backend.instrument(SyncScript(SOFT))
    with capture_telemetry() as telemetry:
        for _ in range(3):
            guard.check_before_llm("s", 1)
    assert len(telemetry.hits) == 3
    assert len(telemetry.logs) == 1


def test_a_capture_ends_with_its_block_even_on_an_error(backend: Backend) -> None:
    guard = backend.instrument(SyncScript(ALLOW))
    with pytest.raises(RuntimeError, match="the test's own"), capture_telemetry() as telemetry:
        guard.check_before_llm("s", 1)
        raise RuntimeError("the test's own")
    guard.check_before_llm("s", 1)
    assert telemetry.value("budget.decisions") == 1
    assert backend.value("budget.decisions") == 1


def test_a_capture_sees_every_thread(backend: Backend) -> None:
    guard = backend.instrument(SyncScript(ALLOW))
    with capture_telemetry() as telemetry:
        threads = [
            threading.Thread(target=guard.check_before_llm, args=(f"s{i}", 1)) for i in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert telemetry.value("budget.decisions", decision="allow") == 8


def test_labels_and_call_attributes_are_keywords(backend: Backend) -> None:
    info = SessionInfo(tenant="acme", agent="a", model="m", provider="openai")
    guard = backend.instrument(SyncScript(ALLOW), session_info=info)
    with capture_telemetry() as telemetry:
        guard.check_before_llm("s", 7)
    assert telemetry.value("budget.estimated_tokens", model="m", provider="openai") == 7
    assert telemetry.value("budget.decisions", tenant="acme", agent="a", decision="allow") == 1
    assert telemetry.value("budget.decisions", tenant="another") == 0


def test_gauges_can_be_read_and_a_wrong_name_is_an_error(backend: Backend) -> None:
    class Levels(SyncScript):
        def budget_levels(self) -> list[BudgetLevel]:
            return [BudgetLevel("usd", 4, 5), BudgetLevel("tokens", 1, None, unit="tokens")]

    guard = backend.instrument(Levels(ALLOW))
    with capture_telemetry() as telemetry:
        assert telemetry.value("budget.utilization", resource="usd") == 0.8
        assert telemetry.value("budget.utilization", resource="tokens") is None
        assert telemetry.value("budget.decisions") == 0
        with pytest.raises(ValueError, match="name more attributes"):
            telemetry.value("budget.consumed")
        with pytest.raises(ValueError, match="no metric"):
            telemetry.value("budget.decision")
        with pytest.raises(ValueError, match="no attribute"):
            telemetry.value("budget.decisions", outcome="deny")
    del guard


def test_one_guard_is_asked_for_its_levels_once_however_many_captures_there_were(
    backend: Backend,
) -> None:
    class Levels(SyncScript):
        polls = 0

        def budget_levels(self) -> list[BudgetLevel]:
            type(self).polls += 1
            return []

    guard = backend.instrument(Levels(ALLOW))
    gc.disable()
    try:
        for _ in range(10):
            with capture_telemetry():
                pass
        before = Levels.polls
        with capture_telemetry() as telemetry:
            telemetry.value("budget.consumed")
        assert Levels.polls - before <= 4
    finally:
        gc.enable()
    del guard


def test_a_capture_works_where_the_sdk_is_switched_off(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    guard = backend.instrument(SyncScript(DENY))
    with capture_telemetry() as telemetry:
        guard.check_before_llm("s", 1)
    assert len(telemetry.hits) == 1
    assert telemetry.value("budget.decisions") == 1
    assert os.environ["OTEL_SDK_DISABLED"] == "true"


def test_a_capture_leaves_the_global_providers_alone() -> None:
    python(
        """
        from opentelemetry import _logs, metrics, trace
        from support.guards import SyncScript
        from otel_budget import instrument
        from otel_budget.testing import capture_telemetry
        def globals_now():
            return [type(p).__name__ for p in (trace.get_tracer_provider(),
                    metrics.get_meter_provider(), _logs.get_logger_provider())]
        before = globals_now()
        guard = instrument(SyncScript(), prices=None)
        with capture_telemetry() as telemetry:
            guard.check_before_llm("s", 1)
            assert globals_now() == before
        assert telemetry.value("budget.decisions") == 1
        assert globals_now() == before
        """
    )
