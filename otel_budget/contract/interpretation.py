"""The meaning of an answer and of a usage, without telemetry."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from math import inf
from operator import attrgetter, itemgetter
from typing import Any, Final, NamedTuple

from otel_budget import semconv
from otel_budget.contract import Allow, BudgetDecision, Deny, Hit, SoftLimit, TokenUsage
from otel_budget.contract.dialects import (
    Malformed,
    are_counts,
    is_typed,
    read_decision,
    read_usage,
)
from otel_budget.contract.prices import BillableCall, MissingRate, PriceSource
from otel_budget.contract.prices.providers import prompt_includes_cache
from otel_budget.log_once import log_once
from otel_budget.sanitize import INT64_MAX, amount

#: Seconds after which the a3s-code runtime denies a check on its own (its default).
RUNTIME_DEADLINE: Final = 5.0


# -- answers -------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one check, as the runtime sees it.

    Attributes:
        decision: One of `semconv.DECISIONS`.
        hit: The soft limit or denial that the runtime acts on, if there is one.
        answer: For a late check, the decision that came too late; for a malformed answer, what is
            wrong with it.
    """

    decision: str
    hit: Hit | None = None
    answer: str | None = None


ALLOWED: Final = Outcome(semconv.ALLOW)


def outcome_of(answer: Any, seconds: float, late_after: float | str | None) -> Outcome:
    """The outcome of `answer`, which took `seconds`, as the runtime sees it.

    Args:
        answer: What the guard returned.
        seconds: How long it took.
        late_after: Seconds after which the caller has given up; None means never, ``"auto"`` the
            runtime's deadline for answers in the dict dialect and never for typed ones.
    """
    if type(answer) is Allow and (late_after is None or late_after == "auto"):
        return ALLOWED  # mostly: nothing is to be read
    if late_after == "auto":
        late_after = None if seconds <= RUNTIME_DEADLINE or is_typed(answer) else RUNTIME_DEADLINE
    late = late_after is not None and seconds > float(late_after)
    return interpret(read_decision(answer), late=late)


def interpret(decision: BudgetDecision | Malformed, *, late: bool) -> Outcome:
    """The outcome of an answer that was read as `decision`; a late answer has no hit."""
    if late:
        return Outcome(semconv.LATE, answer=_outcome_name(decision))
    if isinstance(decision, Malformed):
        return Outcome(semconv.MALFORMED, answer=decision.why)
    if isinstance(decision, Allow):
        return ALLOWED
    return Outcome(_outcome_name(decision), decision)


def _outcome_name(decision: BudgetDecision | Malformed) -> str:
    match decision:
        case Allow():
            return semconv.ALLOW
        case SoftLimit():
            return semconv.SOFT_LIMIT
        case Deny():
            return semconv.DENY
        case Malformed():
            return semconv.MALFORMED


def utilization(consumed: float, limit: float | None) -> float | None:
    """`consumed` over `limit`, or None where there is no limit or it is zero or infinite."""
    if limit is None or not 0 < limit < inf or amount(consumed) is None:
        return None
    return amount(consumed / limit)


