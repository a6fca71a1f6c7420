"""OpenTelemetry's provider names find the sellers of genai-prices, in whatever case a model is."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from genai_prices.data_snapshot import find_provider_by_id, get_snapshot

from otel_budget import BillableCall, GenAIPrices, MissingRate
from otel_budget.contract.prices.rate_card import RateCard


def _cost(prices: GenAIPrices, model: str, provider: str) -> float | None:
    try:
        return prices.cost_usd(BillableCall(model, provider, 1_000, 100))
    except MissingRate:  # of a model that is not priced by tokens
        return None


@pytest.mark.parametrize(
    ("provider", "theirs"),
    [
        ("aws.bedrock", "aws"),
        ("azure.ai.inference", "azure"),
        ("azure.ai.openai", "azure"),
        ("gcp.gemini", "google"),
        ("gcp.gen_ai", "google"),
        ("gcp.vertex_ai", "google"),
        ("mistral_ai", "mistral"),
        ("moonshot_ai", "moonshotai"),
        ("x_ai", "x-ai"),
        ("anthropic", "anthropic"),
    ],
)
def test_a_provider_by_opentelemetrys_name_has_its_prices(provider: str, theirs: str) -> None:
    prices = GenAIPrices()
    seller = find_provider_by_id(get_snapshot().providers, theirs)
    assert seller is not None
    priced = 0
    for model in seller.models:
        expected = _cost(prices, model.id, theirs)
        assert _cost(prices, model.id, provider) == expected
        priced += bool(expected)
    assert priced


def test_the_case_of_a_model_does_not_matter() -> None:
    prices = GenAIPrices()
    for provider in ("anthropic", None):
        expected = prices.cost_usd(BillableCall("claude-sonnet-4-5", provider, 1_000, 100))
        assert expected
        assert prices.cost_usd(BillableCall("Claude-Sonnet-4-5", provider, 1_000, 100)) == expected


def test_cards_of_tokens_alone_are_multiplied_here() -> None:
    """The library takes some 200 us a call: it is asked where a card holds more than tokens."""
    without_cache_rates = 0
    for provider in get_snapshot().providers:
        for model in provider.models:
            price = model.get_prices(datetime.now(tz=UTC))
            card = RateCard.read(price, has_one_rate=False)
            cached = (price.cache_read_mtok, price.cache_write_mtok)
            is_plain = isinstance(price.input_mtok, Decimal)
            if card.is_exact and cached == (None, None) and is_plain:
                # Without a rate of their own, cached tokens are prompt tokens.
                at = float(price.input_mtok)
                call = BillableCall(cache_read_tokens=1_000_000, cache_write_tokens=1_000_000)
                assert card.cost(call) == pytest.approx(2 * at)
                without_cache_rates += 1
    assert without_cache_rates > 10


def test_a_model_that_another_company_resells_has_its_makers_price() -> None:
    prices = GenAIPrices()
    expected = prices.cost_usd(BillableCall("claude-3-haiku", "anthropic", 1_000, 100))
    assert expected
    assert (
        prices.cost_usd(BillableCall("claude-3-haiku", "azure.ai.inference", 1_000, 100))
        == expected
    )
