"""Promise 10: decisions are reported as the runtime sees them."""

from __future__ import annotations

import gc
import time
from typing import Any

import pytest

from support.backend import Backend
from support.guards import CHECKS, METHODS, RUBBISH, Make, Refused, SyncScript, outcome, run


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


@pytest.mark.parametrize("method", METHODS)
def test_promise_10_an_awaitable_from_a_guard_that_looked_sync_is_named_as_such(
    backend: Backend, caplog: Any, recwarn: Any, method: str
) -> None:
    class Decorated:
        """An async guard behind a plain decorator."""

        def __init__(self) -> None:
            self.given: list[Any] = []

        def answer(self, *_: Any) -> Any:
            self.given.append(_coroutine())
            return self.given[-1]

        check_before_llm = check_before_tool = record_after_llm = answer

    inner = Decorated()
    guard = backend.instrument(inner, name="decorated")
    for _ in range(2):
        answer = getattr(guard, method)("s", 1)
        assert answer is inner.given[-1]
        assert run(answer) is None  # it was neither awaited nor closed
    (message,) = [r.getMessage() for r in caplog.records if "awaitable" in r.getMessage()]
    assert "decorated returned an awaitable" in message
    assert f"{method}: make it `async def`" in message
    assert not [r for r in caplog.records if "rejects" in r.getMessage()]
    if method in CHECKS:
        assert {s.attributes["budget.decision"] for s in backend.spans()} == {"malformed"}
    del answer
    inner.given.clear()
    gc.collect()
    assert [str(warning.message) for warning in recwarn] == []


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
