"""A gated call that goes on where a stream is read: outside the trace, and whoever ends it."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from otel_budget import Allow, BudgetGate, SyncBudgetGuard, call_info
from support.backend import Backend
from support.gate_guards import USAGE
from support.guards import Make
from support.session_traces import SessionTraces, context_unchanged


class Reserving(SyncBudgetGuard):
    def __init__(self) -> None:
        self.told = threading.Event()

    def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
        return Allow()

    def release_llm(self, session_id: str) -> None:
        self.told.set()


def test_a_detached_call_leaves_the_trace_and_is_recorded_in_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    traces = SessionTraces(monkeypatch)
    call = traces.gate().llm_call("s1", 1)
    with context_unchanged():
        call.__enter__()
        call.detach()
        call.detach()
    with traces.model():
        pass
    call.usage(USAGE)
    call.__exit__(None, None, None)
    assert traces.sessions("chat") == [None]
    assert traces.sessions("budget.record_after_llm") == ["s1"]
    traces.backend.shutdown()


@pytest.mark.parametrize("ends_in", ["the same place", "no call_info", "another call_info"])
async def test_the_record_is_for_whom_the_check_was(
    make: Make, backend: Backend, ends_in: str
) -> None:
    gate = BudgetGate(backend.instrument(make.guard(make.allow)))
    call = gate.llm_call("s1", 1, model="m")
    with call_info(tenant="acme"):
        await call.__aenter__()
        if ends_in == "the same place":
            call.usage(USAGE)
            await call.__aexit__(None, None, None)
    if ends_in != "the same place":
        call.usage(USAGE)
        with call_info(agent="reader") if ends_in == "another call_info" else call_info():
            await call.__aexit__(None, None, None)
    ((attributes, count),) = backend.series("budget.calls")
    assert (attributes["budget.tenant"], count) == ("acme", 1)
    assert "budget.agent" not in attributes
    assert attributes["gen_ai.request.model"] == "m"


def test_an_abandoned_call_is_counted_and_released_once(backend: Backend) -> None:
    guard = Reserving()
    call = BudgetGate(backend.instrument(guard)).llm_call("s1", 1)
    call.abandon()  # has not begun
    with call:
        call.abandon()
        call.abandon()
    assert guard.told.wait(10)
    with pytest.raises(RuntimeError):
        call.usage(USAGE)
    assert backend.value("budget.calls_without_usage") == 1
    assert backend.value("budget.calls_without_usage", budget__reason="abandoned") == 1
