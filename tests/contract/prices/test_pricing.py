"""Prices: each cost is compared with one computed by hand from the rates in the table below.

Rates are USD per million tokens as published by the providers:
Anthropic https://docs.claude.com/en/docs/about-claude/pricing,
OpenAI https://openai.com/api/pricing, Google https://ai.google.dev/gemini-api/docs/pricing.
"""

from __future__ import annotations

import sys
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from otel_budget import (
    BillableCall,
    FlatRates,
    GenAIPrices,
    MissingRate,
    PriceSource,
    SessionInfo,
    TokenUsage,
    call_info,
)
from otel_budget.contract.prices import price_source
from otel_budget.telemetry.metrics.price_list import price_list
from support.backend import Backend
from support.guards import SyncScript
from support.processes import python


@dataclass(frozen=True)
class Rates:
    input: float
    output: float
    read: float = 0.0
    write: float = 0.0


SONNET = Rates(3.00, 15.00, 0.30, 3.75)  # up to 200,000 prompt tokens
SONNET_LONG = Rates(6.00, 22.50, 0.60, 7.50)  # beyond
HAIKU = Rates(1.00, 5.00, 0.10, 1.25)
OPUS = Rates(15.00, 75.00, 1.50, 18.75)
GPT_4O = Rates(2.50, 10.00, 1.25)
GPT_5 = Rates(1.25, 10.00, 0.125)
GEMINI = Rates(1.25, 10.00, 0.125)  # up to 200,000 prompt tokens
GEMINI_LONG = Rates(2.50, 15.00, 0.25)  # beyond


def by_hand(rates: Rates, fresh: int, out: int, read: int = 0, write: int = 0) -> float:
    return (
        fresh * rates.input + out * rates.output + read * rates.read + write * rates.write
    ) / 1_000_000


def _anthropic(fresh: int, out: int, read: int, write: int) -> TokenUsage:
    return TokenUsage.from_anthropic(
        {
            "input_tokens": fresh,
            "output_tokens": out,
            "cache_read_input_tokens": read,
            "cache_creation_input_tokens": write,
        }
    )


def _chat(prompt: int, out: int, cached: int) -> TokenUsage:
    return TokenUsage.from_openai(
        {
            "prompt_tokens": prompt,
            "completion_tokens": out,
            "total_tokens": prompt + out,
            "prompt_tokens_details": {"cached_tokens": cached},
        }
    )


def _responses(prompt: int, out: int, cached: int) -> TokenUsage:
    return TokenUsage.from_openai(
        {
            "input_tokens": prompt,
            "output_tokens": out,
            "total_tokens": prompt + out,
            "input_tokens_details": {"cached_tokens": cached},
        }
    )


def _litellm(prompt: int, out: int, read: int, write: int) -> TokenUsage:
    return TokenUsage.from_litellm(
        {
            "prompt_tokens": prompt,
            "completion_tokens": out,
            "total_tokens": prompt + out,
            "prompt_tokens_details": {"cached_tokens": read},
            "cache_read_input_tokens": read,
            "cache_creation_input_tokens": write,
        }
    )


def _bare(prompt: int, out: int, read: int | None = None, write: int | None = None) -> Any:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": out,
        "total_tokens": prompt + out,
        "cache_read_tokens": read,
        "cache_write_tokens": write,
    }


