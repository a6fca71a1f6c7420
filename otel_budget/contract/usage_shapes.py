"""The shapes in which providers, gateways and frameworks report the tokens of a call.

A shape is recognised by its keys, the first in the table that fits. Where no key shows how cached
tokens were counted, arithmetic may prove that they stand beside the prompt: more were cached than
sent, or the total adds them on top. It never proves the opposite, for two numbers add up either
way. The sources of the shapes are beside each case in ``tests/contract/test_usage_shapes.py``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final, Literal

from otel_budget.contract.raw_usage import number

Paths = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class UsageShape:
    """The keys of one shape. Of several paths of a count the first that is present counts.

    Attributes:
        name: Who gives it, for log lines.
        marks: The shape fits if at least one path of each group is present.
        prompt: Tokens sent.
        completion: Tokens generated; 0 if no path is present.
        total: Their total; computed if no path is present.
        read: Tokens read from the cache: the largest counts, as several paths report the same.
        write: Tokens written to the cache, likewise.
        write_1h: Those of them kept for an hour.
        write_5m: Those of them kept for five minutes.
        cache: Whether the prompt contains the cache: ``inside`` and ``beside`` are the provider's
            word; ``by_total`` is ``inside`` if the total is prompt plus completion; the rest is
            undecided unless `framework` matches.
        framework: A package; an object whose class comes from it has the cache inside.
        prompt_more: Tokens sent beyond `prompt`.
        completion_more: Tokens generated beyond `completion`.
        reasoning: Tokens of reasoning, inside the completion or on top as the numbers show.
        reasoning_by_total: Without a total it is undecided which of the two.
        audio_in: Audio tokens sent.
        audio_out: Audio tokens generated.
        audio_read: Audio tokens read from the cache.
    """

    name: str
    marks: tuple[Paths, ...]
    prompt: Paths
    completion: Paths
    total: Paths = ("total_tokens",)
    read: Paths = ()
    write: Paths = ()
    write_1h: Paths = ()
    write_5m: Paths = ()
    cache: Literal["inside", "beside", "by_total", "undecided"] = "inside"
    framework: str | None = None
    prompt_more: Paths = ()
    completion_more: Paths = ()
    reasoning: Paths = ()
    reasoning_by_total: bool = False
    audio_in: Paths = ()
    audio_out: Paths = ()
    audio_read: Paths = ()


_CHAT: Final[dict[str, Any]] = {
    "prompt": ("prompt_tokens",),
    "completion": ("completion_tokens",),
    "read": (
        "prompt_tokens_details.cached_tokens",
        "cache_read_input_tokens",
        "prompt_cache_hit_tokens",
        "cache_read_tokens",
        "cached_tokens",
    ),
    "write": (
        "prompt_tokens_details.cache_write_tokens",
        "prompt_tokens_details.cache_creation_tokens",
        "prompt_tokens_details.cache_creation_input_tokens",
        "cache_creation_input_tokens",
        "cache_write_tokens",
    ),
    "write_1h": (
        "prompt_tokens_details.cache_creation_token_details.ephemeral_1h_input_tokens",
        "cache_creation.ephemeral_1h_input_tokens",
    ),
    "write_5m": (
        "prompt_tokens_details.cache_creation_token_details.ephemeral_5m_input_tokens",
        "cache_creation.ephemeral_5m_input_tokens",
    ),
    "reasoning": ("completion_tokens_details.reasoning_tokens", "reasoning_tokens"),
    "reasoning_by_total": True,  # OpenAI's is inside the completion, xAI's on top of it
    "audio_in": ("prompt_tokens_details.audio_tokens",),
    "audio_out": ("completion_tokens_details.audio_tokens",),
}
_INPUT_OUTPUT: Final[dict[str, Any]] = {
    "prompt": ("input_tokens",),
    "completion": ("output_tokens",),
}

#: In this order; the first that fits counts.
SHAPES: Final = (
    UsageShape(
        "Gemini",
        marks=(("promptTokenCount", "prompt_token_count"),),
        prompt=("promptTokenCount", "prompt_token_count"),
        completion=(
            "candidatesTokenCount",
            "candidates_token_count",
            "responseTokenCount",
            "response_token_count",
        ),
        total=("totalTokenCount", "total_token_count"),
        read=("cachedContentTokenCount", "cached_content_token_count"),
        prompt_more=("toolUsePromptTokenCount", "tool_use_prompt_token_count"),
        completion_more=("thoughtsTokenCount", "thoughts_token_count"),
        audio_in=("promptTokensDetails[AUDIO]", "prompt_tokens_details[AUDIO]"),
        audio_out=(
            "candidatesTokensDetails[AUDIO]",
            "candidates_tokens_details[AUDIO]",
            "responseTokensDetails[AUDIO]",
            "response_tokens_details[AUDIO]",
        ),
        audio_read=("cacheTokensDetails[AUDIO]", "cache_tokens_details[AUDIO]"),
    ),
    UsageShape(
        "Cohere",
        marks=(
            (
                "billed_units.input_tokens",
                "billed_units.output_tokens",
                "tokens.input_tokens",
                "tokens.output_tokens",
            ),
        ),
        prompt=("billed_units.input_tokens", "tokens.input_tokens"),
        completion=("billed_units.output_tokens", "tokens.output_tokens"),
        total=(),
        read=("cached_tokens",),
    ),
    UsageShape(
        "Ollama",
        marks=(("prompt_eval_count", "eval_count"),),
        prompt=("prompt_eval_count",),
        completion=("eval_count",),
        total=(),
    ),
    UsageShape(
        "Vercel AI SDK",
        marks=(
            ("inputTokens", "input_tokens"),
            (
                "cachedInputTokens",
                "cached_input_tokens",
                "inputTokenDetails.cacheReadTokens",
                "inputTokenDetails.cacheWriteTokens",
            ),
        ),
        prompt=("inputTokens", "input_tokens"),
        completion=("outputTokens", "output_tokens"),
        total=("totalTokens", "total_tokens"),
        read=("inputTokenDetails.cacheReadTokens", "cachedInputTokens", "cached_input_tokens"),
        write=("inputTokenDetails.cacheWriteTokens",),
        reasoning=("outputTokenDetails.reasoningTokens", "reasoningTokens"),
    ),
    UsageShape(
        "Bedrock Converse",
        marks=(
            ("inputTokens", "input_tokens"),
            ("cacheReadInputTokens", "cacheWriteInputTokens", "cache_write_input_tokens"),
        ),
        prompt=("inputTokens", "input_tokens"),
        completion=("outputTokens", "output_tokens"),
        total=("totalTokens", "total_tokens"),
        read=("cacheReadInputTokens", "cache_read_input_tokens"),
        write=("cacheWriteInputTokens", "cache_write_input_tokens"),
        write_1h=("cacheDetails[1h]", "cache_details[1h]"),
        cache="by_total",
    ),
    UsageShape(
        "LiteLLM or DeepSeek",
        marks=(
            ("prompt_tokens",),
            ("cache_read_input_tokens", "cache_creation_input_tokens", "prompt_cache_hit_tokens"),
        ),
        **_CHAT,
    ),
    UsageShape(
        "a3s",
        marks=(("prompt_tokens",), ("cache_read_tokens", "cache_write_tokens")),
        cache="undecided",
        **_CHAT,
    ),
    UsageShape(
        "OpenAI chat",
        marks=(("prompt_tokens",), ("completion_tokens", "total_tokens")),
        **_CHAT,
    ),
    UsageShape(
        "Anthropic",
        marks=(
            ("input_tokens",),
            (
                "cache_read_input_tokens",
                "cache_creation_input_tokens",
                "cache_creation.ephemeral_5m_input_tokens",
                "cache_creation.ephemeral_1h_input_tokens",
            ),
        ),
        read=("cache_read_input_tokens",),
        write=("cache_creation_input_tokens",),
        write_1h=("cache_creation.ephemeral_1h_input_tokens",),
        write_5m=("cache_creation.ephemeral_5m_input_tokens",),
        cache="beside",
        **_INPUT_OUTPUT,
    ),
    UsageShape(
        "OpenAI Responses",
        marks=(
            ("input_tokens",),
            (
                "input_tokens_details.cached_tokens",
                "input_tokens_details.cache_write_tokens",
                "input_tokens_details.text_tokens",
                "output_tokens_details.reasoning_tokens",
            ),
        ),
        read=("input_tokens_details.cached_tokens",),
        write=("input_tokens_details.cache_write_tokens",),
        reasoning=("output_tokens_details.reasoning_tokens",),
        audio_in=("input_tokens_details.audio_tokens",),
        audio_out=("output_tokens_details.audio_tokens",),
        **_INPUT_OUTPUT,
    ),
    UsageShape(
        "OpenAI Realtime or LangChain",
        marks=(
            ("input_tokens",),
            (
                "input_token_details.cached_tokens",
                "input_token_details.text_tokens",
                "input_token_details.audio_tokens",
                "input_token_details.audio",
                "input_token_details.cache_read",
                "input_token_details.cache_creation",
                "input_token_details.flex_cache_read",
                "input_token_details.priority_cache_read",
                "output_token_details.audio",
                "output_token_details.reasoning",
            ),
        ),
        read=(
            "input_token_details.cached_tokens",
            "input_token_details.cache_read",
            "input_token_details.flex_cache_read",
            "input_token_details.priority_cache_read",
        ),
        write=("input_token_details.cache_creation",),
        write_1h=("input_token_details.ephemeral_1h_input_tokens",),
        write_5m=("input_token_details.ephemeral_5m_input_tokens",),
        reasoning=("output_token_details.reasoning",),
        audio_in=("input_token_details.audio_tokens", "input_token_details.audio"),
        audio_out=("output_token_details.audio_tokens", "output_token_details.audio"),
        audio_read=("input_token_details.cached_tokens_details.audio_tokens",),
        **_INPUT_OUTPUT,
    ),
    UsageShape(
        "pydantic-ai or agno",
        marks=(("input_tokens",), ("cache_read_tokens", "cache_write_tokens")),
        read=("cache_read_tokens",),
        write=("cache_write_tokens",),
        reasoning=("reasoning_tokens",),
        audio_in=("input_audio_tokens", "audio_input_tokens"),
        audio_out=("output_audio_tokens", "audio_output_tokens"),
        audio_read=("cache_audio_read_tokens",),
        cache="undecided",
        framework="pydantic_ai",
        **_INPUT_OUTPUT,
    ),
    UsageShape(
        "input and output tokens",
        marks=(("input_tokens", "inputTokens"), ("output_tokens", "outputTokens")),
        prompt=("input_tokens", "inputTokens"),
        completion=("output_tokens", "outputTokens"),
        total=("total_tokens", "totalTokens"),
        reasoning=("reasoning_tokens", "reasoningTokens"),
        cache="undecided",
    ),
)
_PATHS: Final = (
    "prompt",
    "completion",
    "total",
    "read",
    "write",
    "write_1h",
    "write_5m",
    "prompt_more",
    "completion_more",
    "reasoning",
    "audio_in",
    "audio_out",
    "audio_read",
)


def _head(path: str) -> str:
    return path.split(".", 1)[0].split("[", 1)[0]


#: The keys that name tokens and are read, or add nothing to what is read.
KNOWN_KEYS: Final = frozenset(
    _head(path)
    for shape in SHAPES
    for group in (*(getattr(shape, name) for name in _PATHS), *shape.marks)
    for path in group
) | {
    "audio_tokens",
    "audio_total_tokens",
    "cacheReadInputTokenCount",
    "cacheWriteInputTokenCount",
    "prompt_cache_miss_tokens",
}


def shape_of(raw: Any) -> UsageShape | None:
    """The shape of `raw`, an object or a mapping, or None if it is no usage.

    That of a dictionary lacks the paths whose first key it lacks: they take most of the time.
    """
    for shape in _possible(frozenset(raw)) if type(raw) is dict and len(raw) < 40 else SHAPES:
        if all(any(number(raw, path) is not None for path in group) for group in shape.marks):
            return shape
    return None


@lru_cache(maxsize=1024)
def _possible(keys: frozenset[Any]) -> tuple[UsageShape, ...]:
    """The shapes that a dictionary with these keys may have, without the paths that it lacks."""

    def present(paths: Paths) -> Paths:
        return tuple(path for path in paths if _head(path) in keys)

    def pruned(shape: UsageShape) -> UsageShape:
        paths: dict[str, Any] = {name: present(getattr(shape, name)) for name in _PATHS}
        return replace(shape, marks=tuple(map(present, shape.marks)), **paths)

    return tuple(shape for shape in map(pruned, SHAPES) if all(shape.marks))
