"""What a gate records: usage in the guard's own dialect, and a record that fails."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
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


async def test_usage_outside_the_body_is_an_error_and_reported_twice_it_counts_once(
    backend: Backend,
) -> None:
    table = SyncFixed(Make(False, True), "allow")
    gate = BudgetGate(table)
    call = gate.llm_call("s1", 1_000)
    with pytest.raises(RuntimeError, match="body of the call"):
        call.usage(USAGE)
    with call:
        call.usage(USAGE)
        call.usage(USAGE)
    with pytest.raises(RuntimeError, match="body of the call"):
        call.usage(USAGE)
    assert table.recorded == [USAGE]
    with pytest.raises(RuntimeError, match="made already"), call:
        pytest.fail("a call is made once")


@pytest.mark.parametrize(
    "usage",
    [None, {"prompt_tokens": "many"}, {"type": "duration", "seconds": 3}, {"output_tokens": 5},
     object(), TokenUsage.model_construct(prompt_tokens=-1)],
    ids=lambda usage: type(usage).__name__,
)  # fmt: skip
def test_a_paid_answer_is_not_lost_over_its_usage(
    backend: Backend, caplog: pytest.LogCaptureFixture, usage: Any
) -> None:
    gate = BudgetGate(backend.instrument(SyncBudgetGuard()))
    with gate.llm_call("s1", 1_000) as call:
        call.usage(usage, model="small")
        answer = "paid"
    assert answer == "paid"
    assert backend.value("budget.calls_without_usage", budget__reason="not_reported") == 1
    assert backend.series("budget.calls") == []
    assert ("cannot read" in caplog.text) is (usage is not None)


def test_a_gate_reads_what_is_nearly_the_dict_dialect(backend: Backend) -> None:
    """As clients print embeddings: the completion is there, and null."""
    gate = BudgetGate(backend.instrument(SyncBudgetGuard()))
    with gate.llm_call("s1", 1_000) as call:
        call.usage({"prompt_tokens": 8, "completion_tokens": None, "total_tokens": 8})
    assert backend.value("budget.tokens", budget__token__type="input") == 8


def test_the_readmes_line_keeps_the_answer_where_a_server_sends_no_usage(backend: Backend) -> None:
    gate = BudgetGate(backend.instrument(SyncBudgetGuard()))
    response = SimpleNamespace(usage=None, content="paid")
    with gate.llm_call("s1", 1_000) as call:
        call.usage(TokenUsage.from_openai(response.usage))
    assert backend.value("budget.calls_without_usage", budget__reason="not_reported") == 1


STREAMS: dict[str, tuple[list[Any], tuple[int, int, int, int]]] = {
    # message_start, then message_delta: https://docs.anthropic.com/en/docs/build-with-claude/streaming
    "anthropic, output alone at the end": (
        [{"input_tokens": 25, "cache_read_input_tokens": 1000, "output_tokens": 1},
         {"output_tokens": 15}],
        (25, 15, 1000, 0),
    ),
    "anthropic, cumulative": (
        [{"input_tokens": 25, "cache_creation_input_tokens": 300, "output_tokens": 1},
         {"input_tokens": 25, "cache_creation_input_tokens": 300, "output_tokens": 15}],
        (25, 15, 0, 300),
    ),
    # https://github.com/langchain-ai/langchain/pull/35510: the last chunk has no input
    "langchain": (
        [{"input_tokens": 1010, "output_tokens": 0, "total_tokens": 1010,
          "input_token_details": {"cache_read": 1000, "cache_creation": 0}},
         None,
         {"input_tokens": 0, "output_tokens": 29, "total_tokens": 29}],
        (10, 29, 1000, 0),
    ),
    # stream_options={"include_usage": True}: null but in the last chunk
    "openai include_usage": (
        [None, None, {"prompt_tokens": 350, "completion_tokens": 20, "total_tokens": 370,
                      "prompt_tokens_details": {"cached_tokens": 300}}],
        (50, 20, 300, 0),
    ),
    "usage with every chunk": (
        [{"prompt_tokens": 9, "completion_tokens": n, "total_tokens": 9 + n} for n in range(1, 8)],
        (9, 7, 0, 0),
    ),
    "gemini": (
        [{"promptTokenCount": 8, "totalTokenCount": 8},
         {"promptTokenCount": 8, "candidatesTokenCount": 5, "thoughtsTokenCount": 30,
          "totalTokenCount": 43}],
        (8, 35, 0, 0),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", STREAMS)
def test_of_each_count_of_a_stream_the_largest_stands(backend: Backend, name: str) -> None:
    chunks, disjoint = STREAMS[name]
    gate = BudgetGate(backend.instrument(SyncBudgetGuard()))
    with gate.llm_call("s1", 1_000) as call:
        call.usage(chunks[0], cost_usd=0.5)
        for chunk in chunks[1:]:
            call.usage(chunk)
    kinds = ("input", "output", "cache_read", "cache_write")
    series = backend.series("budget.tokens")
    counted = {labels["budget.token.type"]: value for labels, value in series}
    assert tuple(counted.get(kind, 0) for kind in kinds) == disjoint
    assert backend.value("budget.calls") == 1
    assert backend.value("budget.cost") == 0.5


def test_what_a_usage_tells_of_its_billing_reaches_the_guard_in_either_dialect() -> None:
    raw = {
        "input_tokens": 10,
        "output_tokens": 5,
        "cache_creation": {"ephemeral_1h_input_tokens": 400},
        "service_tier": "batch",
    }
    for typed in (True, False):
        guard = SyncFixed(Make(False, typed), "allow")
        with BudgetGate(guard).llm_call("s1", 1_000) as call:
            call.usage(raw)
        (recorded,) = guard.recorded
        usage = TokenUsage.of(recorded)
        assert usage is not None
        assert (usage.cache_write_1h_tokens, usage.processing) == (400, "batch")


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
