"""Model names as gateways and clouds write them, and the names that prices are found by."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

#: First parts of a name that say who sells the model, and how the price source spells the seller
#: (https://docs.litellm.ai/docs/providers has most). The name of a gateway says nothing.
_PREFIXES: Final[dict[str, str | None]] = {
    "anthropic": "anthropic",
    "azure": "azure",
    "azure_ai": "azure",
    "bedrock": "aws",
    "cohere": "cohere",
    "deepseek": "deepseek",
    "fireworks_ai": "fireworks",
    "gemini": "google",
    "google": "google",
    "groq": "groq",
    "litellm": None,
    "litellm_proxy": None,
    "mistral": "mistral",
    "mistralai": "mistral",
    "models": "google",
    "moonshot": "moonshotai",
    "openai": "openai",
    "openrouter": "openrouter",
    "perplexity": "perplexity",
    "together_ai": "together",
    "vertex_ai": "google",
    "x-ai": "x-ai",
    "xai": "x-ai",
}
#: Parts that stand between a prefix and the model: an API, a region.
_BETWEEN: Final = re.compile(r"(?:converse|invoke|chat|responses|[a-z]{2}(?:-[a-z]+)+-\d)/")
#: Bedrock's ids of models and of inference profiles across regions
#: (https://docs.aws.amazon.com/bedrock/latest/userguide/models-supported.html).
_BEDROCK: Final = re.compile(
    r"(?:(?:us|us-gov|eu|apac|jp|au|ca|global)\.)?"
    r"(?:ai21|amazon|anthropic|cohere|deepseek|meta|mistral|openai|qwen|writer)\.[a-z].*"
)
_ARN: Final = re.compile(r"arn:aws[a-z-]*:bedrock:[^/]*/(?P<model>.+)")
#: Google Cloud's resource names.
_PUBLISHED: Final = re.compile(r"(?:projects/.+/)?publishers/[^/]+/models/(?P<model>[^/]+)")
#: Providers that a client names when it only speaks their dialect, to a gateway.
_DIALECTS: Final = frozenset({None, "openai", "litellm", "litellm_proxy"})


def readings(model: str, provider: str | None) -> Iterator[tuple[str, str | None]]:
    """What `model` may be called by the price source, with its seller, the most literal first.

    The seller is the provider that was told. A prefix decides where none was, or one whose dialect
    every gateway speaks; anybody else's price is not that of this provider.

    Args:
        model: The model's name as the host knows it.
        provider: OpenTelemetry's ``gen_ai.provider.name``, if known.
    """
    yield model, provider
    name, seller = model.strip().lower(), None
    if provider in _DIALECTS and _BEDROCK.fullmatch(name):
        yield name, "aws"
    while (found := _shorter(name)) is not None:
        name, said = found
        seller = seller or said  # the first one to be named is the one who is paid
        yield name, seller if seller is not None and provider in _DIALECTS else provider


def _shorter(name: str) -> tuple[str, str | None] | None:
    """`name` without its first known part, and the seller which that part names; else None."""
    for pattern, seller in ((_ARN, "aws"), (_PUBLISHED, "google")):
        match = pattern.fullmatch(name)
        if match is not None:
            return match["model"], seller
    prefix, slash, rest = name.partition("/")
    if slash and prefix in _PREFIXES and rest:
        between = _BETWEEN.match(rest)
        return rest if between is None else rest[between.end() :], _PREFIXES[prefix]
    return None
