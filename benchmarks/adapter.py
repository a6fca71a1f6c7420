"""What the adapter costs, compared with the same telemetry written by hand against the API.

The hand-written call makes the same span with the same attributes, two counter adds and one
histogram record; for the record it prices with the same FlatRates.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from opentelemetry import metrics, trace
from opentelemetry.context import attach, detach, get_current
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON

from benchmarks.measure import compare
from otel_budget import (
    Allow,
    BillableCall,
    FlatRates,
    GenAIPrices,
    SessionInfo,
    SyncBudgetGuard,
    TokenUsage,
    instrument,
    semconv,
)
from otel_budget.contract.interpretation import measure

INFO = SessionInfo(tenant="acme", agent="coder", model="claude-sonnet-4-5", provider="anthropic")
USAGE = TokenUsage(prompt_tokens=4_808, completion_tokens=10, total_tokens=4_818)
RATES = FlatRates(3.0, 15.0)
IDENTITY = {
    semconv.SESSION_ID: "s",
    semconv.GUARD_NAME: "Guard",
    semconv.TENANT: INFO.tenant,
    semconv.AGENT: INFO.agent,
    semconv.MODEL: INFO.model,
    semconv.PROVIDER: INFO.provider,
}
LABELS = {semconv.TENANT: INFO.tenant, semconv.AGENT: INFO.agent}
CALL = {**LABELS, semconv.METRIC_MODEL: INFO.model, semconv.METRIC_PROVIDER: INFO.provider}


_SAMPLED_GOALS = {
    "check": 0.55,
    "check, dict guard": 0.55,
    "check, spans=hits": 0.07,
    "record": 0.55,
    "record, spans=hits": 0.15,
}
_UNSAMPLED_GOALS = {"check": 0.30, "check, dict guard": 0.30, "record": 0.40}
_PRICES_GOAL = 10  # microseconds


class Guard(SyncBudgetGuard):
    """Answers as fast as a guard can."""

    answer = Allow()

    def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Allow:
        return self.answer


class DictGuard:
    """The same, in the dict dialect."""

    answer = {"decision": "allow"}  # noqa: RUF012

    def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> dict[str, Any]:
        return self.answer


class Discard(SpanExporter):
    """Accepts spans and keeps none."""

    def export(self, spans: Any) -> SpanExportResult:
        return SpanExportResult.SUCCESS


def by_hand(
    guard: Guard, tracer_provider: Any, meter_provider: Any
) -> tuple[Callable[[], None], Callable[[], None]]:
    """The check and the record as a careful person would write them."""
    tracer = trace.get_tracer("by_hand", tracer_provider=tracer_provider)
    meter = metrics.get_meter("by_hand", meter_provider=meter_provider)
    decisions = meter.create_counter("hand.decisions", "{decision}")
    estimated = meter.create_counter("hand.estimated_tokens", "{token}")
    tokens = meter.create_counter("hand.tokens", "{token}")
    cost = meter.create_counter("hand.cost", "USD")
    duration = meter.create_histogram(
        "hand.duration",
        "s",
        explicit_bucket_boundaries_advisory=list(semconv.GUARD_DURATION_BUCKETS),
    )

    def check() -> None:
        with tracer.start_as_current_span(
            semconv.SPAN_CHECK_BEFORE_LLM,
            attributes={
                **IDENTITY,
                semconv.DECISION_POINT: "llm",
                semconv.ESTIMATED_PROMPT_TOKENS: 4_808,
            },
        ) as span:
            start = time.perf_counter()
            guard.check_before_llm("s", 4_808)
            seconds = time.perf_counter() - start
            span.set_attribute(semconv.DECISION, "allow")
        decisions.add(1, {**LABELS, semconv.DECISION_POINT: "llm", semconv.DECISION: "allow"})
        estimated.add(4_808, CALL)
        duration.record(
            seconds,
            {
                semconv.DECISION_POINT: "llm",
                semconv.DECISION: "allow",
                semconv.GUARD_NAME: "Guard",
            },
        )

    def record() -> None:
        with tracer.start_as_current_span(
            semconv.SPAN_RECORD_AFTER_LLM,
            attributes={**IDENTITY, semconv.DECISION_POINT: "usage"},
        ) as span:
            start = time.perf_counter()
            guard.record_after_llm("s", USAGE)
            seconds = time.perf_counter() - start
            sent, generated = USAGE.prompt_tokens, USAGE.completion_tokens
            usd = RATES.cost_usd(BillableCall(INFO.model, INFO.provider, sent, generated))
            span.set_attributes(_of_record(usd or 0.0))
        tokens.add(USAGE.total_tokens, CALL)
        cost.add(usd or 0.0, CALL)
        duration.record(
            seconds,
            {
                semconv.DECISION_POINT: "usage",
                semconv.DECISION: "recorded",
                semconv.GUARD_NAME: "Guard",
            },
        )

    return check, record


def _of_record(usd: float) -> dict[str, Any]:
    """What a record adds to its span."""
    return {
        semconv.USAGE_INPUT_TOKENS: USAGE.prompt_tokens,
        semconv.USAGE_OUTPUT_TOKENS: USAGE.completion_tokens,
        semconv.USAGE_CACHE_READ_TOKENS: 0,
        semconv.USAGE_CACHE_WRITE_TOKENS: 0,
        semconv.USAGE_TOTAL_TOKENS: USAGE.total_tokens,
        semconv.COST: usd,
        semconv.COST_SOURCE: semconv.COST_FROM_PRICES,
        semconv.SESSION_COST: usd,
        semconv.SESSION_TOKENS: USAGE.total_tokens,
    }


def spans_alone(tracer_provider: Any) -> tuple[Callable[[], None], Callable[[], None]]:
    """The SDK's share of a check and of a record: no adapter whose span is current can be faster.

    The same span with the same attributes, by the cheapest calls, and nothing else.
    """
    tracer = trace.get_tracer("alone", tracer_provider=tracer_provider)
    start = {**IDENTITY, semconv.DECISION_POINT: "llm"}
    check_end, record_end = {semconv.DECISION: "allow"}, _of_record(0.01)

    def span(name: str, end: dict[str, Any]) -> None:
        current = get_current()
        made = tracer.start_span(name, current, attributes=start)
        detach(attach(trace.set_span_in_context(made, current)))
        made.set_attributes(end)
        made.end()

    return (
        lambda: span(semconv.SPAN_CHECK_BEFORE_LLM, check_end),
        lambda: span(semconv.SPAN_RECORD_AFTER_LLM, record_end),
    )


def show(title: str, baseline: float, rows: dict[str, Any], goals: dict[str, float]) -> None:
    """Print one comparison, and whether its goals were met."""
    print(f"\n{title} (by hand: {baseline:.1f} us)")
    for name, ratio in rows.items():
        goal = goals.get(name)
        verdict = ""
        if goal is not None:
            verdict = f"  goal {goal:.2f}: {'met' if ratio.median <= goal else 'MISSED'}"
        print(f"  {name:24} {ratio}{verdict}")


def without_sdk() -> None:
    """Compare with no SDK set up; runs before any provider exists."""
    hand_check, hand_record = by_hand(Guard(), None, None)
    guard = instrument(Guard(), session_info=INFO, prices=RATES)
    base, rows = compare(hand_check, {"check": lambda: guard.check_before_llm("s", 4_808)})
    show("Without an SDK, check", base, rows, {"check": 1.0})
    base, rows = compare(hand_record, {"record": lambda: guard.record_after_llm("s", USAGE)})
    show("Without an SDK, record", base, rows, {})
    bare = Guard()
    base, rows = compare(
        lambda: bare.check_before_llm("s", 4_808),
        {"check": lambda: guard.check_before_llm("s", 4_808)},
    )
    print(f"  (a bare guard takes {base:.2f} us, instrumented {rows['check'].microseconds:.1f} us)")


def with_sdk(sampled: bool) -> None:
    """Compare the whole telemetry, inside an active span as in a traced host."""
    processor = BatchSpanProcessor(Discard(), max_queue_size=100_000)
    tracer_provider = TracerProvider(sampler=ALWAYS_ON if sampled else ALWAYS_OFF)
    tracer_provider.add_span_processor(processor)
    reader = InMemoryMetricReader()
    meter_provider = MeterProvider([reader])
    options: dict[str, Any] = {
        "session_info": INFO,
        "prices": RATES,
        "tracer_provider": tracer_provider,
        "meter_provider": meter_provider,
    }
    hand_check, hand_record = by_hand(Guard(), tracer_provider, meter_provider)
    typed = instrument(Guard(), **options)
    dicts = instrument(DictGuard(), **options)
    hits = instrument(Guard(), spans="hits", **options)
    check_span, record_span = spans_alone(tracer_provider)

    def between() -> None:
        processor.force_flush()
        reader.get_metrics_data()

    checks: dict[str, Callable[[], object]] = {
        "check": lambda: typed.check_before_llm("s", 4_808),
        "check, dict guard": lambda: dicts.check_before_llm("s", 4_808),
        "the SDK's span alone": check_span,
    }
    records: dict[str, Callable[[], object]] = {
        "record": lambda: typed.record_after_llm("s", USAGE),
        "the SDK's span alone": record_span,
    }
    if sampled:  # it makes no span for these, so that sampling changes nothing
        checks["check, spans=hits"] = lambda: hits.check_before_llm("s", 4_808)
        records["record, spans=hits"] = lambda: hits.record_after_llm("s", USAGE)
    goals = _SAMPLED_GOALS if sampled else _UNSAMPLED_GOALS
    title = "Sampled" if sampled else "Unsampled"
    with tracer_provider.get_tracer("host").start_as_current_span("turn"):
        show(f"{title}, check", *compare(hand_check, checks, between=between), goals)
        show(f"{title}, record", *compare(hand_record, records, between=between), goals)
    tracer_provider.shutdown()
    meter_provider.shutdown()


def prices() -> None:
    """Print what published prices add to a record, in microseconds."""
    published = GenAIPrices()
    measured = measure(USAGE, INFO.provider)

    tokens = (measured.input_tokens, measured.output_tokens)
    call = BillableCall(INFO.model, INFO.provider, *tokens)

    def price(source: Any) -> Callable[[], Any]:
        return lambda: source.cost_usd(call)

    base, rows = compare(price(RATES), {"GenAIPrices": price(published)})
    added = rows["GenAIPrices"].microseconds - base
    print(
        f"\nGenAIPrices adds {added:.1f} us to FlatRates ({base:.1f} us); goal {_PRICES_GOAL}: "
        f"{'met' if added <= _PRICES_GOAL else 'MISSED'}"
    )
