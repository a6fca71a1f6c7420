"""Providers by name: how the price source spells them, and how they count cached tokens.

One table for both, so that a spelling that finds a price also finds its cache accounting.
"""

from __future__ import annotations

from typing import Final

#: By OpenTelemetry's ``gen_ai.provider.name`` and by the names in common use, in lower case: the
#: name in genai-prices, and whether prompt counts contain the cached tokens. None where more than
#: one accounting lives under the name: Bedrock and Google's Vertex AI also sell Claude.
_PROVIDERS: Final[dict[str, tuple[str, bool | None]]] = {
    "anthropic": ("anthropic", False),
    "aws": ("aws", None),
    "aws.bedrock": ("aws", None),
    "azure": ("azure", True),
    "azure.ai.inference": ("azure", True),
    "azure.ai.openai": ("azure", True),
    "deepseek": ("deepseek", True),
    "gcp.gemini": ("google", True),
    "gcp.gen_ai": ("google", True),
    "gcp.vertex_ai": ("google", None),
    "google": ("google", None),
    "groq": ("groq", True),
    "mistral": ("mistral", True),
    "mistral_ai": ("mistral", True),
    "moonshot_ai": ("moonshotai", True),
    "moonshotai": ("moonshotai", True),
    "openai": ("openai", True),
    "openrouter": ("openrouter", True),
    "x-ai": ("x-ai", True),
    "x_ai": ("x-ai", True),
    "xai": ("x-ai", True),
}
#: Words by which genai-prices finds a provider in a longer name; the first one found decides.
_WORDS: Final[tuple[tuple[str, bool | None], ...]] = (
    ("bedrock", None),
    ("amazon", None),
    ("vertex", None),
    ("anthropic", False),
    ("openai", True),
    ("gemini", True),
    ("mistral", True),
    ("moonshot", True),
)


def price_name(provider: str) -> str:
    """The name of `provider` in genai-prices; one that the table lacks is left as it is."""
    known = _PROVIDERS.get(provider.lower().strip())
    return provider if known is None else known[0]


def prompt_includes_cache(provider: object) -> bool | None:
    """Whether the prompt counts of `provider` contain the cached tokens; None if undecided."""
    if not isinstance(provider, str):  # a host's own words are not checked
        return None
    name = provider.lower().strip()
    known = _PROVIDERS.get(name)
    if known is not None:
        return known[1]
    return next((includes for word, includes in _WORDS if word in name), None)
