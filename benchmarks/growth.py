"""What grows, and what must not: memory with sessions and guards, a collection with label sets."""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from itertools import chain

from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, NumberDataPoint
from opentelemetry.sdk.trace import TracerProvider

from benchmarks.adapter import RATES, USAGE, Guard
from benchmarks.measure import compare
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


def collection(label_sets: int = 100, goal: float = 1.1) -> None:
    """Print the time of one collection, as a ratio to that of as many ready-made points.

    The ready-made points are those that were collected, each kept as an observation of the SDK's,
    in as many counters of the SDK as they came from. No call is made between two collections: what
    the durations of calls take is the SDK's histogram, and no part of this.
    """
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
    counters = _observations(reader)
    in_counters, in_gauge = InMemoryMetricReader(), InMemoryMetricReader()
    meter = MeterProvider([in_counters]).get_meter("ready-made")
    for name, observations in counters.items():
        meter.create_observable_counter(name, [partial(_ready, observations)])
    together = list(chain.from_iterable(counters.values()))
    meter = MeterProvider([in_gauge]).get_meter("ready-made")
    meter.create_observable_gauge("gauge", [partial(_ready, together)])
    ours: dict[str, Callable[[], object]] = {"ours": reader.get_metrics_data}
    ratios = [
        # As in a host, the garbage collector is on.
        compare(baseline.get_metrics_data, ours, between=gc.enable, rounds=50, calls=1)[1]["ours"]
        for baseline in (in_counters, in_gauge)
    ]
    print(
        f"\nCollecting {label_sets} label sets beside their {len(together):,} points ready-made"
        f"\n  in as many counters   {ratios[0]}; goal {goal:.2f}: {_met(ratios[0].median, goal)}"
        f"\n  in one gauge          {ratios[1]}"
    )


def _observations(reader: InMemoryMetricReader) -> dict[str, list[Observation]]:
    data = reader.get_metrics_data()
    return {
        metric.name: [
            Observation(point.value, dict(point.attributes or {}))
            for point in metric.data.data_points
            if isinstance(point, NumberDataPoint)
        ]
        for resource in (data.resource_metrics if data else ())
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }


def _ready(observations: list[Observation], _: CallbackOptions) -> list[Observation]:
    return observations


def _met(measured: float, goal: float) -> str:
    return "met" if measured <= goal else "MISSED"