# -- usage ---------------------------------------------------------------------------------
class Measurement(NamedTuple):
    """The tokens of one call in disjoint counts, each within int64.

    Attributes:
        input_tokens: Prompt tokens without the cached ones; if `undecided`, the prompt tokens as
            reported, which are a lower bound.
        output_tokens: Generated tokens.
        cache_read_tokens: Tokens read from the provider's cache.
        cache_write_tokens: Tokens written to it.
        cache_write_1h_tokens: This and what follows, up to `processing`, are the details of a
            `BillableCall`, in its order.
        total_tokens: The provider's own total.
        undecided: True if it is not known whether the prompt count contains the cached tokens; the
            cache counts are then 0.
        malformed: True if the usage could not be read; all counts are then 0.
        upper_bound: Why the counts are an upper bound: ``cache_accounting`` or
            ``reasoning_accounting``; empty if they are exact, or if no upper bound was asked for.
        reported_usd: The cost in USD that the provider or gateway reported, if it did.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    audio_input_tokens: int = 0
    audio_cache_read_tokens: int | None = 0
    audio_output_tokens: int = 0
    web_searches: int = 0
    processing: str = "standard"
    total_tokens: int = 0
    undecided: bool = False
    malformed: bool = False
    upper_bound: str = ""
    reported_usd: float | None = None

    @property
    def tokens(self) -> int:
        """The true total: the sum of the first four counts, which are disjoint."""
        return sum(self[:4])


def measure(usage: Any, provider: str | None, *, upper_bound: bool = False) -> Measurement:
    """The disjoint token counts of a usage.

    Args:
        usage: A `TokenUsage`, a mapping in the dict dialect, or what `TokenUsage.of` reads;
            anything else is malformed, and logged once a reason.
        provider: OpenTelemetry's ``gen_ai.provider.name``, if known. It decides whether the prompt
            count contains the cached tokens where the usage's own keys and arithmetic do not.
        upper_bound: Count what is undecided as the most that it can be, for a guard that enforces:
            cached tokens beside the prompt, reasoning on top of the completion. Without it, as in
            the telemetry, the counts are then a lower bound.
    """
    # On the path of every call: the counts of a typed usage are looked up at once.
    fields: tuple[Any, ...]
    try:
        fields = _fields_by_name(usage.__dict__) if type(usage) is TokenUsage else _UNREAD
    except KeyError:  # made by `model_construct`, without all fields
        fields = _UNREAD
    if not are_counts(*fields[:5]):
        read = read_usage(usage)
        if isinstance(read, Malformed):
            log_once(
                logging.WARNING,
                f"A call's tokens and cost are not counted, as otel-budget cannot read {read.why}. "
                "Report TokenUsage.of(response.usage), or a dict with prompt_tokens, "
                "completion_tokens and total_tokens.",
            )
            return Measurement(malformed=True)
        usage, fields = read, _fields_by_attribute(read)
    prompt, completion, total, cached, written, reasoning, cost, *details = fields
    includes: bool | None = False
    why = ""
    if upper_bound and reasoning:
        completion += reasoning
        why = semconv.REASONING_ACCOUNTING
    if cached or written:
        cached, written = cached or 0, written or 0
        includes = _includes_cache(usage, cached + written, provider)
        if includes is None and upper_bound:
            includes, why = False, semconv.CACHE_ACCOUNTING
        elif includes is None:
            cached = written = 0
        elif includes:
            prompt -= cached + written
    counts: tuple[int, ...] = (prompt, completion, cached or 0, written or 0, total)
    if max(counts) > INT64_MAX:
        counts = tuple(min(count, INT64_MAX) for count in counts)
    # Not by the class: its constructor takes as long as all the rest.
    measurement = tuple.__new__(
        Measurement,
        (*counts[:4], *_NO_DETAILS, counts[4], includes is None, False, why, None),
    )
    if cost is None and not any(details):
        return measurement
    return _with_details(measurement, usage)


_NO_DETAILS: Final = Measurement()[4:10]
_FIELDS: Final = (
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "undecided_reasoning_tokens",
    # What is billed beside tokens, or at another rate.
    "cost_usd",
    "processing",
    "cache_write_1h_tokens",
    "audio_input_tokens",
    "audio_cache_read_tokens",
    "audio_output_tokens",
    "web_searches",
)
_UNREAD: Final[tuple[Any, ...]] = (None,) * len(_FIELDS)
_fields_by_name: Final = itemgetter(*_FIELDS)
_fields_by_attribute: Final = attrgetter(*_FIELDS)  # a subclass may compute them


def _with_details(measurement: Measurement, usage: TokenUsage) -> Measurement:
    sent, audio_read = usage.audio_input_tokens or 0, usage.audio_cache_read_tokens
    if not sent or not measurement.cache_read_tokens:
        audio_read = audio_read or 0
    return measurement._replace(
        cache_write_1h_tokens=usage.cache_write_1h_tokens or 0,
        audio_input_tokens=sent,
        audio_cache_read_tokens=audio_read,
        audio_output_tokens=usage.audio_output_tokens or 0,
        web_searches=usage.web_searches or 0,
        processing=usage.processing or "standard",
        reported_usd=usage.cost_usd,
    )


def _includes_cache(usage: TokenUsage, cache: int, provider: str | None) -> bool | None:
    """Whether the prompt count contains the cached tokens; None if that cannot be decided."""
    includes = usage.prompt_includes_cache
    if includes is None:
        sent = usage.prompt_tokens
        if cache > sent or usage.total_tokens == sent + usage.completion_tokens + cache:
            return False  # more was cached than sent, or the total counts the cache on top
        return None if provider is None else prompt_includes_cache(provider)
    if includes and cache > usage.prompt_tokens:
        return None
    return includes


class Price(NamedTuple):
    """What a call cost, or why that is unknown.

    Attributes:
        usd: The cost in USD; None if it is unknown.
        reason: Why it is unknown: ``no_prices``, ``no_model``, ``unknown_model``, ``no_rate``,
            ``cache_accounting``, ``malformed_usage`` or ``price_error``; empty otherwise.
        source: Who told the cost: ``host``, ``provider`` or ``local``; empty if it is unknown.
    """

    usd: float | None
    reason: str = ""
    source: str = ""


def price(
    measurement: Measurement,
    prices: PriceSource | None,
    model: str | None,
    provider: str | None,
    call_cost: float | None = None,
) -> Price:
    """The price of one call: told by the host, else by the provider or gateway, else by `prices`.

    Args:
        measurement: Its tokens, billing details and reported cost. A reported cost that is negative
            or not finite is none; one of 0 stands, as for a free model.
        prices: The price source, or None.
        model: The model's name as the provider knows it, if known.
        provider: OpenTelemetry's ``gen_ai.provider.name``, if known.
        call_cost: The call's cost in USD, if the host knows it.

    Raises:
        Exception: Anything that `prices` raises, but `MissingRate`.
    """
    if call_cost is not None:
        return _price_of(call_cost, semconv.COST_FROM_HOST)
    if measurement.reported_usd is not None:
        reported = _price_of(measurement.reported_usd, semconv.COST_FROM_PROVIDER)
        if reported.usd is not None:
            return reported
    if measurement.malformed:
        return Price(None, semconv.MALFORMED_USAGE)
    if measurement.undecided:
        return Price(None, semconv.CACHE_ACCOUNTING)
    if prices is None:
        return Price(None, semconv.NO_PRICES)
    # The same fields in the same order; not by the class, see `measure`.
    call = tuple.__new__(BillableCall, (model, provider, *measurement[:10]))
    try:
        usd = prices.cost_usd(call)
    except MissingRate:
        return Price(None, semconv.NO_RATE)
    if type(usd) is float and 0.0 <= usd < inf:
        return tuple.__new__(Price, (usd, "", semconv.COST_FROM_PRICES))
    if usd is None:
        return Price(None, semconv.NO_MODEL if model is None else semconv.UNKNOWN_MODEL)
    return _price_of(usd, semconv.COST_FROM_PRICES)


def _price_of(usd: object, source: str) -> Price:
    cost = amount(usd)
    return Price(None, semconv.PRICE_ERROR) if cost is None else Price(cost, "", source)
