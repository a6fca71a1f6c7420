"""Promise 10: decisions are reported as the runtime sees them."""

from __future__ import annotations

import time
from typing import Any

import pytest

from support.backend import Backend
from support.guards import CHECKS, RUBBISH, Make, Refused, SyncScript, outcome


async def _coroutine() -> None: ...


@pytest.mark.parametrize("method", CHECKS)
def test_promise_10_what_the_runtime_rejects_is_malformed(
    backend: Backend, make: Make, method: str
) -> None:
    answers = [make_answer() for make_answer in RUBBISH if make_answer() is not None]
    for answer in answers:
        make.call(backend.instrument(make.guard(answer)), method, *make.arguments(method))
    assert backend.value("budget.decisions", budget__decision="malformed") == len(answers)
    assert backend.value("budget.decisions") == len(answers)
    assert backend.series("budget.threshold_hits") == []
    assert backend.series("budget.estimated_tokens") == []
    assert {s.attributes["budget.decision"] for s in backend.spans()} == {"malformed"}
    assert {s.attributes["error.type"] for s in backend.spans()} == {"malformed"}


def test_promise_10_a_coroutine_from_a_sync_guard_is_malformed(backend: Backend) -> None:
    coroutine = _coroutine()
    assert backend.instrument(SyncScript(coroutine)).check_before_llm("s", 1) is coroutine
    coroutine.close()
    assert backend.span().attributes["budget.decision"] == "malformed"


@pytest.mark.parametrize("method", CHECKS)
def test_promise_10_an_answer_after_its_deadline_is_late(
    backend: Backend, make: Make, method: str
) -> None:
    answer = make.deny()

    def slow() -> Any:
        time.sleep(0.02)
        return answer

    guard = backend.instrument(make.guard(slow), late_after=0.01)
    assert make.call(guard, method, *make.arguments(method)) is answer
    span = backend.span()
    assert span.attributes["budget.decision"] == "late"
    assert span.attributes["budget.answer"] == "deny"
    assert span.events == ()
    assert backend.value("budget.decisions", budget__decision="late") == 1
    assert backend.value("budget.decisions") == 1
    assert backend.series("budget.threshold_hits") == []
    assert backend.logs() == []
    assert backend.value("budget.guard.duration", budget__decision="late") == 1


def test_promise_10_the_runtimes_own_deadline_applies_to_dict_answers_only(
    backend: Backend, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Clock:
        now = 0.0

        def perf_counter(self) -> float:
            self.now += 5.6
            return self.now

    guard = backend.instrument(make.guard(make.allow))
    monkeypatch.setattr("otel_budget.telemetry.call.time", Clock())
    make.call(guard, "check_before_llm", "s", 1)
    decision = backend.span().attributes["budget.decision"]
    assert decision == ("allow" if make.typed else "late")
    (_, point), *_ = backend.points("budget.guard.duration")
    assert point.sum == pytest.approx(5.6)


def test_promise_10_a_late_exception_is_still_an_error(backend: Backend) -> None:
    def slow() -> Any:
        time.sleep(0.02)
        raise Refused

    guard = backend.instrument(SyncScript(slow), late_after=0.01)
    outcome(lambda: guard.check_before_llm("s", 1))
    assert backend.span().attributes["budget.decision"] == "error"
