"""What grows, and what must not: memory with sessions and guards, collections and polls."""

from __future__ import annotations

import gc
import statistics
import threading
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
from benchmarks.measure import compare, seconds
from otel_budget import SessionInfo, instrument
from otel_budget.contract.levels import MAX_LEVELS
from otel_budget.guards import Limit, WindowGuard
from otel_budget.telemetry.hubs import poll_levels


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
    in as many counters of the SDK as they came from; and, for comparison, all in one gauge, where
    those with the same attributes are one point. No call is made between two collections: what the
    durations of calls take is the SDK's histogram, and no part of this.
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
    together = list(chain.from_iterable(counters.values()))
    in_counters = _ready_made("create_observable_counter", counters)
    in_gauge = _ready_made("create_observable_gauge", {"gauge": together})
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


def levels(guards: int = 5, goal: float = 50.0) -> None:
    """Print the time of one collection with as many levels as the guards may tell.

    Polls are not part of it: the guards' last answers are read. With few budgets a tenant, most
    tenants are beyond the cap; with many budgets of few tenants there are as many points as the
    caps allow, of which the SDK alone takes more than the goal.
    """
    for tenants in (MAX_LEVELS, 100):
        reader = InMemoryMetricReader()
        meter_provider = MeterProvider([reader])
        kept = [
            instrument(
                _window_guard(tenants, MAX_LEVELS // tenants),
                name=f"guard-{number}",
                meter_provider=meter_provider,
            )
            for number in range(guards)
        ]
        poll_levels(60.0)
        gauges = _observations(reader)
        in_gauges = _ready_made("create_observable_gauge", gauges)
        times = [
            (_milliseconds(reader.get_metrics_data), _milliseconds(in_gauges.get_metrics_data))
            for _ in range(25)
        ]
        own, floor = (min(column) for column in zip(*times, strict=True))
        print(
            f"Collecting {guards * MAX_LEVELS:,} levels of {len(kept)} guards and {tenants:,} "
            f"tenants: {own:.1f} ms; goal {goal:.0f} ms: {_met(own, goal)} (their "
            f"{sum(map(len, gauges.values())):,} points ready-made: {floor:.1f} ms)"
        )


def polls(few: int = 100, many: int = 10_000, active: int = 10) -> None:
    """Print what one poll of a window guard takes, and how long it keeps a check waiting, in ms.

    Ten tenants make a call between two polls; all others are idle. Another thread checks all the
    time. Its longest wait of a poll is often 0: it waits only if it asks while accounts are read.
    """
    for tenants in (few, many):
        guard = _window_guard(tenants)
        times, waits, is_over = [], [0.0], threading.Event()

        def check(
            guard: WindowGuard = guard,
            waits: list[float] = waits,
            is_over: threading.Event = is_over,
        ) -> None:
            while not is_over.wait(0.0002):
                waits[-1] = max(
                    waits[-1], _milliseconds(lambda: guard.check_before_llm("tenant-0", 1))
                )

        checking = threading.Thread(target=check)
        checking.start()
        for _ in range(100):
            for number in range(active):
                guard.record_after_llm(f"tenant-{number}", USAGE)
            waits.append(0.0)
            times.append(_milliseconds(guard.budget_levels))
        is_over.set()
        checking.join()
        print(
            f"Polling {tenants:,} tenants, {active} of them active: {statistics.median(times):.1f} "
            f"ms; a check waits for it at most {statistics.quantiles(waits, n=20)[-1]:.2f} ms "
            "(95 % of polls)"
        )


def _window_guard(tenants: int, limits: int = 1) -> WindowGuard:
    guard = WindowGuard(
        *(Limit(1_000_000, "tokens", resource=f"budget-{number}") for number in range(limits)),
        session_info=lambda session: SessionInfo(tenant=session),
    )
    for number in range(tenants):
        guard.record_after_llm(f"tenant-{number}", USAGE)
    return guard


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


def _ready_made(create: str, instruments: dict[str, list[Observation]]) -> InMemoryMetricReader:
    reader = InMemoryMetricReader()
    meter = MeterProvider([reader]).get_meter("ready-made")
    for name, observations in instruments.items():
        getattr(meter, create)(name, [partial(_ready, observations)])
    return reader


def _ready(observations: list[Observation], _: CallbackOptions) -> list[Observation]:
    return observations


def _milliseconds(call: Callable[[], object]) -> float:
    return seconds(call, 1) * 1e3


def _met(measured: float, goal: float) -> str:
    return "met" if measured <= goal else "MISSED"
