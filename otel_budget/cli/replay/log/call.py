"""One row of a log: a call, or why it is none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from otel_budget.contract import TokenUsage
from otel_budget.contract.prices.providers import prompt_includes_cache


@dataclass(slots=True)
class LoggedCall:
    """One row: a model call if it has a `usage`, a tool call if it has a `tool`.

    Attributes:
        usage: What the model call used.
        at: When, in seconds since the epoch.
        session: Its session, conversation or trace.
        tenant: Who pays.
        user: Who asked.
        agent: Which agent.
        model: The model.
        provider: Its provider.
        tool: The tool that was called.
        cost: What the log itself says that it cost, in USD.
        calls: How many calls the row stands for.
        key: What a repeated row has in common with the first, across all files.
        file: The number of the file.
        line: The line in it, or the number of the value in a file that is one array.
    """

    usage: TokenUsage | None = None
    at: float | None = None
    session: str | None = None
    tenant: str | None = None
    user: str | None = None
    agent: str | None = None
    model: str | None = None
    provider: str | None = None
    tool: str | None = None
    cost: float | None = None
    calls: int = 1
    key: str | None = None
    file: int = 0
    line: int = 0


class Aside(NamedTuple):
    """Why a row that can be read is not played."""

    why: str


NO_MODEL_CALL = Aside("no model call")
FAILED = Aside("failed call")
FROM_CACHE = Aside("answered from the gateway's own cache")
NO_CALLS = Aside("holds no call")
REPEATED = "repeated"

#: How model names begin, by who makes the model: it decides how cached tokens are counted where
#: neither the usage nor the provider does.
_MAKERS = {
    "claude": "anthropic",
    "gpt-": "openai",
    "chatgpt": "openai",
    "o1": "openai",
    "o3": "openai",
    "o4": "openai",
    "gemini": "gcp.gemini",
    "deepseek": "deepseek",
    "grok": "xai",
    "mistral": "mistral",
}


def includes_cache(provider: str | None, model: str | None) -> bool | None:
    """Whether prompt counts contain the cached tokens, by provider or else by the model's name."""
    told = prompt_includes_cache(provider)
    if told is not None or model is None:
        return told
    name = model.lower().rsplit("/", 1)[-1]
    for start, maker in _MAKERS.items():
        if name.startswith(start) or f".{start}" in name:
            return prompt_includes_cache(maker)
    return None


def accounted(call: LoggedCall) -> None:
    """Decide how the cached tokens of a call are counted, where its usage leaves it open."""
    usage = call.usage
    if usage is None or usage.prompt_includes_cache is not None:
        return
    cached = (usage.cache_read_tokens or 0) + (usage.cache_write_tokens or 0)
    # More was cached than sent, or the total has it on top: then it stands beside the prompt.
    sent = usage.prompt_tokens
    if not cached or cached > sent or usage.total_tokens == sent + usage.completion_tokens + cached:
        return
    includes = includes_cache(call.provider, call.model)
    if includes is not None:
        call.usage = usage.model_copy(update={"prompt_includes_cache": includes})
