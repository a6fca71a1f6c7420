"""What a limit cannot count exactly: counted as the most it may be, or told as not counted."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from otel_budget import FlatRates, SessionInfo, TokenUsage, call_info
from otel_budget.guards import Limit, WindowGuard, measure
from otel_budget.telemetry.hubs import poll_levels
from support.backend import Backend

UNDECIDED = {
    "prompt_tokens": 100,
    "completion_tokens": 10,
    "total_tokens": 110,
    "cache_read_tokens": 50,
    "cache_write_tokens": 20,
}
REASONING = {
    "prompt_tokens": 100,
    "completion_tokens": 530,
    "completion_tokens_details": {"reasoning_tokens": 233},
}
BEDROCK = SessionInfo(tenant="t", provider="aws.bedrock", model="m")


def consumed(guard: WindowGuard) -> dict[str, float]:
    return {level.resource: level.consumed for level in guard.budget_levels()}


def test_an_undecided_cache_counts_beside_the_prompt_in_the_upper_bound_only() -> None:
    lower = measure(UNDECIDED, "aws.bedrock")
    assert (lower[:4], lower.undecided, lower.upper_bound) == ((100, 10, 0, 0), True, "")
    upper = measure(UNDECIDED, "aws.bedrock", upper_bound=True)
    assert upper[:4] == (100, 10, 50, 20)
    assert (upper.undecided, upper.upper_bound) == (False, "cache_accounting")
    exact = measure(UNDECIDED, "openai", upper_bound=True)
    assert (exact[:4], exact.upper_bound) == ((30, 10, 50, 20), "")


@pytest.mark.parametrize(
    ("usage", "undecided"),
    [
        (REASONING, 233),
        ({**REASONING, "total_tokens": 630}, None),  # inside
        ({**REASONING, "total_tokens": 863}, None),  # on top, and counted as such
        ({**REASONING, "completion_tokens": 200}, None),  # more than the completion
        (
            {
                "input_tokens": 1,
                "output_tokens": 5,
                "output_tokens_details": {"reasoning_tokens": 3},
            },
            None,
        ),  # the Responses API has it inside
    ],
)
def test_reasoning_is_undecided_only_where_no_total_tells(usage: Any, undecided: Any) -> None:
    read = TokenUsage.of(usage)
    assert read is not None
    assert read.undecided_reasoning_tokens == undecided
    assert "undecided" not in str(read.model_dump(exclude_none=True)) or undecided
    lower, upper = measure(read, None), measure(read, None, upper_bound=True)
    assert upper.output_tokens - lower.output_tokens == (undecided or 0)
    assert upper.upper_bound == ("reasoning_accounting" if undecided else "")


def test_limits_count_the_upper_bound_in_tokens_and_in_usd(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rates = FlatRates(input=1.0, output=1.0, cache_read=0.1, cache_write=2.0)
    guard = WindowGuard(
        Limit(10**6, "tokens"), Limit(10, "USD"), session_info=BEDROCK, prices=rates
    )
    for _ in range(2):
        guard.record_after_llm("s", UNDECIDED)
    guard.record_after_llm("s", REASONING)
    assert consumed(guard) == {
        "llm_tokens": 2 * 180 + 863,
        "llm_cost_usd": pytest.approx((2 * (110 + 5 + 40) + 863) / 1e6),
    }
    assert guard.upper_bound_calls == {"cache_accounting": 2, "reasoning_accounting": 1}
    assert guard.uncounted_calls == {}
    told = [record.message for record in caplog.records if "the most that it may" in record.message]
    assert [message.split(": ")[1].split(".")[0] for message in told] == [
        "cache_accounting",
        "reasoning_accounting",
    ]


def test_a_cost_that_was_told_is_no_upper_bound_of_a_limit_in_usd() -> None:
    guard = WindowGuard(Limit(10, "USD"), session_info=BEDROCK, prices=None)
    with call_info(cost_usd=2.0):
        guard.record_after_llm("s", UNDECIDED)
    priced = WindowGuard(Limit(10, "USD"), session_info=BEDROCK, prices=FlatRates(1, 1))
    read = TokenUsage.model_validate({**UNDECIDED, "cost_usd": 3.0})
    priced.record_after_llm("s", read)
    assert consumed(guard) == {"llm_cost_usd": 2.0}
    assert (consumed(priced), priced.upper_bound_calls) == ({"llm_cost_usd": 3.0}, {})
    assert guard.upper_bound_calls == {}


def test_the_telemetry_keeps_the_lower_bound(backend: Backend) -> None:
    guard = backend.instrument(WindowGuard(Limit(10**6, "tokens"), session_info=BEDROCK))
    guard.record_after_llm("s", UNDECIDED)
    assert backend.value("budget.tokens") == 110


def test_a_usage_that_cannot_be_read_is_logged_and_counted_for_limits_in_tokens(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING, "otel_budget.guards")
    guard = WindowGuard(Limit(1_000, "tokens"), session_info=SessionInfo(tenant="t"))
    for _ in range(3):
        guard.record_after_llm("s", {"seconds": 5})  # type: ignore[arg-type]
    assert guard.uncounted_calls == {"malformed_usage": 3}
    own = [record for record in caplog.records if record.name.startswith("otel_budget.guards")]
    assert ["adds nothing to the limits" in record.message for record in own] == [True]
    (level,) = guard.budget_levels()
    assert (level.consumed, level.uncounted_calls) == (0.0, 3)


def test_each_limit_tells_what_it_could_not_count_of_the_current_window(backend: Backend) -> None:
    now = [0.0]
    guard = WindowGuard(
        Limit(10, "USD", "tenant", "hour"),
        Limit(1_000, "tokens", "session", "day"),
        session_info=lambda session: SessionInfo(tenant=session[0], model=session),
        prices=FlatRates.by_model({"a1": FlatRates(1, 1)}),
        clock=lambda: now[0],
    )
    ten = TokenUsage(prompt_tokens=10, completion_tokens=0, total_tokens=10)
    for session in ("a1", "a2", "a2", "b"):
        guard.record_after_llm(session, ten)
    guard.record_after_llm("a2", {"seconds": 5})  # type: ignore[arg-type]
    told = {
        (level.resource, level.tenant): level.uncounted_calls for level in guard.budget_levels()
    }
    assert told == {
        ("llm_cost_usd", "a"): 3,
        ("llm_cost_usd", "b"): 1,
        ("session_tokens", "a"): 1,
        ("session_tokens", "b"): 0,
    }
    instrumented = backend.instrument(guard)
    poll_levels()
    assert (
        backend.value("budget.uncounted_calls", budget__resource="llm_cost_usd", budget__tenant="a")
        == 3
    )
    del instrumented
    now[0] = 3_600.0
    hourly = [level for level in guard.budget_levels() if level.resource == "llm_cost_usd"]
    assert {level.tenant: level.uncounted_calls for level in hourly} == {"a": 0, "b": 0}
