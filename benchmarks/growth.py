"""What grows, and what must not: memory with sessions and guards, a collection with label sets."""

from __future__ import annotations

import gc
import statistics
import time
import tracemalloc

from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, NumberDataPoint
from opentelemetry.sdk.trace import TracerProvider

from benchmarks.adapter import RATES, USAGE, Guard
from otel_budget import SessionInfo, instrument


def _memory() -> float:
    gc.collect()
    return tracemalloc.get_traced_memory()[0] / 1e6


def sessions(few: int = 10_000, many: int = 1_000_000) -> None:
    """Print the memory after a few and after many sessions, in MB."""
    tracer_provider, reader = TracerProvider(), InMemoryMetricReader()
    guard = instrument(
        Guard(),
        prices=RATES,
        tracer_provider=tracer_provider,
        meter_provider=MeterProvider([reader]),
    )
    tracemalloc.start()
    for number in range(few):
        guard.check_before_llm(f"session-{number}", 100)
        guard.record_after_llm(f"session-{number}", USAGE)
    reader.get_metrics_data()
    at_few = _memory()
    tracemalloc.stop()  # tracing every allocation of the long part would take minutes
    start = time.perf_counter()
    for number in range(few, many):
        guard.check_before_llm(f"session-{number}", 100)
    remembered = len(guard._otel_budget_settings.destination.hub.sessions)  # type: ignore[attr-defined]
    print(
        f"\nSessions: {few:,} take {at_few:.1f} MB; after {many:,}, {remembered:,} are "
        f"remembered ({(time.perf_counter() - start) / (many - few) * 1e6:.0f} us per check)"
    )


def guards(few: int = 10, many: int = 10_000) -> None:
    """Print the memory after a few and after many short-lived guards, in MB."""
    reader = InMemoryMetricReader()
    meter_provider = MeterProvider([reader])
    tracemalloc.start()

    def live_and_die(number: int) -> None:
        for _ in range(number):
            instrument(Guard(), prices=RATES, meter_provider=meter_provider).check_before_llm(
                "s", 1
            )
        reader.get_metrics_data()

    live_and_die(few)
    at_few = _memory()
    live_and_die(many)
    at_many = _memory()
    tracemalloc.stop()
    print(f"Guards: {few} leave {at_few:.2f} MB, {many:,} short-lived ones {at_many:.2f} MB")


def collection(label_sets: int = 100) -> None:
    """Print the time of one collection, in milliseconds."""
    reader = InMemoryMetricReader()
    guard = instrument(
        Guard(),
        prices=RATES,
        session_info=lambda session: SessionInfo(tenant=session, model="m", provider="p"),
        meter_provider=MeterProvider([reader]),
    )
    for number in range(label_sets):
        guard.check_before_llm(f"tenant-{number}", 100)
        guard.check_before_tool(f"tenant-{number}", "grep")
        guard.record_after_llm(f"tenant-{number}", USAGE)
    data = reader.get_metrics_data()
    points = [
        Observation(point.value, dict(point.attributes or {}))
        for resource in (data.resource_metrics if data else ())
        for scope in resource.scope_metrics
        for metric in scope.metrics
        for point in metric.data.data_points
        if isinstance(point, NumberDataPoint)
    ]
    bare = InMemoryMetricReader()
    MeterProvider([bare]).get_meter("bare").create_observable_gauge("bare", [lambda _: points])
    instrumented_times, bare_times = [], []
    for _ in range(15):
        instrumented_times.append(_milliseconds(reader))
        bare_times.append(_milliseconds(bare))
    median, floor = statistics.median(instrumented_times), statistics.median(bare_times)
    print(
        f"A collection with {label_sets} label sets ({len(points):,} series): {median:.1f} ms; "
        f"goal 20 ms: {'met' if median <= 20 else 'MISSED'} (as many ready-made points through "
        f"one SDK gauge take {floor:.1f} ms)"
    )


def _milliseconds(reader: InMemoryMetricReader) -> float:
    start = time.perf_counter()
    reader.get_metrics_data()
    return (time.perf_counter() - start) * 1e3
