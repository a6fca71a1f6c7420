"""Hosts as they use the public API.

Tests run this file and check it with mypy and pyright, both strict. Lines with an ``ignore`` must
be errors: both are set to complain about an ignore without one.
"""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, assert_type

from otel_budget import (
    Allow,
    BillableCall,
    BudgetDecision,
    BudgetExhausted,
    BudgetGate,
    BudgetGuard,
    BudgetLevel,
    BudgetThresholdHit,
    Deny,
    FlatRates,
    GenAIPrices,
    MissingRate,
    NoopBudgetGuard,
    PriceSource,
    SessionInfo,
    SoftLimit,
    SyncBudgetGuard,
    TokenUsage,
    call_info,
    for_a3s,
    instrument,
)


class Daily(SyncBudgetGuard):
    limit = 5.0

    def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> BudgetDecision:
        if estimated_prompt_tokens > 1_000:
            return Deny(resource="llm_tokens", reason="too long")
        return SoftLimit(resource="llm_cost_usd", consumed=4.0, limit=self.limit)

    def record_after_llm(self, session_id: str, usage: TokenUsage) -> None:
        assert_type(usage.cache_read_tokens, int | None)

    def budget_levels(self) -> Iterable[BudgetLevel]:
        return [BudgetLevel("llm_cost_usd", 4.0, self.limit, window="day")]


class Remote(BudgetGuard):
    async def check_before_tool(self, session_id: str, tool_name: str) -> BudgetDecision:
        return Allow()


class Dicts:
    """A guard can be any object with the methods."""

    def check_before_llm(self, session_id: str, tokens: int) -> dict[str, Any] | None:
        return {"decision": "allow"}


class MyPrices:
    def cost_usd(self, call: BillableCall) -> float | None:
        if call.web_searches:
            raise MissingRate("no rate for searches")
        return call.input_tokens * 1e-6 if call.model == "m" else None


def who(session_id: str) -> SessionInfo | None:
    return SessionInfo(tenant="acme") if session_id else None


def host() -> None:
    guard = instrument(Daily(), session_info=SessionInfo(tenant="acme", model="claude-sonnet-4-5"))
    assert_type(guard, Daily)
    assert_type(guard.limit, float)
    decision = guard.check_before_llm("s", 2_000)
    assert_type(decision, Allow | SoftLimit | Deny)
    if isinstance(decision, Deny):
        assert_type(BudgetThresholdHit.of(decision), BudgetThresholdHit)
        error = BudgetExhausted(decision.resource, decision.reason)
        assert_type(error.reason, str)
    with call_info(model="m", provider="openai", tenant="t", cost_usd=0.1):
        guard.record_after_llm(
            "s", TokenUsage.from_openai({"prompt_tokens": 1, "completion_tokens": 1})
        )

    rates: PriceSource = FlatRates(input=3, output=15)
    card: PriceSource = FlatRates.by_model({"m": FlatRates(3, 15)})
    published: PriceSource = GenAIPrices()
    for prices in (rates, card, published, MyPrices()):
        assert_type(instrument(Remote(), prices=prices), Remote)
    assert_type(instrument(NoopBudgetGuard(), session_info=who, late_after=2.5), NoopBudgetGuard)
    plain = instrument(
        Dicts(),
        name="plain",
        session_info=None,
        prices=None,
        metric_labels=["tenant"],
        max_label_sets=10,
        events="logs",
        late_after=None,
        tracer_provider=None,
        meter_provider=None,
        logger_provider=None,
    )
    assert_type(plain.check_before_llm("s", 1), dict[str, Any] | None)


def loop_without_a_runtime() -> None:
    hits: list[BudgetThresholdHit] = []
    gate = BudgetGate(instrument(Daily()), hits, timeout=1, fail="open", join=False)
    with gate.llm_call("s", 1, model="m", provider="openai") as call:
        assert_type(call.soft_limit, SoftLimit | None)
        call.usage(TokenUsage.from_openai({"prompt_tokens": 1, "completion_tokens": 1}))
        call.usage(None)
        call.usage(object(), cost_usd=0.1)
    told: dict[str, int] | None = {"prompt_tokens": 1, "completion_tokens": 1}
    assert_type(TokenUsage.of(told), TokenUsage | None)
    assert_type(TokenUsage.from_openai({"prompt_tokens": 1, "completion_tokens": 1}), TokenUsage)
    assert_type(TokenUsage.from_anthropic(None), None)
    assert_type(BudgetGate(Daily(), print).check_tool_sync("s", "t"), Allow | SoftLimit)
    with for_a3s(Dicts()) as bridge:
        assert_type(bridge.check_before_llm("s", 1), dict[str, Any])


async def async_host() -> None:
    guard = instrument(Remote())
    async with BudgetGate(guard).tool_call("s", "t") as call:
        assert_type(call.decision, Allow | SoftLimit | None)
    assert_type(await guard.check_before_tool("s", "t"), Allow | SoftLimit | Deny)


def wrong() -> None:
    instrument(Daily(), events="all")  # type: ignore[arg-type]
    instrument(Daily(), prices="free")  # type: ignore[arg-type]
    instrument(Daily(), session_info="acme")  # type: ignore[arg-type]
    instrument(Daily(), "name")  # type: ignore[call-arg]
    BudgetGate(Daily(), fail="shut")  # type: ignore[arg-type]
    BudgetGate(Daily(), 3)  # type: ignore[arg-type]
    Deny(resource="r")  # type: ignore[call-arg]
    _ = Allow().resource  # type: ignore[attr-defined]
    SessionInfo("t").tenant = "u"  # type: ignore[misc]
