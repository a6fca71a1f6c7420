"""The contract: decisions, usage, hits, levels (design 2)."""

from __future__ import annotations

import asyncio
import pickle
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from otel_budget import (
    Allow,
    BudgetExhausted,
    BudgetGuard,
    BudgetLevel,
    BudgetThresholdHit,
    Deny,
    NoopBudgetGuard,
    SoftLimit,
    SyncBudgetGuard,
    TokenUsage,
)
from otel_budget.sanitize import error_type
from support.guards import run

SOFT = SoftLimit(resource="llm_cost_usd", consumed=4.0, limit=5.0)


def test_a_denial_is_a_hard_hit_of_zeros_with_the_reason_as_message() -> None:
    hit = BudgetThresholdHit.of(Deny(resource="llm_tokens", reason="spent"))
    assert hit.model_dump() == {
        "type": "budget_threshold_hit",
        "kind": "hard",
        "resource": "llm_tokens",
        "consumed": 0.0,
        "limit": 0.0,
        "message": "spent",
    }


def test_a_soft_limit_is_a_hit_with_the_guards_numbers_and_its_message_if_it_has_one() -> None:
    assert BudgetThresholdHit.of(SOFT).model_dump() == {
        "type": "budget_threshold_hit",
        "kind": "soft",
        "resource": "llm_cost_usd",
        "consumed": 4.0,
        "limit": 5.0,
    }
    assert "message" not in BudgetThresholdHit.of(SOFT).model_dump_json()
    hit = BudgetThresholdHit.of(SOFT.model_copy(update={"message": "80 %"}))
    assert hit.model_dump()["message"] == "80 %"
    assert BudgetThresholdHit.model_validate(hit.model_dump()) == hit


@pytest.mark.parametrize(
    ("cls", "fields", "where"),
    [
        (SoftLimit, {"resource": "r", "consumed": float("nan"), "limit": 1}, "consumed"),
        (SoftLimit, {"resource": "r", "consumed": 1, "limit": float("inf")}, "limit"),
        (SoftLimit, {"consumed": 1, "limit": 1}, "resource"),
        (SoftLimit, {"resource": "r", "consumed": 1, "limit": 1, "kind": "x"}, "kind"),
        (Deny, {"resource": "r"}, "reason"),
        (Deny, {"resource": "r", "reason": None}, "reason"),
        (TokenUsage, {"prompt_tokens": -1, "completion_tokens": 0, "total_tokens": 0}, "prompt"),
        (TokenUsage, {"prompt_tokens": 1.5, "completion_tokens": 0, "total_tokens": 0}, "prompt"),
        (
            TokenUsage,
            {"prompt_tokens": float("nan"), "completion_tokens": 0, "total_tokens": 0},
            "prompt",
        ),
        (TokenUsage, {"prompt_tokens": 1, "completion_tokens": 0}, "total_tokens"),
        (
            BudgetThresholdHit,
            {"kind": "medium", "resource": "r", "consumed": 0, "limit": 0},
            "kind",
        ),
    ],
)
def test_a_wrong_field_is_a_clear_error_that_names_it(
    cls: type[BaseModel], fields: dict[str, Any], where: str
) -> None:
    with pytest.raises(ValidationError, match=where):
        cls(**fields)


def test_decisions_are_frozen_and_compare_by_value() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        SOFT.consumed = 9.0  # type: ignore[misc]
    assert Allow() == Allow()
    assert Deny(resource="a", reason="b") == Deny(resource="a", reason="b") != SOFT


def test_exhaustion_reads_like_the_runtimes_error_and_survives_pickling() -> None:
    error = BudgetExhausted("llm_tokens", "spent")
    assert str(error) == "Budget exhausted on 'llm_tokens': spent"
    again = pickle.loads(pickle.dumps(error))
    assert (again.resource, again.reason, str(again)) == ("llm_tokens", "spent", str(error))


def test_every_method_of_a_guard_has_a_default() -> None:
    usage = TokenUsage(prompt_tokens=1, completion_tokens=1, total_tokens=2)
    guard = SyncBudgetGuard()
    assert guard.check_before_llm("s", 1) == Allow()
    assert guard.check_before_tool("s", "t") == Allow()
    assert guard.record_after_llm("s", usage) is None  # type: ignore[func-returns-value]
    for asynchronous in (BudgetGuard(), NoopBudgetGuard()):
        assert run(asynchronous.check_before_llm("s", 1)) == Allow()
        assert run(asynchronous.check_before_tool("s", "t")) == Allow()
        assert run(asynchronous.record_after_llm("s", usage)) is None
    assert asyncio.iscoroutinefunction(NoopBudgetGuard.check_before_llm)


