"""One set of instruments per effective meter provider, for all guards of the process.

The SDK keeps the first observable instrument of a name and silently drops the callbacks of any
later one, so guards share them. They are made when a guard is instrumented, never on a call: making
one waits for a collection that is under way.
"""

from __future__ import annotations

from collections.abc import Callable

from opentelemetry.metrics import CallbackOptions, Histogram, NoOpHistogram, Observation

from otel_budget import semconv
from otel_budget.telemetry.hub import Hub
from otel_budget.telemetry.levels import GAUGES, LevelRow
from otel_budget.version import __version__

_Read = Callable[[Hub], list[Observation]]


def make_instruments(hub: Hub, reported_with: Callable[[Hub], list[Hub]]) -> Histogram:
    """Make the instruments of `hub` and return the one that takes its durations. Raises nothing.

    Args:
        hub: Its sums and levels are read at each collection.
        reported_with: The hubs to report whenever `hub` is, itself among them.
    """

    def callback(read: _Read) -> Callable[[CallbackOptions], list[Observation]]:
        def observe(_: CallbackOptions) -> list[Observation]:
            observations: list[Observation] = []
            for reported in reported_with(hub):
                try:
                    reported.drain()
                    observations += read(reported)
                except BaseException as error:  # would silently end the reader's thread
                    reported.failed(semconv.COMPONENT_METRICS, error)
            return observations

        return observe

    metric = semconv.METRIC_GUARD_DURATION
    histogram: Histogram = NoOpHistogram(metric.name, metric.unit, metric.description)
    try:
        meter = hub.provider.get_meter(semconv.SCOPE_NAME, __version__)
        histogram = meter.create_histogram(
            metric.name,
            metric.unit,
            metric.description,
            explicit_bucket_boundaries_advisory=list(semconv.GUARD_DURATION_BUCKETS),
        )
        for counter in (metric for metric in semconv.METRICS if metric.kind == "counter"):
            meter.create_observable_counter(
                counter.name, [callback(_sums(counter))], counter.unit, counter.description
            )
        for gauge, value_of in GAUGES.items():
            meter.create_observable_gauge(
                gauge.name, [callback(_levels(value_of))], gauge.unit, gauge.description
            )
    except Exception as error:
        hub.failed(semconv.COMPONENT_METRICS, error)
    return histogram


def _sums(metric: semconv.Metric) -> _Read:
    def read(hub: Hub) -> list[Observation]:
        tallies = hub.tallies
        sums = tallies.read(tallies[metric])
        return [Observation(value, attributes) for attributes, value in sums]

    return read


def _levels(value_of: Callable[[LevelRow], float | None]) -> _Read:
    def read(hub: Hub) -> list[Observation]:
        series = hub.tallies.levels
        return [
            Observation(value, series.attributes(key))
            for key, row in hub.levels.rows().items()
            if (value := value_of(row)) is not None
        ]

    return read
