"""Telemetry of every kind, really emitted: which span, event and metric carries which attribute."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from otel_budget import (
    Allow,
    BudgetGate,
    BudgetLevel,
    Deny,
    FlatRates,
    SessionInfo,
    SoftLimit,
    TokenUsage,
    instrument,
    semconv,
)
from otel_budget.telemetry.instrument import STACKTRACES_VARIABLE
from otel_budget.testing import CapturedTelemetry, capture_telemetry

#: A session of which everything is known.
INFO = SessionInfo(
    tenant="acme",
    principal="user-17",
    agent="researcher",
    correlation_id="ticket-4711",
    model="claude-sonnet-4-5",
    provider="anthropic",
)
RATES = FlatRates(3, 15, 0.3, 3.75)
USAGE = TokenUsage(
    prompt_tokens=1_200,
    completion_tokens=300,
    total_tokens=2_100,
    cache_read_tokens=500,
    cache_write_tokens=100,
    prompt_includes_cache=False,
)
SOFT = SoftLimit(
    resource="llm_cost_usd",
    consumed=4.1,
    limit=4.0,
    message="80 % of the day's 5 USD are used",
    window="day",
    resets_in=18_000.0,
    reserved=0.2,
)
DENY = Deny(
    resource="llm_cost_usd",
    reason="the day's 5 USD are used",
    consumed=5.02,
    limit=5.0,
    reserved=0.2,
    window="day",
    resets_in=18_000.0,
    cause="spent",
)


@dataclass
class Seen:
    """The attributes that were seen of one kind of span, event or metric.

    Attributes:
        times: How often it was seen.
        values: The values of each attribute, in order.
    """

    times: int = 0
    values: dict[str, list[Any]] = field(default_factory=dict)

    def add(self, attributes: Mapping[str, Any]) -> None:
        """Add one occurrence."""
        self.times += 1
        for name, value in attributes.items():
            self.values.setdefault(name, []).append(value)

    def is_always(self, name: str) -> bool:
        """Whether each occurrence had this attribute."""
        return len(self.values[name]) == self.times


@dataclass
class Emitted:
    """All that was emitted, by name.

    Attributes:
        spans: Of each span.
        span_events: Of each event on a span.
        log_events: Of each log event.
        metrics: Of each metric.
    """

    spans: dict[str, Seen] = field(default_factory=dict)
    span_events: dict[str, Seen] = field(default_factory=dict)
    log_events: dict[str, Seen] = field(default_factory=dict)
    metrics: dict[str, Seen] = field(default_factory=dict)


class _Guard:
    """Answers, or raises, what it is given."""

    def __init__(self, answer: Any = None) -> None:
        self.answer = answer

    def _answer(self) -> Any:
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer

    def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
        return self._answer()

    def record_after_llm(self, session_id: str, usage: Any) -> Any:
        return self._answer() if isinstance(self.answer, BaseException) else None

    def check_before_tool(self, session_id: str, tool_name: str) -> Any:
        return self._answer()


class _LevelledGuard(_Guard):
    def budget_levels(self) -> list[BudgetLevel]:
        return [
            BudgetLevel(
                resource="llm_cost_usd",
                consumed=5.02,
                limit=5.0,
                window="day",
                window_length=86_400.0,
                window_remaining=18_000.0,
                reserved=0.2,
                reserved_age=12.0,
                tenant=INFO.tenant,
                agent=INFO.agent,
                principal=INFO.principal,
                shared=True,
                uncounted_calls=1,
            )
        ]


class _RaisingPrices:
    def cost_usd(self, call: object) -> float | None:
        raise ValueError("the price list is broken")


def _round(guard: Any, session: str = "session-1") -> None:
    """Call each method of a guard once, whatever it raises."""
    with contextlib.suppress(BaseException):
        guard.check_before_llm(session, 1_000)
    with contextlib.suppress(BaseException):
        guard.record_after_llm(session, USAGE)
    with contextlib.suppress(BaseException):
        guard.check_before_tool(session, "web_search")


def _run(telemetry: CapturedTelemetry) -> object:
    """Run all rounds; what is returned must live until the gauges are read."""
    known: dict[str, Any] = {
        "name": "daily",
        "session_info": INFO,
        "prices": RATES,
        "metric_labels": ("tenant", "agent", "principal"),
    }
    _round(instrument(_Guard(Allow()), **known))
    _round(instrument(_Guard(SOFT), **known))
    _round(instrument(_Guard(DENY), **known))
    levelled = instrument(_LevelledGuard(Deny(resource="llm_cost_usd", reason="spent")), **known)
    telemetry.metrics()  # polls the levels, of which the next denial quotes one
    _round(levelled)
    _round(instrument(_Guard(SOFT), late_after=1e-9, **known))
    _round(instrument(_Guard({"decision": "perhaps"}), **known))
    _round(instrument(_Guard(ConnectionError("the store refuses connections")), **known))
    _round(instrument(_Guard(KeyboardInterrupt()), **known))
    _round(instrument(_Guard(ConnectionError()), messages=False, **known))
    denied = Deny(resource="tools", reason="not on the list", cause="policy")
    _round(instrument(_Guard(denied), messages=False, **known))
    _round(instrument(_Guard(SoftLimit(resource="r", consumed=1, limit=0)), name="bare"), "bare")
    bare = instrument(_Guard(Allow()), name="bare", prices=None)
    _round(bare, "bare")
    bare.check_before_llm("bare", None)  # type: ignore[arg-type]  # a runtime's mistake
    bare.record_after_llm("bare", {"input": "rubbish"})
    _round(instrument(_Guard(), **{**known, "prices": _RaisingPrices()}))
    with BudgetGate(instrument(_Guard(Allow()), **known)).llm_call("session-1", 1_000):
        pass  # and no usage is reported
    for number in range(120):
        one_of_many = SessionInfo(tenant=f"tenant-{number}")
        many = instrument(_Guard(Allow()), name="bare", session_info=one_of_many)
        many.check_before_tool("bare", "web_search")
    return levelled


@contextlib.contextmanager
def _stacktraces() -> Iterator[None]:
    before = os.environ.get(STACKTRACES_VARIABLE)
    os.environ[STACKTRACES_VARIABLE] = "true"
    try:
        yield
    finally:
        if before is None:
            del os.environ[STACKTRACES_VARIABLE]
        else:
            os.environ[STACKTRACES_VARIABLE] = before


def emitted() -> Emitted:
    """Emit telemetry of every kind, and return what was seen."""
    seen = Emitted()
    logger = logging.getLogger("otel_budget")
    was_disabled, logger.disabled = logger.disabled, True  # it warns of what is wrong on purpose
    try:
        with _stacktraces(), capture_telemetry() as telemetry:
            kept = _run(telemetry)
            metrics = telemetry.metrics()
            del kept
    finally:
        logger.disabled = was_disabled
    for span in telemetry.spans:
        seen.spans.setdefault(span.name, Seen()).add(span.attributes or {})
        for event in span.events:
            seen.span_events.setdefault(event.name, Seen()).add(event.attributes or {})
    for entry in telemetry.logs:
        name = str(entry.log_record.event_name)
        seen.log_events.setdefault(name, Seen()).add(entry.log_record.attributes or {})
    for metric in metrics.values():
        for point in metric.data.data_points:
            seen.metrics.setdefault(metric.name, Seen()).add(point.attributes or {})
    return seen


def metric_attributes(metric: Any) -> set[str]:
    """The attributes that a metric may carry, its labels among them."""
    labels = set(semconv.LABELS.values()) if metric.labelled else set()
    return {*metric.attributes, *labels}
