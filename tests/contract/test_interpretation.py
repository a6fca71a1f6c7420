"""The meaning of an answer and of a usage (design 2 and 4), as pure functions."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from otel_budget import Allow, Deny, FlatRates, SoftLimit, TokenUsage
from otel_budget.contract.interpretation import Measurement, measure, outcome_of, price, utilization
from otel_budget.contract.prices import BillableCall

SOFT = SoftLimit(resource="r", consumed=4, limit=5)
SOFT_DICT = {"decision": "soft", "resource": "r", "consumed": 4, "limit": 5}
DENY = Deny(resource="r", reason="x")
DENY_DICT = {"decision": "deny", "resource": "r", "reason": "x"}


@pytest.mark.parametrize(
    ("answer", "decision", "hit"),
    [
        (None, "allow", None),
        (Allow(), "allow", None),
        ({"decision": "allow"}, "allow", None),
        (SOFT, "soft_limit", SOFT),
        (SOFT_DICT, "soft_limit", SOFT),
        (DENY, "deny", DENY),
        (DENY_DICT, "deny", DENY),
        ("deny", "malformed", None),
    ],
)
@pytest.mark.parametrize("late_after", ["auto", None, 60])
def test_an_answer_in_time_counts_as_the_decision_it_states(
    answer: Any, decision: str, hit: Any, late_after: Any
) -> None:
    outcome = outcome_of(answer, 0.001, late_after)
    assert (outcome.decision, outcome.hit) == (decision, hit)


@pytest.mark.parametrize(
    ("answer", "decision"),
    [
        (None, "allow"),
        ({"decision": "allow"}, "allow"),
        (SOFT_DICT, "soft_limit"),
        (DENY_DICT, "deny"),
        (True, "malformed"),
    ],
)
def test_the_dict_dialects_runtime_waits_five_seconds(answer: Any, decision: str) -> None:
    assert outcome_of(answer, 4.8, "auto").decision == decision
    late = outcome_of(answer, 5.6, "auto")
    assert (late.decision, late.answer, late.hit) == ("late", decision, None)
    assert outcome_of(answer, 5.6, None).decision == decision


@pytest.mark.parametrize("answer", [Allow(), SOFT, DENY])
def test_a_typed_answer_is_late_only_after_an_explicit_deadline(answer: Any) -> None:
    assert outcome_of(answer, 3600.0, "auto").decision != "late"
    assert outcome_of(answer, 0.3, 0.2).decision == "late"
    assert outcome_of(answer, 0.3, 0.2).hit is None
    assert outcome_of(answer, 0.3, None).decision != "late"


@pytest.mark.parametrize(
    ("consumed", "limit", "share"),
    [
        (4.0, 5.0, 0.8),
        (6.0, 5.0, 1.2),
        (0.0, 5.0, 0.0),
        (4.0, None, None),
        (4.0, 0.0, None),
        (4.0, -5.0, None),
        (4.0, float("inf"), None),
        (4.0, float("nan"), None),
        (-1.0, 5.0, None),
        (1e308, 1e-308, None),
    ],
)
def test_utilization_is_absent_where_it_would_mean_nothing(
    consumed: float, limit: float | None, share: float | None
) -> None:
    assert utilization(consumed, limit) == share


# -- usage -----------------------------------------------------------------------------------
def _usage(prompt: int, completion: int, total: int, **more: Any) -> dict[str, Any]:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": total,
        **more,
    }


def _counts(measured: Measurement) -> tuple[int, int, int, int]:
    return (
        measured.input_tokens,
        measured.output_tokens,
        measured.cache_read_tokens,
        measured.cache_write_tokens,
    )


CACHE = {"cache_read_tokens": 300, "cache_write_tokens": 40}


@pytest.mark.parametrize(
    ("usage", "provider", "tokens", "undecided"),
    [
        # Without cached tokens there is nothing to decide.
        (_usage(100, 20, 120), None, (100, 20, 0, 0), False),
        (_usage(100, 20, 120, cache_read_tokens=0), None, (100, 20, 0, 0), False),
        # For a bare dict the provider decides.
        (_usage(10, 20, 30, **CACHE), "anthropic", (10, 20, 300, 40), False),
        (_usage(10, 20, 370, **CACHE), "anthropic", (10, 20, 300, 40), False),
        (_usage(350, 20, 370, **CACHE), "openai", (10, 20, 300, 40), False),
        (_usage(350, 20, 370, cache_read_tokens=300), "openai", (50, 20, 300, 0), False),
        # The numbers go first: more cached than sent, or a total that adds the cache, prove that
        # the cache is beside the prompt, whatever the provider.
        (_usage(100, 20, 120, cache_read_tokens=300), "openai", (100, 20, 300, 0), False),
        (_usage(350, 20, 710, **CACHE), "openai", (350, 20, 300, 40), False),
        (_usage(10, 20, 30, **CACHE), None, (10, 20, 300, 40), False),
        (_usage(10, 20, 30, **CACHE), "aws.bedrock", (10, 20, 300, 40), False),
        # A typed usage that contradicts itself is not decided.
        (
            TokenUsage(**_usage(100, 20, 120, cache_read_tokens=300), prompt_includes_cache=True),
            None,
            (100, 20, 0, 0),
            True,
        ),
        # The provider is missing, or not one that decides.
        (_usage(350, 20, 370, **CACHE), None, (350, 20, 0, 0), True),
        (_usage(350, 20, 370, **CACHE), "aws.bedrock", (350, 20, 0, 0), True),
        # The constructors know.
        (
            TokenUsage.from_anthropic(
                {
                    "input_tokens": 10,
                    "output_tokens": 20,
                    "cache_read_input_tokens": 300,
                    "cache_creation_input_tokens": 40,
                }
            ),
            "openai",
            (10, 20, 300, 40),
            False,
        ),
        (
            TokenUsage.from_openai(
                {
                    "prompt_tokens": 350,
                    "completion_tokens": 20,
                    "prompt_tokens_details": {"cached_tokens": 300},
                }
            ),
            "anthropic",
            (50, 20, 300, 0),
            False,
        ),
        (
            TokenUsage.from_litellm(
                {
                    "prompt_tokens": 98_805,
                    "completion_tokens": 20,
                    "cache_read_input_tokens": 66_360,
                    "cache_creation_input_tokens": 32_435,
                }
            ),
            "aws.bedrock",
            (10, 20, 66_360, 32_435),
            False,
        ),
        # Typed without prompt_includes_cache is read like a bare dict.
        (TokenUsage(**_usage(10, 20, 30, **CACHE)), "anthropic", (10, 20, 300, 40), False),
        (TokenUsage(**_usage(350, 20, 370, **CACHE)), None, (350, 20, 0, 0), True),
    ],
)
def test_tokens_become_disjoint_or_stay_a_lower_bound(
    usage: Any, provider: str | None, tokens: tuple[int, ...], undecided: bool
) -> None:
    measured = measure(usage, provider)
    assert _counts(measured) == tokens
    assert measured.undecided is undecided
    assert not measured.malformed
    assert measured.tokens == sum(tokens)


def test_a_usage_that_cannot_be_read_measures_nothing() -> None:
    measured = measure({"prompt_tokens": -1}, "openai")
    assert measured.malformed
    assert measured.tokens == 0


@pytest.mark.parametrize(
    ("provider", "is_decided"),
    [
        ("openai", True),
        ("OpenAI", True),
        ("azure", True),
        ("azure.ai.openai", True),
        ("azure.ai.inference", True),
        ("gcp.gemini", True),
        ("gcp.gen_ai", True),
        ("x_ai", True),
        ("deepseek", True),
        ("groq", True),
        ("mistral_ai", True),
        ("moonshot_ai", True),
        # Claude lives there too, and counts the other way.
        ("aws.bedrock", False),
        ("gcp.vertex_ai", False),
        ("some_gateway", False),
    ],
)
def test_every_spelling_that_finds_a_price_finds_the_cache_accounting(
    provider: str, is_decided: bool
) -> None:
    measured = measure(_usage(350, 20, 370, **CACHE), provider)
    assert _counts(measured) == ((10, 20, 300, 40) if is_decided else (350, 20, 0, 0))
    assert measured.undecided is not is_decided


def test_a_provider_that_is_no_text_decides_nothing() -> None:
    provider: Any = 5
    assert measure(_usage(350, 20, 370, **CACHE), provider).undecided


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"input_tokens": 100, "output_tokens": 20}, (100, 20, 0, 0)),
        ({"prompt_tokens": 8, "total_tokens": 8}, (8, 0, 0, 0)),
        (_usage(350, 20, 370, prompt_tokens_details={"cached_tokens": 300}), (50, 20, 300, 0)),
        (
            _usage(350, 20, 370, completion_tokens_details={}, prompt_cache_hit_tokens=300),
            (50, 20, 300, 0),
        ),
        (SimpleNamespace(promptTokenCount=5, candidatesTokenCount=2), (5, 2, 0, 0)),
    ],
)
def test_a_raw_usage_is_measured_by_its_own_keys(usage: Any, tokens: tuple[int, ...]) -> None:
    assert _counts(measure(usage, None)) == tokens


@pytest.mark.parametrize(
    "usage", [{"prompt_tokens": -1, "odd": "secret"}, {"seconds": 777}, object(), None]
)
def test_an_unreadable_usage_is_logged_once_with_its_keys_and_what_would_be_right(
    usage: Any, caplog: pytest.LogCaptureFixture
) -> None:
    assert measure(usage, None).malformed
    assert measure(usage, "openai").malformed
    (record,) = caplog.records
    message = record.getMessage()
    assert type(usage).__name__ in message
    assert "TokenUsage.of" in message
    assert "secret" not in message
    assert "777" not in message
    if isinstance(usage, dict):
        assert all(key in message for key in usage)


def test_counts_beyond_int64_stop_there() -> None:
    measured = measure(_usage(2**70, 2**64, 2**80), None)
    assert _counts(measured) == (2**63 - 1, 2**63 - 1, 0, 0)
    assert measured.total_tokens == 2**63 - 1


# -- prices ----------------------------------------------------------------------------------
RATES = FlatRates(input=3, output=15)


class NoAnswer:
    def cost_usd(self, *_: Any, **__: Any) -> None:
        return None


class Answers:
    def __init__(self, cost: Any) -> None:
        self.cost = cost

    def cost_usd(self, *_: Any, **__: Any) -> Any:
        return self.cost


@pytest.mark.parametrize(
    ("usage", "prices", "model", "given_cost", "usd", "reason"),
    [
        (_usage(1_000_000, 0, 0), RATES, None, None, 3.0, ""),
        (_usage(1_000_000, 0, 0), RATES, "m", 0.5, 0.5, ""),
        (_usage(1, 0, 0), RATES, "m", 0.0, 0.0, ""),
        (_usage(1, 0, 0), None, "m", None, None, "no_prices"),
        (_usage(1, 0, 0), NoAnswer(), None, None, None, "no_model"),
        (_usage(1, 0, 0), NoAnswer(), "m", None, None, "unknown_model"),
        (_usage(9, 0, 9, cache_read_tokens=5), RATES, "m", None, None, "cache_accounting"),
        ({"prompt_tokens": -1}, RATES, "m", None, None, "malformed_usage"),
        (_usage(1, 0, 0), Answers(float("nan")), "m", None, None, "price_error"),
        (_usage(1, 0, 0), Answers(float("inf")), "m", None, None, "price_error"),
        (_usage(1, 0, 0), Answers(-1.0), "m", None, None, "price_error"),
        (_usage(1, 0, 0), Answers("1.0"), "m", None, None, "price_error"),
        (_usage(1, 0, 0), RATES, "m", float("nan"), None, "price_error"),
        (_usage(1, 0, 0), RATES, "m", -2.0, None, "price_error"),
    ],
)
def test_a_call_has_a_price_or_a_reason_why_not(
    *,
    usage: Any,
    prices: Any,
    model: str | None,
    given_cost: float | None,
    usd: float | None,
    reason: str,
) -> None:
    priced = price(measure(usage, None), prices, model, None, given_cost)
    assert (priced.usd, priced.reason) == (usd, reason)


def test_a_measurement_begins_with_the_counts_of_a_billable_call() -> None:
    """A price passes them on by position."""
    counts = BillableCall._fields[2:]
    assert BillableCall._fields[:2] == ("model", "provider")
    assert Measurement._fields[: len(counts)] == counts
