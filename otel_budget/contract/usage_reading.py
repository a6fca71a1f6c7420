"""Reads a recognised usage: its counts by type, their cache accounting, billing details."""

from __future__ import annotations

import logging
from typing import Any, Final

from otel_budget.contract.raw_usage import field, keys, number
from otel_budget.contract.usage_shapes import KNOWN_KEYS, Paths, UsageShape
from otel_budget.log_once import log_once
from otel_budget.sanitize import amount, shielded

#: Service tiers as providers write them, as ways of processing that prices know.
_PROCESSING: Final = {
    "auto": None,
    "default": "standard",
    "on_demand": "standard",
    "standard": "standard",
    "batch": "batch",
    "flex": "flex",
    "priority": "priority",
}
#: The keys of what is billed beside tokens, or otherwise than usual.
_BILLED: Final = frozenset(
    {
        *("server_tool_use", "service_tier", "serviceTier", "input_token_details"),
        *("cost", "cost_details", "cost_in_usd_ticks"),
    }
)
#: xAI reports costs in ticks (https://docs.x.ai/developers/cost-tracking).
_TICKS_PER_USD: Final = 10**10


def output_alone(raw: Any) -> int | None:
    """The generated tokens of a part of a stream that reports nothing else, or None."""
    try:
        if field(raw, "input_tokens", "prompt_tokens") is not None:
            return None
        generated = _first(raw, ("output_tokens", "completion_tokens"))
    except shielded():  # a look-up may run any code
        return None
    return _detail(generated)


def usage_fields(raw: Any, shape: UsageShape) -> dict[str, Any]:
    """The fields of a `TokenUsage` that `raw`, of this `shape`, reports.

    A count that is negative or not a whole number is returned as it is, for a validation to refuse.
    """
    prompt = _first(raw, shape.prompt)
    completion = _first(raw, shape.completion)
    read, write = _largest(raw, shape.read), _largest(raw, shape.write)
    hour, minutes = _largest(raw, shape.write_1h), _largest(raw, shape.write_5m)
    if hour is not None or minutes is not None:
        write = max(write or 0, (hour or 0) + (minutes or 0))
    more, thoughts = _largest(raw, shape.prompt_more), _largest(raw, shape.completion_more)
    total, reasoning = _first(raw, shape.total), _largest(raw, shape.reasoning)
    fields: dict[str, Any] = {
        "prompt_tokens": prompt or 0,
        "completion_tokens": completion or 0,
        "total_tokens": total or 0,
        "cache_read_tokens": read,
        "cache_write_tokens": write,
        "prompt_includes_cache": None,
    }
    for name, count in (
        *list(fields.items())[:5],
        ("prompt_tokens", more),
        ("completion_tokens", thoughts),
        ("completion_tokens", reasoning),
    ):
        if isinstance(count, float) or (count is not None and count < 0):
            return fields | {name: count}
    sent, generated = (prompt or 0) + (more or 0), (completion or 0) + (thoughts or 0)
    cached = (read or 0) + (write or 0)
    is_the_sum = total == sent + generated
    may_be_on_top = shape.reasoning_by_total and total is None and (reasoning or 0) <= generated
    generated, beside = _generated_and_beside(sent, generated, total, cached, reasoning or 0)
    includes = False if beside else _reported_accounting(raw, shape, is_the_sum)
    unknown = _unknown_keys(raw)
    if unknown:
        log_once(
            logging.WARNING,
            f"A usage ({shape.name}) has keys that otel-budget does not know: {unknown}. Its "
            "other counts are read; if it has cached tokens, how they are counted is undecided.",
        )
        includes = None if cached else includes
    if total is None:
        total = sent + generated + (cached if includes is False else 0)
    fields |= {
        "prompt_tokens": sent,
        "completion_tokens": generated,
        "total_tokens": total,
        "prompt_includes_cache": includes,
        "undecided_reasoning_tokens": (reasoning or None) if may_be_on_top else None,
        "cache_write_1h_tokens": _detail(hour),
        "audio_input_tokens": _detail(_largest(raw, shape.audio_in)),
        "audio_output_tokens": _detail(_largest(raw, shape.audio_out)),
        "audio_cache_read_tokens": _detail(_largest(raw, shape.audio_read)),
    }
    if type(raw) is dict and _BILLED.isdisjoint(raw):  # most have none of it
        return fields
    # Anthropic, and gateways in front of it.
    fields["web_searches"] = _detail(number(raw, "server_tool_use.web_search_requests"))
    return fields | {"processing": _processing(raw), "cost_usd": _cost_usd(raw)}


def _first(raw: Any, paths: Paths) -> Any:
    return next((count for path in paths if (count := number(raw, path)) is not None), None)


def _largest(raw: Any, paths: Paths) -> Any:
    if not paths:
        return None
    return max((count for path in paths if (count := number(raw, path)) is not None), default=None)


def _generated_and_beside(
    sent: int, generated: int, total: int | None, cached: int, reasoning: int
) -> tuple[int, bool]:
    """The generated tokens with all reasoning, and whether the cache is proved beside the prompt.

    Reasoning is on top of the completion if it is larger, or if the total says so; what the total
    has beyond the parts is generated, too.
    """
    rest = max(0, (total or 0) - sent - generated)
    beside = cached > sent or (cached > 0 and rest in {cached, cached + reasoning} - {reasoning})
    if beside and rest >= cached:
        rest -= cached
    on_top = reasoning if reasoning > generated else 0
    return generated + max(rest, on_top), beside


def _reported_accounting(raw: Any, shape: UsageShape, is_the_sum: bool) -> bool | None:
    """Whether the prompt contains the cache, by the word of the provider or framework."""
    if shape.cache == "by_total":
        return True if is_the_sum else None
    if shape.cache == "undecided":
        is_framework = shape.framework and type(raw).__module__.split(".")[0] == shape.framework
        return True if is_framework else None
    return shape.cache == "inside"


def _unknown_keys(raw: Any) -> str:
    """The keys of `raw` that name tokens, hold a number above 0 and are not in the table."""
    if type(raw) is dict and KNOWN_KEYS.issuperset(raw):
        return ""
    names = [
        key[:48]
        for key in keys(raw)
        if key not in KNOWN_KEYS and "token" in key.lower() and (number(raw, key) or 0) > 0
    ]
    return ", ".join(sorted(names)[:8])


def _detail(count: Any) -> int | None:
    """A count that is no part of the totals: left out if it is wrong."""
    return count if isinstance(count, int) and count >= 0 else None


def _processing(raw: Any) -> str | None:
    for word in ("flex", "priority"):  # LangChain
        if number(raw, f"input_token_details.{word}") is not None:
            return word
    tier = field(raw, "service_tier", "serviceTier")
    return _PROCESSING.get(tier.lower()) if isinstance(tier, str) else None


def _cost_usd(raw: Any) -> float | None:
    """The cost that the provider or gateway reported.

    OpenRouter's ``cost`` leaves out what the provider bills to a key of the customer's own
    (https://openrouter.ai/docs/use-cases/usage-accounting): there the two are added.
    """
    ticks = amount(number(raw, "cost_in_usd_ticks"))
    if ticks is not None:
        return ticks / _TICKS_PER_USD
    cost = amount(number(raw, "cost"))
    upstream = amount(number(raw, "cost_details.upstream_inference_cost"))
    if cost is None or not upstream or field(raw, "is_byok") is False:
        return cost
    return amount(cost + upstream) if field(raw, "is_byok") is True else None
