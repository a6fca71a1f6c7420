"""What calls cost beside plain tokens, by hand from published rates, and what is unpriced."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from genai_prices import Usage, calc_price
from genai_prices.data_snapshot import get_snapshot

from otel_budget import (
    BillableCall,
    FlatRates,
    GenAIPrices,
    MissingRate,
    SessionInfo,
    TokenUsage,
    instrument,
)
from otel_budget.contract.interpretation import Price, measure, price
from otel_budget.contract.prices import PriceSource
from otel_budget.contract.prices.genai import _CONTEXTS
from support.backend import Backend
from support.guards import SyncScript


def _usage(prompt: int, completion: int, **more: Any) -> TokenUsage:
    return TokenUsage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=prompt + completion,
        prompt_includes_cache=True,
        **more,
    )


def _price(usage: Any, model: str | None, provider: str | None, prices: Any = None) -> Price:
    return price(measure(usage, provider), prices or GenAIPrices(), model, provider)


ANTHROPIC_1H = {
    "input_tokens": 0,
    "output_tokens": 500,
    "cache_read_input_tokens": 0,
    "cache_creation_input_tokens": 150_000,
    "cache_creation": {"ephemeral_1h_input_tokens": 150_000, "ephemeral_5m_input_tokens": 0},
}
ANTHROPIC_SEARCHES = {
    "input_tokens": 1_000,
    "output_tokens": 700,
    "server_tool_use": {"web_search_requests": 5},
}


@pytest.mark.parametrize(
    ("usage", "model", "provider", "usd"),
    [
        # https://docs.claude.com/en/docs/about-claude/pricing
        # 1-hour writes at $6: 150,000 x 6 + 500 x 15
        (TokenUsage.of(ANTHROPIC_1H), "claude-sonnet-4-5", "anthropic", 0.9075),
        # The rest of the writes lasts five minutes, at $3.75: 100 x 6 + 200 x 3.75
        (
            _usage(300, 0, cache_write_tokens=300, cache_write_1h_tokens=100),
            "claude-sonnet-4-5", "anthropic", (600 + 750) / 1e6,
        ),
        # Beyond 200,000 prompt tokens a 1-hour write costs $12.
        (
            _usage(250_000, 0, cache_write_tokens=250_000, cache_write_1h_tokens=250_000),
            "claude-sonnet-4-5", "anthropic", 3.0,
        ),
        # Batches cost half: 1 M x 0.50 + 1,000 x 2.50
        (
            _usage(1_000_000, 1_000, processing="batch"),
            "claude-haiku-4-5", "anthropic", 0.5025,
        ),
        # $10 for 1,000 searches: 1,000 x 1 + 700 x 5, and five searches
        (TokenUsage.of(ANTHROPIC_SEARCHES), "claude-haiku-4-5", "anthropic", 0.0545),
        # https://platform.openai.com/docs/pricing: flex is half, priority double
        (_usage(1_000_000, 0, processing="flex"), "gpt-5", "openai", 0.625),
        (_usage(1_000_000, 0, processing="priority"), "gpt-5", "openai", 2.5),
        (_usage(1_000_000, 0, processing="standard"), "gpt-5", "openai", 1.25),
        # 100 x 4 + 900 x 32 + 100 x 16 + 400 x 64
        (
            _usage(1_000, 500, audio_input_tokens=900, audio_output_tokens=400),
            "gpt-realtime", "openai", 0.0564,
        ),
        # 50 x 4 + 600 x 32 + 50 x 0.40 (text) + 300 x 0.40 (audio) from the cache
        (
            _usage(1_000, 0, cache_read_tokens=350, audio_input_tokens=900,
                   audio_cache_read_tokens=300),
            "gpt-realtime", "openai", (200 + 19_200 + 20 + 120) / 1e6,
        ),
        # https://ai.google.dev/gemini-api/docs/pricing: audio at $1, text at $0.30
        (_usage(100_000, 0, audio_input_tokens=100_000), "gemini-2.5-flash", "google", 0.10),
        # ... and one rate for every kind of input where no other is listed.
        (_usage(100_000, 0, audio_input_tokens=100_000), "gemini-2.5-pro", "google", 0.125),
    ],
)  # fmt: skip
def test_a_call_costs_what_its_details_add_up_to(
    backend: Backend, usage: Any, model: str, provider: str, usd: float
) -> None:
    info = SessionInfo(model=model, provider=provider)
    backend.instrument(SyncScript(), prices="auto", session_info=info).record_after_llm("s", usage)
    assert backend.value("budget.cost", budget__cost__source="local") == pytest.approx(usd)
    assert backend.value("budget.unpriced_calls") == 0


@pytest.mark.parametrize(
    ("usage", "model", "provider"),
    [
        (_usage(1_000, 0, audio_input_tokens=900), "gpt-4o", "openai"),
        (_usage(1_000, 9, audio_output_tokens=9), "gpt-4o", "openai"),
        (_usage(9, 0, cache_write_tokens=9, cache_write_1h_tokens=9), "gpt-4o", "openai"),
        # Its one rate for writes is not that for an hour.
        (
            _usage(9, 0, cache_write_tokens=9, cache_write_1h_tokens=9),
            "global.anthropic.claude-sonnet-4-20250514-v1:0", "aws.bedrock",
        ),
        (_usage(1_000, 0, web_searches=1), "deepseek-chat", "deepseek"),
        (_usage(1_000, 0, processing="flex"), "gpt-4o", "openai"),
        (_usage(1_000, 0, processing="priority"), "claude-haiku-4-5", "anthropic"),
        # The maker's rates for batches say nothing of a reseller's.
        (_usage(1_000, 0, processing="batch"), "grok-4.3", "azure.ai.inference"),
        # How much of the cached tokens is audio is not told, and their rates differ.
        (
            _usage(1_000, 0, cache_read_tokens=350, audio_input_tokens=900),
            "gpt-realtime", "openai",
        ),
        # More of a part than of the whole.
        (_usage(9, 0, cache_write_tokens=5, cache_write_1h_tokens=6), "claude-haiku-4-5",
         "anthropic"),
        (_usage(9, 0, audio_input_tokens=10), "gemini-2.5-flash", "google"),
        (_usage(9, 5, audio_output_tokens=6), "gpt-realtime", "openai"),
        # Not priced by tokens, or not by generated ones.
        (_usage(9, 0), "tts-1", "openai"),
        (_usage(9, 5), "text-embedding-3-large", "openai"),
    ],
)  # fmt: skip
def test_a_call_with_a_part_without_a_rate_is_unpriced(
    backend: Backend, usage: Any, model: str, provider: str
) -> None:
    info = SessionInfo(model=model, provider=provider)
    backend.instrument(SyncScript(), prices="auto", session_info=info).record_after_llm("s", usage)
    assert backend.value("budget.unpriced_calls", budget__reason="no_rate") == 1
    assert backend.series("budget.cost") == []
    assert "budget.cost" not in backend.span().attributes
    assert "budget.cost.source" not in backend.span().attributes


# -- the whole snapshot ------------------------------------------------------------------------
_KEYS = {
    "cache_write_1h_tokens": "cache_write_1h_mtok",
    "audio_input_tokens": "input_audio_mtok",
    "audio_cache_read_tokens": "cache_audio_read_mtok",
    "audio_output_tokens": "output_audio_mtok",
    "web_searches": "web_searches_kcount",
}
_LIBRARY = {
    "audio_input_tokens": "input_audio_tokens",
    "audio_cache_read_tokens": "cache_audio_read_tokens",
    "audio_output_tokens": "output_audio_tokens",
}
_SIZES = (1_000, 199_999, 200_000, 200_001, 272_001, 400_000)
_DETAILS: list[tuple[dict[str, int], dict[str, Any]]] = [
    # Counts, and details that the model has rates for.
    ({"cache_write_tokens": 400, "cache_read_tokens": 100}, {"cache_write_1h_tokens": 150}),
    ({}, {"audio_input_tokens": 300}),
    ({"cache_read_tokens": 300}, {"audio_input_tokens": 200, "audio_cache_read_tokens": 50}),
    ({}, {"audio_output_tokens": 33}),
    ({}, {"web_searches": 3}),
]


def _calls(size: int, rates: set[str]) -> Iterator[BillableCall]:
    for counts, details in _DETAILS:
        if all(_KEYS[name] in rates for name in details):
            fresh = size - sum(counts.values())
            yield BillableCall(None, None, fresh, 77, **counts, **details)


def _told(call: BillableCall) -> Usage:
    details = {
        _LIBRARY.get(name, name): getattr(call, name) for name in _KEYS if getattr(call, name)
    }
    return Usage(
        input_tokens=call.input_tokens + call.cache_read_tokens + call.cache_write_tokens,
        output_tokens=call.output_tokens,
        cache_read_tokens=call.cache_read_tokens,
        cache_write_tokens=call.cache_write_tokens,
        **details,
    )


@pytest.mark.parametrize("processing", ["standard", "batch", "flex", "priority"])
def test_each_detail_costs_what_the_library_says_for_every_model(processing: str) -> None:
    ours, now, compared, missing = GenAIPrices(), datetime.now(tz=UTC), set(), 0
    context = _CONTEXTS.get(processing)
    for provider in get_snapshot().providers:
        for info in provider.models:
            plain = info.get_prices(now)
            rates = {key for key, rate in vars(plain).items() if rate is not None}
            if not rates >= {"input_mtok", "output_mtok"}:
                continue
            has_variant = processing == "standard" or any(
                variant.when == context and vars(variant.prices).get("input_mtok") is not None
                for variant in info.price_variants or ()
            )
            found = provider.find_model(info.id, all_providers=get_snapshot().providers)
            if found is not info:  # another entry matches this one's id first
                continue
            for size in _SIZES:
                plain_call = BillableCall(None, None, size - 300, 77, 200, 100)
                for call in (plain_call, *_calls(size, rates)):
                    asked = call._replace(
                        model=info.id, provider=provider.id, processing=processing
                    )
                    if not has_variant:
                        with pytest.raises(MissingRate):
                            ours.cost_usd(asked)
                        missing += 1
                        continue
                    expected = calc_price(
                        _told(call), info.id, provider_id=provider.id, price_context=context
                    ).total_price
                    cost = ours.cost_usd(asked)
                    assert cost == pytest.approx(float(expected), rel=1e-9, abs=1e-12), asked
                    compared |= {name for name in _KEYS if getattr(call, name)} | {"tokens"}
                if not has_variant:
                    break
    assert "tokens" in compared
    assert (missing > 1_000) is (processing != "standard")
    if processing == "standard":
        assert compared == {*_KEYS, "tokens"}


# -- your own rates, told costs ----------------------------------------------------------------
def test_flat_rates_price_the_parts_that_they_have_a_rate_for() -> None:
    rates = FlatRates(
        3, 15, 0.3, 3.75, cache_write_1h=6, audio_input=30, audio_output=60, web_search=0.01,
        processing={"batch": 0.5},
    )  # fmt: skip
    details: dict[str, int] = {
        "cache_write_1h_tokens": 10, "audio_input_tokens": 40, "audio_cache_read_tokens": 15,
        "audio_output_tokens": 5, "web_searches": 2,
    }  # fmt: skip
    call = BillableCall("m", None, 100, 20, 50, 30, **details)
    # text 75 x 3 + 15 x 15 + 35 x 0.3 + 20 x 3.75, then 10 x 6 + 25 x 30 + 15 x 30 + 5 x 60
    tokens = (225 + 225 + 10.5 + 75 + 60 + 750 + 450 + 300) / 1e6
    assert rates.cost_usd(call) == pytest.approx(tokens + 0.02)
    # Searches are not part of a batch's discount.
    batch = call._replace(processing="batch")
    assert rates.cost_usd(batch) == pytest.approx(tokens / 2 + 0.02)


@pytest.mark.parametrize(
    "more",
    [
        {"cache_write_tokens": 5, "cache_write_1h_tokens": 5},
        {"audio_input_tokens": 5},
        {"audio_output_tokens": 5},
        {"web_searches": 1},
        {"processing": "batch"},
        {"processing": "priority"},
    ],
)
def test_flat_rates_price_nothing_that_they_have_no_rate_for(more: dict[str, Any]) -> None:
    cards: tuple[PriceSource, ...] = (
        FlatRates(3, 15),
        FlatRates.by_model({"m": FlatRates(3, 15)}),
    )
    for prices in cards:
        assert _price(_usage(10, 10, **more), "m", None, prices) == Price(None, "no_rate")


@pytest.mark.parametrize("prices", [None, "auto", FlatRates(3, 15)])
@pytest.mark.parametrize("reported", [0.0, 0.0123])
def test_a_cost_that_the_provider_reported_stands_before_local_prices(
    backend: Backend, prices: Any, reported: float
) -> None:
    info = SessionInfo(model="somebody/house-model", provider="openrouter")
    guard = backend.instrument(SyncScript(), prices=prices, session_info=info)
    raw = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, "cost": reported}
    guard.record_after_llm("s", TokenUsage.of(raw))
    assert backend.value("budget.cost", budget__cost__source="provider") == reported
    assert backend.value("budget.unpriced_calls") == 0
    assert backend.span().attributes["budget.cost"] == reported
    assert backend.span().attributes["budget.cost.source"] == "provider"


def test_a_reported_cost_needs_no_cache_accounting() -> None:
    usage = TokenUsage(
        prompt_tokens=9, completion_tokens=0, total_tokens=9, cache_read_tokens=5, cost_usd=0.25
    )
    assert measure(usage, None).undecided
    assert price(measure(usage, None), None, None, None) == Price(0.25, "", "provider")


def test_the_host_is_believed_first_then_the_provider_then_the_local_prices() -> None:
    rates = FlatRates(1, 1)
    told = measure(_usage(1_000_000, 0, cost_usd=0.25), None)
    assert price(told, rates, "m", None, 0.5) == Price(0.5, "", "host")
    assert price(told, rates, "m", None) == Price(0.25, "", "provider")
    plain = measure(_usage(1_000_000, 0), None)
    assert price(plain, rates, "m", None) == Price(1.0, "", "local")


@pytest.mark.parametrize("wrong", [-1.0, float("nan"), float("inf")])
def test_a_reported_cost_that_is_no_amount_is_none(wrong: float) -> None:
    told = measure(_usage(1_000_000, 0), None)._replace(reported_usd=wrong)
    assert price(told, FlatRates(1, 1), "m", None) == Price(1.0, "", "local")


# -- sources that were written for four counts ---------------------------------------------------
class FourCounts:
    def cost_usd(self, model: str, provider: str, *, input_tokens: int, **more: int) -> float:
        return 0.0


class NoArguments:
    def cost_usd(self) -> float:
        return 0.0


@pytest.mark.parametrize("prices", [FourCounts(), NoArguments(), FlatRates])
def test_a_source_that_takes_something_else_is_refused_in_one_sentence(prices: Any) -> None:
    with pytest.raises(TypeError, match=r"one argument, the BillableCall .*cost_usd\(self, call\)"):
        instrument(SyncScript(), prices=prices)


class ManyArguments:
    def cost_usd(self, *args: Any, **more: Any) -> float:
        return 0.5


def test_a_source_whose_arguments_cannot_be_told_is_taken() -> None:
    assert _price(_usage(1, 1), "m", None, ManyArguments()).usd == 0.5
    instrument(SyncScript(), prices=ManyArguments())
