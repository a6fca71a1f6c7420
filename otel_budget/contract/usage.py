"""Usage: the tokens of a model call, as reported to a guard."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from otel_budget.contract.fields import Count, Frozen


class TokenUsage(Frozen):
    """Tokens of one successful model call.

    Whether `prompt_tokens` contains the cached tokens differs by provider, so build a usage from
    the provider's own response: `from_anthropic`, `from_openai` or `from_litellm`.

    Attributes:
        prompt_tokens: Tokens sent.
        completion_tokens: Tokens generated.
        total_tokens: Their total, as the provider counts it.
        cache_read_tokens: Tokens read from the provider's prompt cache.
        cache_write_tokens: Tokens written to it.
        prompt_includes_cache: Whether `prompt_tokens` contains the two cache counts. None lets the
            provider decide; where that is not enough, the call stays unpriced. Not part of the dict
            dialect.

    Raises:
        pydantic.ValidationError: A count is missing, negative or not a whole number.
    """

    prompt_tokens: Count
    completion_tokens: Count
    total_tokens: Count
    cache_read_tokens: Count | None = None
    cache_write_tokens: Count | None = None
    prompt_includes_cache: bool | None = None

    @classmethod
    def from_anthropic(cls, raw: Any) -> Self:
        """From ``response.usage`` of the Anthropic Messages API.

        Its ``input_tokens`` exclude the cached tokens
        (https://docs.anthropic.com/en/docs/build-with-claude/prompt-caching).

        Args:
            raw: The usage, an object or a mapping.

        Raises:
            pydantic.ValidationError: A count is missing, negative or not a whole number.
        """
        prompt, completion = _field(raw, "input_tokens"), _field(raw, "output_tokens")
        read, write = (
            _field(raw, "cache_read_input_tokens"),
            _field(raw, "cache_creation_input_tokens"),
        )
        return cls._of(prompt, completion, read, write, includes_cache=False)

    @classmethod
    def from_openai(cls, raw: Any) -> Self:
        """From ``response.usage`` of OpenAI's Chat Completions or Responses API.

        Both count the cached tokens as part of the prompt
        (https://platform.openai.com/docs/guides/prompt-caching).

        Args:
            raw: The usage, an object or a mapping.

        Raises:
            pydantic.ValidationError: A count is missing, negative or not a whole number.
        """
        prompt = _field(raw, "prompt_tokens", "input_tokens")
        completion = _field(raw, "completion_tokens", "output_tokens")
        details = _field(raw, "prompt_tokens_details", "input_tokens_details")
        read, write = _field(details, "cached_tokens"), _field(details, "cache_write_tokens")
        return cls._of(
            prompt, completion, read, write, includes_cache=True, total=_field(raw, "total_tokens")
        )

    @classmethod
    def from_litellm(cls, raw: Any) -> Self:
        """From ``response.usage`` of LiteLLM, for any provider behind it.

        LiteLLM counts the cached tokens as part of the prompt for every provider, Claude included.

        Args:
            raw: The usage, an object or a mapping.

        Raises:
            pydantic.ValidationError: A count is missing, negative or not a whole number.
        """
        details = _field(raw, "prompt_tokens_details")
        read = _field(details, "cached_tokens")
        write = _field(details, "cache_creation_tokens", "cache_write_tokens")
        return cls._of(
            _field(raw, "prompt_tokens"),
            _field(raw, "completion_tokens"),
            _field(raw, "cache_read_input_tokens") if read is None else read,
            _field(raw, "cache_creation_input_tokens") if write is None else write,
            includes_cache=True,
            total=_field(raw, "total_tokens"),
        )

    @classmethod
    def _of(
        cls,
        prompt: Any,
        completion: Any,
        read: Any,
        write: Any,
        *,
        includes_cache: bool,
        total: Any = None,
    ) -> Self:
        if total is None:
            parts = (prompt, completion) if includes_cache else (prompt, completion, read, write)
            # A count that is not a number is left to the validation below, which names its field.
            total = sum(part for part in parts if isinstance(part, int))
        return cls.model_validate(
            {
                "prompt_tokens": prompt,
                "completion_tokens": completion,
                "total_tokens": total,
                "cache_read_tokens": read,
                "cache_write_tokens": write,
                "prompt_includes_cache": includes_cache,
            }
        )


def _field(raw: Any, *names: str) -> Any:
    """The value of the first of `names` that is not None in `raw`, a mapping or an object."""
    for name in names:
        value = raw.get(name) if isinstance(raw, Mapping) else getattr(raw, name, None)
        if value is not None:
            return value
    return None
