"""The budget guard's contract: what a guard is asked, what it answers, what it is told.

Mirrors ``a3s_code_core::budget`` (crate a3s-code-core 9.1). A runtime asks a guard before each
model call and each tool call, refuses on `Deny`, and tells it the usage of the calls that
succeeded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)
from pydantic.dataclasses import dataclass

Finite = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]
#: A comparison with NaN is false, so this bound refuses it and nothing else.
NotNan = Annotated[float, Field(ge=float("-inf"))]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


# -- decisions -----------------------------------------------------------------------------
class Allow(_Frozen):
    """The call may proceed."""


class SoftLimit(_Frozen):
    """The call may proceed, and a threshold has been crossed.

    Attributes:
        resource: Which budget, e.g. ``llm_cost_usd``.
        consumed: How much of it is used, in the resource's own unit; finite.
        limit: The threshold that was crossed, not necessarily the cap; finite.
        message: For people.

    Raises:
        pydantic.ValidationError: A field is missing, not finite or of another type.
    """

    resource: str
    consumed: Finite
    limit: Finite
    message: str | None = None


class Deny(_Frozen):
    """The call is refused.

    Attributes:
        resource: Which budget ran out.
        reason: Why, for people.

    Raises:
        pydantic.ValidationError: A field is missing or of another type.
    """

    resource: str
    reason: str


BudgetDecision = Allow | SoftLimit | Deny


class BudgetThresholdHit(_Frozen):
    """What the runtime tells its listeners about a soft limit or a denial.

    Serialises to the runtime's own event: ``type`` is its tag, and a missing message is left out.

    Attributes:
        kind: ``soft`` (proceeded) or ``hard`` (refused).
        resource: Which budget.
        consumed: As the guard said; 0 for a denial.
        limit: As the guard said; 0 for a denial.
        message: The soft limit's message, or the denial's reason.
    """

    type: Literal["budget_threshold_hit"] = "budget_threshold_hit"
    kind: Literal["soft", "hard"]
    resource: str
    consumed: Finite
    limit: Finite
    message: str | None = None

    @classmethod
    def of(cls, decision: SoftLimit | Deny) -> Self:
        """The hit that the runtime makes of `decision`."""
        if isinstance(decision, Deny):
            return cls(
                kind="hard",
                resource=decision.resource,
                consumed=0.0,
                limit=0.0,
                message=decision.reason,
            )
        return cls(
            kind="soft",
            resource=decision.resource,
            consumed=decision.consumed,
            limit=decision.limit,
            message=decision.message,
        )

    @model_serializer(mode="wrap")
    def _without_a_missing_message(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        event: dict[str, Any] = handler(self)
        if event.get("message") is None:
            event.pop("message", None)
        return event


class BudgetExhausted(Exception):
    """A call was refused. The session stays usable.

    Attributes:
        resource: Which budget ran out.
        reason: The guard's reason.
    """

    def __init__(self, resource: str, reason: str) -> None:
        super().__init__(resource, reason)
        self.resource = resource
        self.reason = reason

    def __str__(self) -> str:
        return f"Budget exhausted on '{self.resource}': {self.reason}"


# -- usage ---------------------------------------------------------------------------------
class TokenUsage(_Frozen):
    """Tokens of one successful model call.

    Whether `prompt_tokens` contains the cached tokens differs by provider, so it is settled where
    the provider's answer is at hand: use `from_anthropic`, `from_openai` or `from_litellm`.

    Attributes:
        prompt_tokens: Tokens sent.
        completion_tokens: Tokens generated.
        total_tokens: Their total, as the provider counts it.
        cache_read_tokens: Tokens read from the provider's prompt cache.
        cache_write_tokens: Tokens written to it.
        prompt_includes_cache: Whether `prompt_tokens` contains the two cache counts; None is read
            by provider, and stays unpriced where that does not decide it. Not part of the dict
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
        """From ``response.usage`` of the Anthropic Messages API (an object or a dict).

        Its ``input_tokens`` leave the cached tokens out
        (https://docs.anthropic.com/en/docs/build-with-claude/prompt-caching).

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

        Both count cached tokens inside the prompt
        (https://platform.openai.com/docs/guides/prompt-caching).

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
        """From ``response.usage`` of LiteLLM, whichever provider is behind it.

        LiteLLM counts cached tokens inside the prompt for every provider, also for Claude.

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
            # What is no number is left to the validation below, which names the field.
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
    """The first of `names` that `raw`, a mapping or an object, has and that is not None."""
    for name in names:
        value = raw.get(name) if isinstance(raw, Mapping) else getattr(raw, name, None)
        if value is not None:
            return value
    return None


# -- guards --------------------------------------------------------------------------------
class BudgetGuard:
    """An async guard. Override what you enforce; the defaults allow everything."""

    async def check_before_llm(
        self, session_id: str, estimated_prompt_tokens: int
    ) -> BudgetDecision:
        """May this session call the model with about so many prompt tokens?"""
        return Allow()

    async def record_after_llm(self, session_id: str, usage: TokenUsage) -> None:
        """A model call of this session succeeded and used this much."""

    async def check_before_tool(self, session_id: str, tool_name: str) -> BudgetDecision:
        """May this session call this tool? The name comes from the model: it can be anything."""
        return Allow()


class SyncBudgetGuard:
    """A synchronous guard. Override what you enforce; the defaults allow everything."""

    def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> BudgetDecision:
        """May this session call the model with about so many prompt tokens?"""
        return Allow()

    def record_after_llm(self, session_id: str, usage: TokenUsage) -> None:
        """A model call of this session succeeded and used this much."""

    def check_before_tool(self, session_id: str, tool_name: str) -> BudgetDecision:
        """May this session call this tool? The name comes from the model: it can be anything."""
        return Allow()


class NoopBudgetGuard(BudgetGuard):
    """Allows everything: observe first, enforce later."""


# -- levels --------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid"))
class BudgetLevel:
    """How full one budget is, as a guard's ``budget_levels()`` tells it.

    Args:
        resource: Which budget.
        consumed: Used so far, in `unit`; finite.
        limit: The cap (not a soft threshold), in `unit`; None or infinite for no limit.
        unit: ``USD``, ``tokens``, or a unit of yours.
        window: A name for the window (``hour``, ``day`` …); None never resets.
        window_length: The window's length in seconds.
        window_remaining: Seconds until it resets.
        tenant: Whose budget; None where it is everybody's.
        agent: Which agent's.
        principal: Which principal's.

    Raises:
        pydantic.ValidationError: A value is missing, NaN or of another type.
    """

    resource: str
    consumed: Finite
    limit: NotNan | None
    unit: str = "USD"
    window: str | None = None
    window_length: Finite | None = None
    window_remaining: Finite | None = None
    tenant: str | None = None
    agent: str | None = None
    principal: str | None = None


def _warm_up() -> None:
    """Validate each type once, at import.

    pydantic-core guards the first validation of a type by a lock of its own. A fork during it would
    leave the lock held in the child for ever, and hang the first call there.
    """
    told: dict[str, Any] = {"resource": "", "consumed": 0.0, "limit": 0.0, "message": None}
    Allow()
    SoftLimit.model_validate(told)
    Deny(resource="", reason="")
    BudgetThresholdHit(kind="soft", **told)
    BudgetLevel("", 0.0, None)
    counts = dict.fromkeys(TokenUsage.model_fields, 0) | {"prompt_includes_cache": None}
    TokenUsage.model_validate(counts)
    try:
        TokenUsage.model_validate({})
    except ValidationError as error:
        error.errors(include_url=False)


_warm_up()
