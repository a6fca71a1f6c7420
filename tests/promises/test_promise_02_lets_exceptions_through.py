"""Promise 2: the guard's exceptions and cancellations reach the caller, and the span has them."""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any

import pytest
from opentelemetry.trace import StatusCode

from otel_budget import BudgetGuard
from support.backend import Backend
from support.guards import METHODS, AsyncScript, Make, Refused, SyncScript, outcome, run


@pytest.mark.parametrize("method", METHODS)
def test_promise_2_an_exception_reaches_the_caller_and_is_on_the_span(
    backend: Backend, make: Make, method: str
) -> None:
    error = Refused("redis://:secret@host " + "x" * 5_000)
    guard = backend.instrument(make.guard(error))
    assert outcome(lambda: make.call(guard, method, *make.arguments(method))) is error
    assert error.__context__ is None
    span = backend.span()
    assert span.status.status_code is StatusCode.ERROR
    assert len(span.status.description) <= 1_024
    assert span.attributes["error.type"].endswith("Refused")
    (event,) = span.events
    assert event.name == "exception"
    assert event.attributes["exception.type"].endswith("Refused")
    assert event.attributes["exception.message"].startswith("redis://")
    assert len(event.attributes["exception.message"]) <= 1_024
    assert "exception.stacktrace" not in event.attributes
    assert backend.value("budget.guard.errors") == 1
    if method != "record_after_llm":
        assert span.attributes["budget.decision"] == "error"
        assert backend.value("budget.decisions", budget__decision="error") == 1


def test_promise_2_the_stack_is_recorded_on_request(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_PYTHON_BUDGET_STACKTRACES", "true")
    guard = backend.instrument(SyncScript(Refused("no")))
    outcome(lambda: guard.check_before_llm("s", 1))
    stack = backend.span().events[0].attributes["exception.stacktrace"]
    assert "Refused: no" in stack
    assert "check_before_llm" in stack


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, asyncio.CancelledError])
def test_promise_2_what_ends_a_program_reaches_the_caller_too(
    backend: Backend, make: Make, method: str, kind: type[BaseException]
) -> None:
    error = kind("stop")
    guard = make.guard(error)
    wrapped = backend.instrument(guard)
    if make.asynchronous:
        coroutine = getattr(wrapped, method)(*make.arguments(method))
        coroutine.send(None)  # runs up to its sleep
        seen = outcome(lambda: coroutine.send(None))
    else:
        seen = outcome(lambda: getattr(wrapped, method)(*make.arguments(method)))
    assert seen is error
    assert backend.span().status.status_code is StatusCode.ERROR
    assert backend.value("budget.guard.errors") == 0
    assert backend.value("budget.telemetry.errors") == 0
    if method != "record_after_llm":
        assert backend.value("budget.decisions", budget__decision="cancelled") == 1
    assert backend.value("budget.guard.duration", budget__decision="cancelled") == 1


def test_promise_2_a_cancelled_task_is_cancelled(backend: Backend) -> None:
    reached = asyncio.Event()

    class Slow(BudgetGuard):
        async def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            reached.set()
            await asyncio.Event().wait()

    async def host() -> None:
        task = asyncio.create_task(backend.instrument(Slow()).check_before_llm("s", 1))
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()

    run(host())
    assert backend.span().attributes["budget.decision"] == "cancelled"
    assert backend.value("budget.decisions", budget__decision="cancelled") == 1


def test_promise_2_a_coroutine_closed_elsewhere_is_cancelled_and_ends_its_span(
    backend: Backend,
) -> None:
    coroutine = backend.instrument(AsyncScript()).check_before_llm("s", 1)
    contextvars.copy_context().run(coroutine.send, None)
    coroutine.close()  # in a context other than the one it started in, like the garbage collector
    assert backend.value("budget.decisions", budget__decision="cancelled") == 1
    assert backend.span().attributes["budget.decision"] == "cancelled"
