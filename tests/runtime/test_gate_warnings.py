"""What the gate and the bridge write to the log: one line for each kind of trouble."""

from __future__ import annotations

import logging
import time
from typing import Any

import pytest

from otel_budget import Allow, BudgetExhausted, BudgetGate, SyncBudgetGuard, for_a3s
from support.backend import Backend
from support.gate_guards import USAGE, GuardDownError, SyncFixed
from support.guards import Make


def _warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def _abandon(gate: BudgetGate) -> None:
    def stream() -> Any:
        with gate.llm_call("s1", 1_000):
            yield "a first piece"

    begun = stream()
    next(begun)
    begun.close()


def _forget(gate: BudgetGate) -> None:
    with gate.llm_call("s1", 1_000):
        pass


def _discard(gate: BudgetGate) -> None:
    with pytest.raises(GuardDownError), gate.llm_call("s1", 1_000) as call:
        call.usage(USAGE)
        raise GuardDownError


@pytest.mark.parametrize(
    ("lose", "reason", "says"),
    [
        (_forget, "not_reported", "ended without call.usage"),
        (_abandon, "abandoned", "was abandoned"),
        (_discard, "discarded", "failed after call.usage"),
    ],
)
def test_each_way_to_lose_a_usage_is_counted_every_time_and_logged_once(
    backend: Backend, caplog: pytest.LogCaptureFixture, lose: Any, reason: str, says: str
) -> None:
    gate = BudgetGate(backend.instrument(SyncFixed(Make(False, True), "allow")))
    lose(gate)
    lose(gate)
    (warning,) = [line for line in _warnings(caplog) if "behind a BudgetGate" in line]
    assert says in warning
    ((attributes, value),) = backend.series("budget.calls_without_usage")
    assert (attributes["budget.reason"], value) == (reason, 2)


def test_a_call_that_just_fails_is_no_lost_usage(
    backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    gate = BudgetGate(backend.instrument(SyncFixed(Make(False, True), "allow")))
    with pytest.raises(GuardDownError), gate.llm_call("s1", 1_000):
        raise GuardDownError
    assert not [line for line in _warnings(caplog) if "behind a BudgetGate" in line]
    assert backend.value("budget.calls_without_usage") == 0


@pytest.mark.parametrize("slow", [True, False])
def test_a_sync_guard_that_takes_longer_than_it_may_is_logged(
    caplog: pytest.LogCaptureFixture, slow: bool
) -> None:
    class Guard(SyncBudgetGuard):
        def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            time.sleep(0.05 if slow else 0)
            return Allow()

    gate = BudgetGate(Guard(), timeout=0.01 if slow else 20)
    assert gate.check_llm_sync("s1", 1) == Allow()
    expected = ["Guard.check_before_llm: took longer than 0.01 s."] if slow else []
    assert _warnings(caplog) == expected


@pytest.mark.parametrize("instrumented", [True, False])
def test_a_malformed_answer_is_a_denial_that_says_what_is_wrong(
    backend: Backend, instrumented: bool
) -> None:
    guard: Any = SyncFixed(Make(False, True), "malformed")
    guard = backend.instrument(guard) if instrumented else guard
    why = "the budget guard's answer cannot be read: an answer of type bool"
    with pytest.raises(BudgetExhausted) as refused:
        BudgetGate(guard, fail="open").check_llm_sync("s1", 1_000)
    assert (refused.value.resource, refused.value.reason) == ("guard_unavailable", why)
    with for_a3s(guard, fail="open") as bridge:
        answer = bridge.check_before_llm("s1", 1_000)
    assert answer == {"decision": "deny", "resource": "guard_unavailable", "reason": why}


@pytest.mark.parametrize("method", ["check_before_llm", "check_before_tool", "record_after_llm"])
def test_a_guard_that_raises_is_logged_by_name_and_method_without_its_message(
    caplog: pytest.LogCaptureFixture, method: str
) -> None:
    class Down:
        def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            raise GuardDownError("redis://user:secret@host")

        def check_before_tool(self, session_id: str, tool_name: str) -> Any:
            raise GuardDownError("redis://user:secret@host")

        def record_after_llm(self, session_id: str, usage: Any) -> None:
            raise GuardDownError("redis://user:secret@host")

    with for_a3s(Down()) as bridge:
        getattr(bridge, method)("s1", {} if method == "record_after_llm" else 1)
    (warning,) = _warnings(caplog)
    assert warning.startswith(f"Down.{method}: the budget guard raised ")
    assert warning.endswith("GuardDownError.")
    assert "secret" not in caplog.text
