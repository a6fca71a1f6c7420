"""One set of instruments per effective meter provider, for all guards of the process.

The SDK keeps the first observable instrument of a name and silently drops the callbacks of any
later one, so guards share them. They are made when a guard is instrumented, never on a call, since
making one waits for a collection in progress.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from opentelemetry.metrics import CallbackOptions, Histogram, NoOpHistogram, Observation

from otel_budget import semconv
from otel_budget.metric import Metric
from otel_budget.telemetry.hub import Hub
from otel_budget.telemetry.metrics.levels import GAUGES
from otel_budget.telemetry.metrics.series import NO_SPAN
from otel_budget.version import __version__

#: Reads a hub, and others that are reported together with it.
_Reader = Callable[[Hub, list[Hub]], Iterable[Observation]]


def make_instruments(hub: Hub, hubs_to_report: Callable[[Hub], list[Hub]]) -> Histogram:
    """Make the instruments of `hub` and return the histogram of its durations. Raises nothing.

    Args:
        hub: Its sums and levels are read at each collection.
        hubs_to_report: Returns the hubs to report whenever `hub` is reported, `hub` included.
    """

    def callback(read: _Reader) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(_: CallbackOptions) -> Iterable[Observation]:
            try:
                others = [other for other in hubs_to_report(hub) if other is not hub]
                for reported in (hub, *others):
                    reported.drain()
                return read(hub, others)
            except BaseException as error:  # it would silently end the reader's thread
                hub.report_failure(semconv.COMPONENT_METRICS, error)
                return []

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
        for gauge in GAUGES:
            meter.create_observable_gauge(
                gauge.name, [callback(_levels(gauge))], gauge.unit, gauge.description
            )
    except Exception as error:
        hub.report_failure(semconv.COMPONENT_METRICS, error)
    return histogram


def _sums(metric: Metric) -> _Reader:
    def read(hub: Hub, others: list[Hub]) -> Iterable[Observation]:
        tallies = hub.tallies
        for other in others:
            tallies.take_over(other.tallies, metric)
        return tallies.read(tallies[metric])

    return read


def _levels(gauge: Metric) -> _Reader:
    value_of = GAUGES[gauge]

    def read(hub: Hub, others: list[Hub]) -> Iterable[Observation]:
        for reported in (hub, *others):
            reported.ensure_polling()
        levels = hub.levels
        rows = levels.rows_for(gauge, [other.levels for other in others])
        # One at a time: as many at once make Python's garbage collector look through the heap.
        return (
            Observation(value, attributes, NO_SPAN)
            for attributes, row in rows
            if (value := value_of(row)) is not None
        )

    return read
