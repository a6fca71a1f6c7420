"""Who serves a client's models, by the address that it calls."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

#: OpenTelemetry's ``gen_ai.provider.name`` by the end of the host's name. Whoever is behind any
#: other address is not known.
_PROVIDERS: Final = {
    "api.openai.com": "openai",
    "openai.azure.com": "azure.ai.openai",
    "services.ai.azure.com": "azure.ai.inference",
    "api.anthropic.com": "anthropic",
    "generativelanguage.googleapis.com": "gcp.gemini",
    "api.groq.com": "groq",
    "api.deepseek.com": "deepseek",
    "api.mistral.ai": "mistral_ai",
    "api.moonshot.ai": "moonshot_ai",
    "api.x.ai": "x_ai",
    "openrouter.ai": "openrouter",
}


def provider_at(url: object) -> str | None:
    """The provider at the base URL of a client, or None if the address names none."""
    try:
        host = urlsplit(str(url)).hostname or ""
    except ValueError:
        return None
    for name, provider in _PROVIDERS.items():
        if host == name or host.endswith("." + name):
            return provider
    return None
