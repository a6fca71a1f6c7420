"""Model names as LiteLLM, Google and Bedrock write them find their price, and nobody else's."""

from __future__ import annotations

import pytest

from otel_budget import BillableCall, GenAIPrices

SONNET, GPT_4O, GEMINI = 3.00, 2.50, 1.25  # USD per million prompt tokens
#: Bedrock's regional profiles cost a tenth more (https://aws.amazon.com/bedrock/pricing/).
REGIONAL = 3.30
_BEDROCK = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
_ARN = "arn:aws:bedrock:us-east-1:123456789012"
_PROJECT = "projects/p/locations/us-central1/publishers"


def _rate(model: str, provider: str | None) -> float | None:
    cost = GenAIPrices().cost_usd(BillableCall(model, provider, 100_000))
    return None if cost is None else round(cost * 10, 9)


@pytest.mark.parametrize(
    ("model", "providers", "rate"),
    [
        # https://docs.litellm.ai/docs/providers
        ("anthropic/claude-sonnet-4-5", (None, "anthropic", "openai", "litellm"), SONNET),
        ("openai/gpt-4o", (None, "openai"), GPT_4O),
        ("azure/gpt-4o", (None, "azure.ai.openai", "azure"), GPT_4O),
        ("gemini/gemini-2.5-pro", (None, "gcp.gemini", "openai"), GEMINI),
        ("vertex_ai/gemini-2.5-pro", (None, "gcp.vertex_ai"), GEMINI),
        ("vertex_ai/claude-sonnet-4-5@20250929", (None, "gcp.vertex_ai"), SONNET),
        ("openrouter/anthropic/claude-sonnet-4.5", (None, "openrouter"), SONNET),
        ("litellm_proxy/anthropic/claude-sonnet-4-5", (None, "litellm_proxy"), SONNET),
        ("Anthropic/Claude-Sonnet-4-5", (None, "anthropic"), SONNET),
        # https://ai.google.dev/api/models
        ("models/gemini-2.5-pro", (None, "gcp.gemini", "gcp.gen_ai"), GEMINI),
        (f"{_PROJECT}/google/models/gemini-2.5-pro", (None, "gcp.vertex_ai"), GEMINI),
        # https://docs.aws.amazon.com/bedrock/latest/userguide/inference-profiles-support.html
        (_BEDROCK, (None, "aws.bedrock"), REGIONAL),
        (f"bedrock/{_BEDROCK}", (None, "aws.bedrock"), REGIONAL),
        (f"bedrock/converse/{_BEDROCK}", (None, "aws.bedrock"), REGIONAL),
        (f"bedrock/us-east-1/{_BEDROCK.removeprefix('us.')}", (None, "aws.bedrock"), REGIONAL),
        (f"{_ARN}:inference-profile/{_BEDROCK}", (None, "aws.bedrock"), REGIONAL),
        (f"bedrock/{_ARN}:inference-profile/{_BEDROCK}", (None, "aws.bedrock"), REGIONAL),
        ("global.anthropic.claude-sonnet-4-5-20250929-v1:0", (None, "aws.bedrock"), SONNET),
        ("amazon.nova-pro-v1:0", (None, "aws.bedrock"), 0.80),
        # A name that the library has as it is stays as it is: Groq's own rate.
        ("openai/gpt-oss-120b", ("groq",), 0.15),
    ],
)
def test_a_name_finds_the_price_of_its_seller(
    model: str, providers: tuple[str | None, ...], rate: float
) -> None:
    assert {provider: _rate(model, provider) for provider in providers} == dict.fromkeys(
        providers, rate
    )


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        # A prefix is no word on what another company charges.
        ("openai/gpt-4o", "acme-models"),
        ("anthropic/claude-sonnet-4-5", "deepseek"),
        # Not a known prefix, or nothing behind it.
        ("acme/claude-sonnet-4-5", "anthropic"),
        ("anthropic/", "anthropic"),
        # The id of a profile of one's own does not say what it runs.
        (f"{_ARN}:application-inference-profile/a1b2c3", None),
        # OpenRouter's catalogue does not have it, whatever its maker asks.
        ("openrouter/anthropic/claude-from-the-future", None),
    ],
)
def test_a_name_that_does_not_say_who_sells_it_has_no_price(
    model: str, provider: str | None
) -> None:
    assert _rate(model, provider) is None