PRICED = [
    # Anthropic: the prompt count excludes the cached tokens.
    ("anthropic", "claude-sonnet-4-5", _anthropic(1_200, 350, 9_000, 2_000),
     by_hand(SONNET, 1_200, 350, 9_000, 2_000)),
    ("anthropic", "claude-haiku-4-5", _anthropic(10, 5, 20_000, 0), by_hand(HAIKU, 10, 5, 20_000)),
    ("anthropic", "claude-opus-4-1", _anthropic(500, 100, 0, 3_000),
     by_hand(OPUS, 500, 100, 0, 3_000)),
    ("anthropic", "claude-sonnet-4-5", _bare(1_200, 350, 9_000, 2_000),
     by_hand(SONNET, 1_200, 350, 9_000, 2_000)),
    # OpenAI: it includes them.
    ("openai", "gpt-4o", _chat(10_000, 400, 8_000), by_hand(GPT_4O, 2_000, 400, 8_000)),
    ("openai", "gpt-5", _responses(10_000, 400, 8_000), by_hand(GPT_5, 2_000, 400, 8_000)),
    ("openai", "gpt-4o", _bare(10_000, 400, 8_000), by_hand(GPT_4O, 2_000, 400, 8_000)),
    ("azure.ai.openai", "gpt-4o", _chat(10_000, 400, 8_000), by_hand(GPT_4O, 2_000, 400, 8_000)),
    # Claude through LiteLLM: it includes them, whatever the provider.
    ("anthropic", "claude-sonnet-4-5", _litellm(12_200, 350, 9_000, 2_000),
     by_hand(SONNET, 1_200, 350, 9_000, 2_000)),
    # No cache at all, typed and bare; without a provider; with a date in the name.
    ("anthropic", "claude-sonnet-4-5", _anthropic(1_000, 100, 0, 0), by_hand(SONNET, 1_000, 100)),
    ("openai", "gpt-4o", _bare(1_000, 100), by_hand(GPT_4O, 1_000, 100)),
    (None, "gpt-4o", _bare(1_000, 100), by_hand(GPT_4O, 1_000, 100)),
    ("anthropic", "claude-sonnet-4-5-20250929", _bare(1_000, 100), by_hand(SONNET, 1_000, 100)),
    # Tiers depend on the size of a single request, cached tokens included.
    ("anthropic", "claude-sonnet-4-5", _anthropic(200_000, 100, 0, 0),
     by_hand(SONNET, 200_000, 100)),
    ("anthropic", "claude-sonnet-4-5", _anthropic(200_001, 100, 0, 0),
     by_hand(SONNET_LONG, 200_001, 100)),
    ("anthropic", "claude-sonnet-4-5", _anthropic(1_000, 100, 249_000, 50_000),
     by_hand(SONNET_LONG, 1_000, 100, 249_000, 50_000)),
    ("gcp.gemini", "gemini-2.5-pro", _bare(150_000, 1_000), by_hand(GEMINI, 150_000, 1_000)),
    ("gcp.vertex_ai", "gemini-2.5-pro", _bare(300_000, 1_000),
     by_hand(GEMINI_LONG, 300_000, 1_000)),
    ("anthropic", "claude-sonnet-4-5", _bare(0, 0), 0.0),
]  # fmt: skip


@pytest.fixture
def _read_price_list() -> None:
    """Read it now: a record that comes before a thread has read it has no cost on its span."""
    price_list.read()


