"""Usage: the tokens of a model call, as reported to a guard."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Literal, Self, overload

from pydantic import ValidationError

from otel_budget.contract.fields import Amount, Count, Frozen
from otel_budget.contract.raw_usage import description, field
from otel_budget.contract.usage_reading import usage_fields
from otel_budget.contract.usage_shapes import shape_of
from otel_budget.log_once import log_once
from otel_budget.sanitize import shielded

_CACHE = ("cache_read_tokens", "cache_write_tokens")
#: How the fields end of which the largest stands.
_COUNTS = ("_tokens", "_searches", "cost_usd")


class TokenUsage(Frozen):
    """Tokens of one successful model call.

    Whether `prompt_tokens` contains the cached tokens differs by provider, so build a usage from
    the provider's own response: with `of`, which recognises whose it is.

    Attributes:
        prompt_tokens: Tokens sent.
        completion_tokens: Tokens generated, reasoning included.
        total_tokens: Their total, as the provider counts it.
        cache_read_tokens: Tokens read from the provider's prompt cache.
        cache_write_tokens: Tokens written to it.
        prompt_includes_cache: Whether `prompt_tokens` contains the two cache counts. None lets the
            provider decide; where that is not enough, the call stays unpriced. Not part of the dict
            dialect, nor is anything below.
        undecided_reasoning_tokens: Tokens of reasoning that may be on top of `completion_tokens`:
            neither a key nor the total tells. They count in an upper bound only (`measure`).
        cache_write_1h_tokens: Those of `cache_write_tokens` that are kept for an hour.
        audio_input_tokens: Audio tokens, those of the cache included, among the tokens sent.
        audio_output_tokens: Audio tokens among those generated.
        audio_cache_read_tokens: Audio tokens among those read from the cache.
        web_searches: Searches that the provider ran for the call and bills by number.
        processing: The way of processing that was billed.
        cost_usd: What the call cost in USD, as reported by its provider or gateway.

    Raises:
        pydantic.ValidationError: A count is missing, negative or not a whole number; an optional
            field is wrong.
    """

    prompt_tokens: Count
    completion_tokens: Count
    total_tokens: Count
    cache_read_tokens: Count | None = None
    cache_write_tokens: Count | None = None
    prompt_includes_cache: bool | None = None
    undecided_reasoning_tokens: Count | None = None
    cache_write_1h_tokens: Count | None = None
    audio_input_tokens: Count | None = None
    audio_output_tokens: Count | None = None
    audio_cache_read_tokens: Count | None = None
    web_searches: Count | None = None
    processing: Literal["standard", "batch", "flex", "priority"] | None = None
    cost_usd: Amount | None = None

    @classmethod
    def of(cls, raw: object) -> Self | None:
        """From what any provider, gateway or framework gave, recognised by its keys.

        OpenAI (chat, Responses, Realtime, embeddings) and whoever speaks like it (Azure, xAI,
        DeepSeek, Groq, Mistral, OpenRouter, Gemini's OpenAI endpoint), Anthropic, Gemini, Bedrock
        Converse, Cohere, Ollama, LiteLLM, LangChain's ``usage_metadata``, pydantic-ai, the Vercel
        AI SDK, the dict dialect. Of a stream pass what the client aggregated, or see `merge`.

        `prompt_includes_cache` stays None where neither a key nor arithmetic decides it, and where
        there are cached tokens beside an unknown key that counts tokens, which is logged once.
        Tokens that only the total shows count as generated.

        Args:
            raw: The usage, an object or a mapping, or a `TokenUsage`, which is returned unchanged.

        Returns:
            The usage; None if `raw` is None or is not a usage, which is logged once with its keys.
            Nothing is raised.
        """
        if raw is None:
            return None
        try:
            original = getattr(raw, "usage", None) if isinstance(raw, Mapping) else raw
            if issubclass(type(original), cls):
                return original  # type: ignore[return-value]  # a printed one has no accounting
            shape = shape_of(raw)
            if shape is not None:
                return cls.model_validate(usage_fields(raw, shape))
            why = "its shape is unknown"
        except ValidationError as error:
            parts = error.errors(include_url=False)
            why = ", ".join(sorted({str(part["loc"][0]) for part in parts})) + " cannot be read"
        except shielded() as error:
            why = f"it raises {type(error).__name__} when it is read"
        log_once(
            logging.WARNING,
            f"TokenUsage.of cannot read a usage {description(raw)}: {why}. Pass response.usage "
            "as the provider gave it, or a TokenUsage with your own counts.",
        )
        return None

    @overload
    @classmethod
    def from_anthropic(cls, raw: None) -> None: ...
    @overload
    @classmethod
    def from_anthropic(cls, raw: Any) -> Self: ...
    @classmethod
    def from_anthropic(cls, raw: Any) -> Self | None:
        """From ``response.usage`` of the Anthropic Messages API.

        Its ``input_tokens`` exclude the cached tokens
        (https://docs.anthropic.com/en/docs/build-with-claude/prompt-caching). What is plainly
        another provider's is read as that provider's.

        Args:
            raw: The usage, an object or a mapping; None gives None.

        Raises:
            pydantic.ValidationError: A count is missing, negative or not a whole number.
        """
        return cls._from(raw, includes_cache=False, names=("input_tokens", "output_tokens"))

    @overload
    @classmethod
    def from_openai(cls, raw: None) -> None: ...
    @overload
    @classmethod
    def from_openai(cls, raw: Any) -> Self: ...
    @classmethod
    def from_openai(cls, raw: Any) -> Self | None:
        """From ``response.usage`` of OpenAI's Chat Completions or Responses API.

        Both count the cached tokens as part of the prompt
        (https://platform.openai.com/docs/guides/prompt-caching). What is plainly another
        provider's is read as that provider's.

        Args:
            raw: The usage, an object or a mapping; None, which some servers send, gives None.

        Raises:
            pydantic.ValidationError: A count is missing, negative or not a whole number.
        """
        return cls._from(raw, includes_cache=True)

    @overload
    @classmethod
    def from_litellm(cls, raw: None) -> None: ...
    @overload
    @classmethod
    def from_litellm(cls, raw: Any) -> Self: ...
    @classmethod
    def from_litellm(cls, raw: Any) -> Self | None:
        """From ``response.usage`` of LiteLLM, for any provider behind it.

        LiteLLM counts the cached tokens as part of the prompt for every provider, Claude included.
        What is plainly a provider's own is read as that provider's.

        Args:
            raw: The usage, an object or a mapping; None gives None.

        Raises:
            pydantic.ValidationError: A count is missing, negative or not a whole number.
        """
        return cls._from(raw, includes_cache=True)

    @classmethod
    def _from(
        cls,
        raw: Any,
        *,
        includes_cache: bool,
        names: tuple[str, str] = ("prompt_tokens", "completion_tokens"),
    ) -> Self | None:
        """`raw` by its keys, and by `includes_cache` where they leave the cache undecided."""
        if raw is None:
            return None
        shape = shape_of(raw)
        if shape is None:  # the validation names what is missing
            prompt, completion = (field(raw, name) for name in names)
            counts = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": 0}
            return cls.model_validate(counts)
        fields = usage_fields(raw, shape)
        if fields["prompt_includes_cache"] is None and shape.cache == "undecided":
            fields["prompt_includes_cache"] = includes_cache
        return cls.model_validate(fields)

    def merge(self, later: TokenUsage) -> Self:
        """This usage and that of a later part of the same stream: the largest of each count.

        Providers repeat growing counts, and leave out counts that they sent before. Parts that
        are true increments look the same; pass what the client aggregated instead.

        Args:
            later: The usage of the later part.
        """
        names = [name for name in type(self).model_fields if name.endswith(_COUNTS)]
        fields: dict[str, Any] = {}
        for name in names:
            both = (getattr(self, name), getattr(later, name))
            counts = [count for count in both if isinstance(count, int | float)]
            fields[name] = max(counts, default=None)
        includes = _accounting(self, later)
        parts = [fields["prompt_tokens"], fields["completion_tokens"]]
        if includes is False:
            parts += [fields[name] or 0 for name in _CACHE]
        fields["total_tokens"] = max(fields["total_tokens"], sum(parts))
        fields["prompt_includes_cache"] = includes
        fields["processing"] = later.processing or self.processing
        return self.model_copy(update=fields)


def _accounting(first: TokenUsage, later: TokenUsage) -> bool | None:
    """How two parts of a stream count the cache; None if they differ."""
    words = {
        usage.prompt_includes_cache
        for usage in (first, later)
        if any(getattr(usage, name) for name in _CACHE)
    } or {first.prompt_includes_cache, later.prompt_includes_cache}
    words.discard(None)
    return words.pop() if len(words) == 1 else None
