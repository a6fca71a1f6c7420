"""What a gate records: usage in the guard's own dialect, and a record that fails."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from otel_budget import BudgetGate, BudgetGuard, SessionInfo, SyncBudgetGuard, TokenUsage, call_info
from support.backend import Backend
from support.gate_guards import PRINTED, USAGE, GuardDownError, SyncFixed
from support.guards import Make


@pytest.mark.parametrize("how", ["raises", "is late"])
async def test_a_failing_record_is_logged_and_counted_and_does_not_break_the_loop(
    backend: Backend, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    class Failing(BudgetGuard):
        async def record_after_llm(self, session_id: str, usage: TokenUsage) -> None:
            if how == "raises":
                raise GuardDownError
            await asyncio.sleep(20)

    async with BudgetGate(backend.instrument(Failing()), timeout=0.05).llm_call("s1", 1) as call:
        call.usage(USAGE)
    assert backend.value("budget.calls") == 1
    assert backend.value("budget.tokens") == 120
    assert "Failing.record_after_llm: the budget guard" in caplog.text


@pytest.mark.parametrize("check", ["missing", "none"])
def test_a_check_that_the_guard_lacks_shows_no_dialect(check: str) -> None:
    recorded: list[Any] = []

    class Records:
        def record_after_llm(self, session_id: Any, usage: Any) -> None:
            recorded.append(usage)

    guard: Any = Records()
    if check == "none":
        guard.check_before_llm = None
    with BudgetGate(guard).llm_call("s1", 1_000) as call:
        call.usage(USAGE)
    assert recorded == [USAGE]
    assert isinstance(recorded[0], TokenUsage)


async def test_usage_reported_twice_or_outside_the_body_is_an_error(backend: Backend) -> None:
    table = SyncFixed(Make(False, True), "allow")
    gate = BudgetGate(table)
    call = gate.llm_call("s1", 1_000)
    with pytest.raises(RuntimeError, match="body of the call"):
        call.usage(USAGE)
    with call:
        call.usage(USAGE)
        with pytest.raises(RuntimeError, match="already"):
            call.usage(USAGE)
    with pytest.raises(RuntimeError, match="body of the call"):
        call.usage(USAGE)
    assert table.recorded == [USAGE]
    with pytest.raises(RuntimeError, match="made already"), call:
        pytest.fail("a call is made once")
    with gate.llm_call("s1", 1_000) as call, pytest.raises(ValueError, match="cannot be read"):
        call.usage({"prompt_tokens": "many"})


@pytest.mark.parametrize("declared", ["base", "annotation", "answers", "dict annotation"])
def test_each_guard_gets_usage_in_its_own_dialect(backend: Backend, declared: str) -> None:
    recorded: list[Any] = []

    class Base(SyncBudgetGuard):
        def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            return None

        def record_after_llm(self, session_id: str, usage: Any) -> None:
            recorded.append(usage)

    class Annotated:
        def record_after_llm(self, session_id: str, usage: TokenUsage) -> None:
            recorded.append(usage)

    class Answers:
        def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            return None

        def record_after_llm(self, session_id: str, usage: Any) -> None:
            recorded.append(usage)

    class Dict:
        def record_after_llm(self, session_id: str, usage: dict[str, Any]) -> None:
            recorded.append(usage)

    guards: dict[str, Any] = {
        "base": Base,
        "annotation": Annotated,
        "answers": Answers,
        "dict annotation": Dict,
    }
    for guard in (guards[declared](), backend.instrument(guards[declared]())):
        with BudgetGate(guard).llm_call("s1", 1_000) as call:
            call.usage(USAGE)
    expected_usage = USAGE if declared in {"base", "annotation"} else PRINTED
    assert recorded == [expected_usage, expected_usage]
    assert all(isinstance(usage, type(expected_usage)) for usage in recorded)


def test_the_cache_accounting_survives_the_dict_dialect(backend: Backend) -> None:
    guard = backend.instrument(SyncFixed(Make(False, False), "allow"))
    usage = TokenUsage.from_anthropic(
        {"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 1_000}
    )
    with BudgetGate(guard).llm_call("s1", 1_000) as call:
        call.usage(usage)
    assert backend.value("budget.tokens", budget__token__type="input") == 10
    assert backend.value("budget.tokens", budget__token__type="cache_read") == 1_000


async def test_model_and_provider_reach_the_telemetry(backend: Backend) -> None:
    guard = backend.instrument(BudgetGuard(), session_info=SessionInfo(model="session-model"))
    gate = BudgetGate(guard)
    async with gate.llm_call("s1", 10, model="big", provider="openai") as call:
        call.usage(USAGE, model="small", cost_usd=0.25)
    async with gate.llm_call("s1", 10) as call:
        call.usage(USAGE)
    with call_info(model="around"):
        await gate.record_llm("s1", USAGE)
    estimated = backend.series("budget.estimated_tokens")
    assert [(series["gen_ai.request.model"], value) for series, value in estimated] == [
        ("big", 10),
        ("session-model", 10),
    ]
    calls = {series["gen_ai.request.model"]: n for series, n in backend.series("budget.calls")}
    assert calls == {"small": 1, "session-model": 1, "around": 1}
    assert backend.value("budget.cost", gen_ai__request__model="small") == 0.25