# -- usage from the providers' own shapes ----------------------------------------------------
ANTHROPIC = {
    "input_tokens": 10,
    "output_tokens": 20,
    "cache_read_input_tokens": 300,
    "cache_creation_input_tokens": 40,
    "service_tier": "standard",
}
CHAT = {
    "prompt_tokens": 350,
    "completion_tokens": 20,
    "total_tokens": 370,
    "prompt_tokens_details": {"cached_tokens": 300, "audio_tokens": 0},
}
RESPONSES = {
    "input_tokens": 350,
    "output_tokens": 20,
    "total_tokens": 370,
    "input_tokens_details": {"cached_tokens": 300},
    "output_tokens_details": {"reasoning_tokens": 5},
}
LITELLM = {
    "prompt_tokens": 98_805,
    "completion_tokens": 20,
    "total_tokens": 98_825,
    "prompt_tokens_details": {"cached_tokens": 66_360},
    "cache_read_input_tokens": 66_360,
    "cache_creation_input_tokens": 32_435,
}


def _as_object(raw: Any) -> Any:
    if isinstance(raw, dict):
        return SimpleNamespace(**{key: _as_object(value) for key, value in raw.items()})
    return raw


@pytest.mark.parametrize("shape", [lambda raw: raw, _as_object], ids=["dict", "object"])
@pytest.mark.parametrize(
    ("constructor", "raw", "expected"),
    [
        (TokenUsage.from_anthropic, ANTHROPIC, (10, 20, 370, 300, 40, False)),
        (TokenUsage.from_openai, CHAT, (350, 20, 370, 300, None, True)),
        (TokenUsage.from_openai, RESPONSES, (350, 20, 370, 300, None, True)),
        (TokenUsage.from_litellm, LITELLM, (98_805, 20, 98_825, 66_360, 32_435, True)),
    ],
    ids=["anthropic", "openai-chat", "openai-responses", "litellm"],
)
def test_usage_is_read_from_each_providers_own_shape(
    constructor: Any, raw: Any, expected: tuple[Any, ...], shape: Any
) -> None:
    usage = constructor(shape(raw))
    assert (
        usage.prompt_tokens,
        usage.completion_tokens,
        usage.total_tokens,
        usage.cache_read_tokens,
        usage.cache_write_tokens,
        usage.prompt_includes_cache,
    ) == expected


@pytest.mark.parametrize(
    "constructor", [TokenUsage.from_anthropic, TokenUsage.from_openai, TokenUsage.from_litellm]
)
@pytest.mark.parametrize(
    "raw", [{}, {"input_tokens": -1, "output_tokens": 1}, {"prompt_tokens": 1.5}, "usage"]
)
def test_anything_but_a_providers_usage_is_a_validation_error(constructor: Any, raw: Any) -> None:
    with pytest.raises(ValidationError):
        constructor(raw)


@pytest.mark.parametrize(
    "constructor", [TokenUsage.from_anthropic, TokenUsage.from_openai, TokenUsage.from_litellm]
)
def test_no_usage_gives_none(constructor: Any) -> None:
    """Servers answer ``usage: null``; the answer that was paid must not be lost over it."""
    assert constructor(None) is None


def test_how_the_cache_was_counted_is_not_in_the_dict_dialect() -> None:
    from otel_budget.contract.dialects import print_usage

    assert print_usage(TokenUsage.from_openai(CHAT)) == {
        "prompt_tokens": 350,
        "completion_tokens": 20,
        "total_tokens": 370,
        "cache_read_tokens": 300,
        "cache_write_tokens": None,
    }


# -- levels ----------------------------------------------------------------------------------
def test_a_level_needs_resource_consumed_and_limit_only() -> None:
    level = BudgetLevel("llm_cost_usd", 1, None)
    assert (level.unit, level.window, level.tenant) == ("USD", None, None)
    assert BudgetLevel("r", 1, float("inf")).limit == float("inf")


@pytest.mark.parametrize("bad", ["consumed", "limit", "window_length", "window_remaining"])
def test_a_level_that_is_not_a_number_is_refused(bad: str) -> None:
    numbers: dict[str, Any] = {"consumed": 1.0, "limit": 2.0, bad: float("nan")}
    with pytest.raises(ValidationError, match=bad):
        BudgetLevel("r", **numbers)


def test_a_guards_refusal_by_exception_keeps_its_error_type() -> None:
    """``error.type`` stays the same when the class moves to another module."""
    assert error_type(BudgetExhausted("r", "x")) == "otel_budget.contract.BudgetExhausted"