@pytest.mark.usefixtures("_read_price_list")
@pytest.mark.parametrize(("provider", "model", "usage", "usd"), PRICED)
def test_a_recorded_call_costs_what_its_rates_add_up_to(
    backend: Backend, provider: str | None, model: str, usage: Any, usd: float
) -> None:
    guard = backend.instrument(
        SyncScript(), prices="auto", session_info=SessionInfo(model=model, provider=provider)
    )
    guard.record_after_llm("s", usage)
    assert backend.value("budget.cost") == pytest.approx(usd, rel=1e-9, abs=1e-12)
    assert backend.value("budget.unpriced_calls") == 0
    assert backend.span().attributes["budget.cost"] == pytest.approx(usd, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(
    ("provider", "model", "usage", "reason"),
    [
        ("anthropic", "claude-from-the-future-99", _bare(10, 1), "unknown_model"),
        ("acme-models", "house-model", _bare(10, 1), "unknown_model"),
        ("anthropic", None, _bare(10, 1), "no_model"),
        ("aws.bedrock", "anthropic.claude-sonnet-4-5-20250929-v1:0", _bare(98_805, 1, 66_360),
         "cache_accounting"),
        ("gcp.vertex_ai", "gemini-2.5-pro", _bare(900, 1, 300), "cache_accounting"),
        ("openai", "gpt-4o", {"prompt_tokens": "many"}, "malformed_usage"),
    ],
)  # fmt: skip
def test_an_unpriced_call_adds_no_cost_and_has_a_reason(
    backend: Backend, provider: str, model: str | None, usage: Any, reason: str
) -> None:
    guard = backend.instrument(
        SyncScript(), prices="auto", session_info=SessionInfo(model=model, provider=provider)
    )
    guard.record_after_llm("s", usage)
    assert backend.series("budget.cost") == []
    assert backend.value("budget.unpriced_calls", budget__reason=reason) == 1
    assert backend.value("budget.calls") == 1
    assert "budget.cost" not in backend.span().attributes


def test_two_small_requests_are_not_one_large_one(backend: Backend) -> None:
    guard = backend.instrument(
        SyncScript(), prices="auto",
        session_info=SessionInfo(model="claude-sonnet-4-5", provider="anthropic"),
    )  # fmt: skip
    for _ in range(2):
        guard.record_after_llm("s", _bare(150_000, 0))
    assert backend.value("budget.cost") == pytest.approx(by_hand(SONNET, 300_000, 0))


def test_our_cost_equals_the_librarys_for_every_model() -> None:
    """Ours is a shortcut, which must agree for all providers and models."""
    from genai_prices import Usage, calc_price
    from genai_prices.data_snapshot import get_snapshot

    ours = GenAIPrices()
    now, compared = datetime.now(tz=UTC), 0
    shapes = [(1_000, 100, 0, 0), (4_000, 77, 3_000, 500), (10_000, 1, 300_000, 7)]
    for provider in get_snapshot().providers:
        for info in provider.models:
            fresh, out, read, write = shapes[compared % len(shapes)]
            usage = Usage(
                input_tokens=fresh + read + write,
                output_tokens=out,
                cache_read_tokens=read,
                cache_write_tokens=write,
            )
            try:
                expected = float(
                    calc_price(usage, model_ref=info.id, provider_id=provider.id).total_price
                )
            except (LookupError, ValueError):
                continue
            call = BillableCall(info.id, provider.id, fresh, out, read, write)
            try:
                cost = ours.cost_usd(call)
            except MissingRate:
                rates = {key for key, rate in vars(info.get_prices(now)).items() if rate}
                assert not rates >= {"input_mtok", "output_mtok"}, (provider.id, info.id)
                continue
            assert cost == pytest.approx(expected, rel=1e-9, abs=1e-12), (provider.id, info.id)
            compared += 1
    assert compared > 1_500


def test_model_names_from_outside_do_not_fill_the_memory() -> None:
    prices = GenAIPrices()
    for number in range(5_000):
        prices.cost_usd(BillableCall(f"made-up-{number}", "openai", 1, 1))
    assert len(prices._products) <= 1_024


def test_the_published_prices_can_be_looked_up_from_many_threads() -> None:
    prices, costs = GenAIPrices(), set()

    def ask() -> None:
        for _ in range(200):
            costs.add(prices.cost_usd(BillableCall("gpt-4o", "openai", 1_000_000)))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert costs == {2.5}


# -- your own rates --------------------------------------------------------------------------
def _cost(prices: PriceSource, model: str | None = "m") -> float | None:
    return prices.cost_usd(BillableCall(model, None, 1_000_000, 100_000, 10_000_000, 1_000_000))


def test_flat_rates_are_per_million_tokens() -> None:
    assert _cost(FlatRates(3, 15, 0.3, 3.75)) == pytest.approx(3 + 1.5 + 3 + 3.75)
    assert _cost(FlatRates(3, 15)) == pytest.approx(3 + 1.5 + 30 + 3)
    assert _cost(FlatRates(3, 15), model=None) == pytest.approx(3 + 1.5 + 30 + 3)


def test_a_rate_card_knows_only_its_own_models() -> None:
    card = FlatRates.by_model({"m": FlatRates(3, 15, 0, 0)})
    assert isinstance(card, PriceSource)
    assert _cost(card) == pytest.approx(4.5)
    assert _cost(card, "other") is None
    assert _cost(card, None) is None


def test_a_cost_given_by_the_host_overrides_every_price(backend: Backend) -> None:
    guard = backend.instrument(SyncScript(), prices=FlatRates(3, 15))
    with call_info(cost_usd=0.25):
        guard.record_after_llm("s", _bare(1_000_000, 0))
    guard.record_after_llm("s", _bare(1_000_000, 0))
    assert backend.value("budget.cost") == pytest.approx(3.25)


def test_prices_are_none_auto_or_a_source_and_nothing_else() -> None:
    assert price_source(None) is None
    rates = FlatRates(1, 2)
    assert price_source(rates) is rates
    assert isinstance(price_source("auto"), GenAIPrices)
    assert price_source("auto") is price_source("auto")
    with pytest.raises(TypeError, match="cost_usd"):
        price_source("genai")  # type: ignore[arg-type]


def test_without_the_extra_auto_prices_nothing_and_the_error_names_what_to_install() -> None:
    GenAIPrices()  # installed here, and only hidden from the other process
    python(
        """
        import sys
        sys.modules["genai_prices"] = None   # as if it were not installed
        import importlib.metadata
        def version(name):
            raise importlib.metadata.PackageNotFoundError(name)
        importlib.metadata.version = version
        import importlib.util
        real = importlib.util.find_spec
        importlib.util.find_spec = lambda name, *a: None if name == "genai_prices" else real(name)
        from otel_budget import GenAIPrices
        from otel_budget.contract.prices import price_source
        assert price_source("auto") is None
        try:
            GenAIPrices()
        except ModuleNotFoundError as error:
            assert "pip install 'otel-budget[prices]'" in str(error), error
        else:
            raise AssertionError("no error")
        """
    )
    assert "genai_prices" in sys.modules
